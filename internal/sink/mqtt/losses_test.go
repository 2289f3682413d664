// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quixote-export/internal/mqtt"
	"quixote-export/internal/mqtt/mqtttest"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// lostAt finds the one lost record, wants it to be like that, and returns how
// many records come before it, and the others.
func lostAt(t *testing.T, all []string, want string) (at int, others []string) {
	t.Helper()
	at = -1
	for i, line := range all {
		if string(kindOf([]byte(line))) != "lost" {
			others = append(others, line)
			continue
		}
		if at >= 0 || !strings.Contains(line, want) {
			t.Errorf("record %d is %s, want %s once", i, line, want)
		}
		at = i
	}
	if at < 0 {
		t.Fatal("nothing tells of the loss")
	}
	return at, others
}

// The record of a refusal comes next, behind what was on its way, and until it
// is delivered the record that was refused is kept.
func TestALossComesNext(t *testing.T) {
	const n, bad, inFlight = 500, 100, 10
	m := mqtttest.NewMemory(t, nil)
	telling, told := make(chan struct{}), make(chan struct{})
	m.Refuse(func(topic string) bool {
		if topic == "a/lost" {
			close(telling)
			<-told
		}
		return topic == "a/task_kill"
	})
	b := newBench(t, m.Address, "a/{type}", func(o *Options) { o.Broker.Version, o.Broker.MaxInFlight = mqtt.V5, inFlight })
	all := &record.Batch{Context: 3}
	held := 0 // bytes of the bad record and those behind it
	for i := 1; i <= n; i++ {
		kind := tsem.FileOpen
		if i == bad {
			kind = tsem.TaskKill
		}
		all.Append(kind, []byte(event(i, kind)))
		if i == bad-1 {
			held = -len(all.Buf)
		}
	}
	held += len(all.Buf)
	if err := b.Write(all); err != nil {
		t.Fatal(err)
	}
	b.connect()
	<-telling
	if b.Held() != int64(held) || b.Waiting() == 0 {
		t.Errorf("%d bytes are held, of %d from the record that was refused on", b.Held(), held)
	}
	close(told)
	b.close()
	if left := b.options.Spool.Len(); left != 0 {
		t.Errorf("%d records are left", left)
	}
	at, others := lostAt(t, lines(m.Got()), `"context": "3", "after": "99", "count": "1", "cause": "message_refused"`)
	if at < bad-1 || at > bad+2*inFlight {
		t.Errorf("it comes behind %d records, where %d were refused", at, bad-1)
	}
	want := bytes.Split(bytes.TrimSuffix(all.Buf, []byte{'\n'}), []byte{'\n'})
	want = append(want[:bad-1], want[bad:]...)
	if got := strings.Join(others, "\n"); got != string(bytes.Join(want, []byte{'\n'})) {
		t.Errorf("%d records came, or others than were written", len(others))
	}
}

// A loss that is not delivered when the run ends goes with the next one.
func TestALossIsKept(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "a/{type}", func(o *Options) { o.Broker.Version = mqtt.V5 })
	dead := make(chan struct{})
	m.Refuse(func(topic string) bool {
		if topic == "a/lost" {
			<-dead // it answers no more
		}
		return topic == "a/task_kill"
	})
	b.write(1, 4) // the third is refused
	b.connect()
	m.Wait(t, func(got []mqtttest.Got) bool { return len(got) == 3 })
	b.until(func() bool { return b.Waiting() > 0 && !b.Lost().None() })
	b.Hurry()
	b.close()
	close(dead)
	if b.Waiting() != 1 {
		t.Errorf("%d records wait", b.Waiting())
	}
	m.Refuse(nil)
	next := reopen(t, b.dir, m.Address, "a", nil).connect()
	next.write(5, 10)
	next.close()
	at, others := lostAt(t, lines(m.Got()), `"context": "3", "after": "2", "count": "1", "cause": "message_refused"`)
	if at != 3 || next.Waiting() != 0 {
		t.Errorf("it comes behind %d records, %d wait", at, next.Waiting())
	}
	checkEvents(t, others[:2], 1, 2)
	checkEvents(t, others[2:], 4, 10)
}

// What the spool has lost is told in its place.
func TestDamageIsToldInItsPlace(t *testing.T) {
	for _, batch := range []int{1, 7} {
		dir := filepath.Join(t.TempDir(), "spool")
		q := openSpool(t, dir, 0)
		const n, bad = 50, 20
		for i := 1; i <= n; i++ { // a frame each
			line := event(i, typeOf(i)) + "\n"
			if err := q.Append([]byte(line), []int{len(line)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		broken := 0
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if i := bytes.Index(text, []byte(event(bad, typeOf(bad)))); i >= 0 {
				broken++
				text[i+5] ^= 1
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if broken != 1 {
			t.Fatalf("the record was found %d times in %v", broken, files)
		}
		m := mqtttest.NewMemory(t, nil)
		b := reopen(t, dir, m.Address, "a", func(o *Options) { o.Batch = batch }).connect()
		b.write(n+1, n+10)
		b.close()
		at, others := lostAt(t, lines(m.Got()), `"context": "3", "after": "19", "count": "", "cause": "spool_damaged"`)
		if at != bad-1 {
			t.Errorf("it comes behind %d records, where %d were before the damage", at, bad-1)
		}
		checkEvents(t, others[:bad-1], 1, bad-1)
		checkEvents(t, others[bad-1:], bad+1, n+10)
		if got := b.Lost().String(); got != "1 spool_damaged" {
			t.Errorf("lost %s", got)
		}
	}
}
