// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quixote-export/internal/spool"
)

func label(t *testing.T, server, topic, workload string) Label {
	t.Helper()
	s, err := ParseServer(server)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseTopic(topic)
	if err != nil {
		t.Fatal(err)
	}
	return NewLabel(s.Complete(0, false), parsed, workload)
}

func take(t *testing.T, base string, l Label, run string) *Claim {
	t.Helper()
	c, err := TakeSpool(base, l, run, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Queue.Close() })
	return c
}

func put(t *testing.T, q *spool.Queue, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := q.Append([]byte(line+"\n"), []int{len(line) + 1}); err != nil {
			t.Fatal(err)
		}
	}
}

func contents(t *testing.T, q *spool.Queue) []string {
	t.Helper()
	q.Rewind()
	var lines []string
	for {
		buf, ends, err := q.Next(1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(ends) == 0 {
			return lines
		}
		lines = append(lines, strings.Fields(string(buf))...)
	}
}

func TestDefaultSpool(t *testing.T) {
	for _, row := range []struct {
		euid        int
		state, home string
		want        string
	}{
		{0, "/s", "/h", "/var/lib/Quixote/spool"},
		{5, "/s", "/h", "/s/quixote-export/spool"},
		{5, "", "/h", "/h/.local/state/quixote-export/spool"},
		{5, "relative", "/h", "/h/.local/state/quixote-export/spool"},
		{5, "", "", ""},
		{5, "", "relative", ""},
	} {
		env := map[string]string{"XDG_STATE_HOME": row.state, "HOME": row.home}
		got, err := DefaultSpool(row.euid, func(name string) string { return env[name] })
		if got != row.want || (err == nil) != (row.want != "") {
			t.Errorf("%+v: got %q, %v", row, got, err)
		}
	}
}

func TestEveryKeyHasItsOwnFolder(t *testing.T) {
	names := make(map[string]Label)
	for _, l := range []Label{
		label(t, "h", "t", "w"), label(t, "h:99", "t", "w"), label(t, "mqtts://h:1883", "t", "w"),
		label(t, "h", "t2", "w"), label(t, "h", "t", "w2"), label(t, "::1", "t", "w"),
		label(t, "h", "t", "../../w"), label(t, "h", "t", ".w"), label(t, "h", "t", strings.Repeat("w", 300)),
		label(t, "h", "t", "w\xff"), label(t, "h", "t", "w*?["),
	} {
		name := l.name()
		if other, found := names[name]; found {
			t.Errorf("%v and %v are both %s", l, other, name)
		}
		names[name] = l
		if len(name) > 200 || strings.ContainsAny(name, "/ *?[") || strings.HasPrefix(name, ".") {
			t.Errorf("%v is %s", l, name)
		}
		again, err := parseLabel(l.text())
		if err != nil || again.name() != name {
			t.Errorf("%v is read again as %v: %v", l, again, err)
		}
	}
}

// The second of two runs at once gets a queue of its own; what it leaves comes
// to the next one that is alone.
func TestTwoRunsAtOnce(t *testing.T) {
	base := filepath.Join(t.TempDir(), "made", "spool")
	l := label(t, "broker", "t", "web*")
	first := take(t, base, l, "run1")
	if !first.First || first.Found != 0 {
		t.Errorf("got %+v", first)
	}
	if _, err := TakeSpool(base, l, "", 0); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("without a run: %v", err)
	}
	second := take(t, base, l, "run2")
	if second.First || second.Path != first.Path+".run2" {
		t.Errorf("got %+v", second)
	}
	other := take(t, base, label(t, "broker", "t", "other"), "run3")
	put(t, first.Queue, "a", "b")
	put(t, second.Queue, "c", "d")
	put(t, other.Queue, "x")
	labels, errs := Waiting(base)
	if len(labels) != 2 || len(errs) != 0 || !slices.Contains(labels, l) {
		t.Errorf("waiting %v, %v", labels, errs)
	}
	for _, c := range []*Claim{first, second, other} {
		if err := c.Queue.Close(); err != nil {
			t.Fatal(err)
		}
	}
	third := take(t, base, l, "run4")
	if got := contents(t, third.Queue); !slices.Equal(got, []string{"a", "b", "c", "d"}) || third.Found != 4 || !third.First {
		t.Errorf("got %v, %+v", got, third)
	}
	if left, _ := os.ReadDir(base); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	if info, err := os.Stat(base); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := third.Queue.Ack(4); err != nil {
		t.Fatal(err)
	}
	third.Queue.Close()
	if left, _ := os.ReadDir(base); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// What does not fit waits where it is.
func TestMoreWaitsThanFits(t *testing.T) {
	base := t.TempDir()
	l := label(t, "broker", "t", "web")
	first, second := take(t, base, l, "1"), take(t, base, l, "2")
	line := strings.Repeat("x", 900)
	for i := range 1000 {
		put(t, first.Queue, fmt.Sprint("1-", i, line))
		put(t, second.Queue, fmt.Sprint("2-", i, line))
	}
	first.Queue.Close()
	second.Queue.Close()
	c, err := TakeSpool(base, l, "3", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for c.Found > 0 {
		n := len(contents(t, c.Queue))
		if n != c.Found || seen == 0 && n >= 2000 {
			t.Fatalf("%d records, found %d", n, c.Found)
		}
		seen += n
		if err := c.Queue.Ack(n); err != nil {
			t.Fatal(err)
		}
		c.Queue.Close()
		if c, err = TakeSpool(base, l, "4", 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	c.Queue.Close()
	if seen != 2000 {
		t.Errorf("%d records, want 2000", seen)
	}
	if left, _ := os.ReadDir(base); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLabelsThatLie(t *testing.T) {
	base := t.TempDir()
	l := label(t, "broker", "t", "web")
	c := take(t, base, l, "1")
	put(t, c.Queue, "a")
	c.Queue.Close()
	for _, text := range []string{
		"", "{", `{"broker": "evil:1883", "topic": "t", "workload": "web"}`,
		`{"broker": "mqtt://broker:1883", "topic": "#", "workload": "web"}`,
		`{"broker": "http://broker", "topic": "t", "workload": "web"}`,
	} {
		if err := os.WriteFile(filepath.Join(c.Path, "label"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		labels, errs := Waiting(base)
		if len(labels) != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), c.Path) {
			t.Errorf("%s: %v, %v", text, labels, errs)
		}
	}
	if labels, errs := Waiting(filepath.Join(base, "gone")); labels != nil || errs != nil {
		t.Errorf("no folder: %v, %v", labels, errs)
	}
}
