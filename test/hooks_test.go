// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"quixote-export/internal/vm/inside"
	"quixote-export/tsem"
)

// Tests of the bpf source from outside. Their names begin with TestBPF: they run
// in virtual machines too, where such programs can be loaded.

// deedsReady names a program that does the deeds of the tests of the bpf source
// when it is asked to.
const deedsReady = "QUIXOTE_TEST_DEEDS"

// needBPF skips a test where the host has no bpf source.
func needBPF(t *testing.T) {
	t.Helper()
	out, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); words[0] == "bpf" {
			if !strings.HasPrefix(words[1], "available") {
				err = errors.New("needs the bpf source: " + strings.TrimSpace(line))
			}
			inside.NeedBPF(t, err)
			return
		}
	}
	t.Fatalf("no word of the source: %s", out)
}

// A chapter is a part of a workload that is compared by itself.
type chapter struct {
	name    string
	prepare func(t *testing.T, dir string)
	words   []string
	acts    bool // it is a table of those
}

// chapters are what is done under one source and the other: the tables of
// acts, everyday work, and what is not in those.
func chapters(t *testing.T) (all []chapter) {
	var names []string
	for name := range tables() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "signal" {
			continue // whether who is signalled has executed its program yet is chance
		}
		all = append(all, chapter{name, func(t *testing.T, dir string) {
			for i, a := range tables()[name] {
				s := &scene{t: t, dir: filepath.Join(dir, fmt.Sprint(i))}
				s.do(os.Mkdir(s.dir, 0o755))
				if a.prepare != nil {
					a.prepare(s)
				}
			}
		}, []string{anActor(t)[0], name, "."}, true})
	}
	for _, w := range everyday {
		all = append(all, chapter{"everyday " + w.name, func(t *testing.T, dir string) {
			c := exec.Command("sh", "-c", w.prepare)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, []string{"sh", "-c", w.script}, false})
	}
	if deeds := os.Getenv(deedsReady); deeds != "" {
		all = append(all, chapter{"deeds", func(*testing.T, string) {}, []string{"env", "QUIXOTE_BPF_TEST_ACTS=1", deeds, "deeds"}, false})
	}
	return all
}

// workload is a script of all chapters in a folder, which tells by a program of
// each one's number where it begins.
func workload(t *testing.T, dir string, all []chapter) string {
	t.Helper()
	var script strings.Builder
	for i, c := range all {
		own := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(own, 0o755); err != nil {
			t.Fatal(err)
		}
		c.prepare(t, own)
		mark := filepath.Join(dir, fmt.Sprintf("mark-%d", i))
		if out, err := exec.Command("cp", "/bin/true", mark).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		fmt.Fprintf(&script, "%s; cd %s;", mark, own)
		for _, word := range c.words {
			script.WriteString(" '" + strings.ReplaceAll(word, "'", `'\''`) + "'")
		}
		script.WriteString(" >/dev/null 2>&1 </dev/null\n")
	}
	return script.String() + "exit 0\n"
}

// told are the events of a chapter by the name of who did them.
type told map[string][]likeness

// A likeness is an event without what is another each time: one text to compare
// by, and one that has also lost what may be missing from it.
type likeness struct {
	whole, blank string
	event        *tsem.Event
}

// momentary matches what is another at each time, or with each process.
var momentary = regexp.MustCompile(`tmp[a-z0-9_]{8}\b|"(portid|seconds|nsecs)": "\d+"|("arg\d": )"\d{9,}"|("s_id": "tmpfs", )"s_uuid": "[0-9a-f]+"`)

// wanting matches the members that can be without what they should tell.
var wanting = regexp.MustCompile(`"s_uuid": "[0-9a-f]+"|"digest": "[0-9a-f]*"(, "digest_missing": "\w+")?`)

func like(e *tsem.Event, actor bool, by *names) likeness {
	whole := momentary.ReplaceAllString(temporary.ReplaceAllString(text(e.Type, e.Cell), "TEMP"), "$2$3 MOMENTARY")
	whole += fmt.Sprintf(" of %x, %+v", e.TaskID, e.COE)
	if !actor { // whose threads are who they are by chance
		whole += fmt.Sprintf(", child of %x", e.PTaskID)
	}
	whole = by.in(whole)
	return likeness{whole, wanting.ReplaceAllString(whole, "WANTING"), e}
}

// names stand for the identities of tasks where these cannot be the same: before
// Linux 6.9 nobody is told the s_uuid of a file system, which goes into them. A
// name is made in the same way of the same program, without.
type names struct {
	of      map[string]string // by identity
	program map[uint64]string // that a task has opened to execute it, by its number
	ttd     map[uint64]uint64 // last exec of a task
}

func newNames() *names {
	return &names{make(map[string]string), make(map[uint64]string), make(map[uint64]uint64)}
}

var identityOrUUID = regexp.MustCompile(`[0-9a-f]{64}|"s_uuid": "[0-9a-f]+"`)

func (n *names) in(text string) string {
	if n == nil {
		return text
	}
	return identityOrUUID.ReplaceAllStringFunc(text, func(found string) string {
		if strings.HasPrefix(found, `"s_uuid`) {
			return "UUID"
		}
		if name, ok := n.of[found]; ok {
			return name
		}
		return found
	})
}

// hear notes whom an event makes known.
func (n *names) hear(e *tsem.Event) {
	id := fmt.Sprintf("%x", e.TaskID)
	if before, seen := n.ttd[e.TNum]; (!seen || before != e.TTD) && n.of[id] == "" && n.program[e.TNum] != "" {
		n.of[id] = fmt.Sprintf("%x", sha256.Sum256([]byte(n.program[e.TNum]+n.in(fmt.Sprintf("%x", e.PTaskID)))))
	}
	n.ttd[e.TNum] = e.TTD
	if f, ok := e.Cell.(*tsem.FileCell); ok && f.File.Flags == execFlags {
		n.program[e.TNum] = wanting.ReplaceAllString(n.in(text(e.Type, e.Cell)), "WANTING")
	}
}

// byChapter divides a stream, in which identities are replaced by names or not.
func byChapter(s *stream, dir string, all []chapter, by *names) []told {
	parts := make([]told, len(all))
	at := -1
	for _, e := range s.events {
		if by != nil {
			by.hear(e)
		}
		if f, ok := e.Cell.(*tsem.FileCell); ok && f.File.Flags == execFlags {
			var n int
			if _, err := fmt.Sscanf(string(f.File.Path.Pathname), dir+"/mark-%d", &n); err == nil {
				at = n
				parts[at] = make(told)
			}
		}
		if at < 0 {
			continue
		}
		who := string(e.Process)
		// Between its acts an actor waits and looks, as often as it takes.
		if actor := all[at].acts; !actor || strings.HasPrefix(who, "act-") {
			parts[at][who] = append(parts[at][who], like(e, actor, by))
		}
	}
	return parts
}

// A difference is something that the bpf source tells of and the seccomp source
// does not, or in which their records differ. Each is described in doc/bpf.md,
// in a row of the table that begins with its name.
type difference struct {
	name string
	// only tells whether an event is one that only bpf tells of.
	only func(e *tsem.Event) bool
	// fewer tells whether the two are the same but for this.
	fewer func(bpf, seccomp string) bool
}

func anyOf(types ...tsem.Type) func(*tsem.Event) bool {
	return func(e *tsem.Event) bool { return slices.Contains(types, e.Type) }
}

var uuid = regexp.MustCompile(`"s_uuid": "[0-9a-f]+"`)

const noUUID = `"s_uuid": "00000000000000000000000000000000"`

var differences = []difference{
	{name: "`capable`", only: anyOf(tsem.Capable)},
	{name: "`file_receive`", only: anyOf(tsem.FileReceive)},
	{name: "`inode_killpriv`", only: anyOf(tsem.InodeKillpriv)},
	{name: "`kernel_module_request`", only: anyOf(tsem.KernelModuleRequest)},
	{name: "`socket_sendmsg`, `socket_recvmsg`", only: anyOf(tsem.SocketSendmsg, tsem.SocketRecvmsg)},
	{name: "`file_open` of pidfds", only: func(e *tsem.Event) bool {
		f, ok := e.Cell.(*tsem.FileCell)
		return ok && e.Type == tsem.FileOpen && string(f.File.Inode.SID) == "pidfs"
	}},
	// Of the thread of a journal, when its file system is mounted again.
	{name: "`task_setioprio`", only: func(e *tsem.Event) bool {
		c, ok := e.Cell.(*tsem.TaskValueCell)
		return ok && e.Type == tsem.TaskSetioprio && !slices.ContainsFunc(c.Task, func(b byte) bool { return b != 0 })
	}},
	{name: "`inode_create`", only: func(e *tsem.Event) bool {
		c, ok := e.Cell.(*tsem.CreateCell)
		return ok && e.Type == tsem.InodeCreate && c.Dentry.Path.Missing == "too_long"
	}},
	{name: "`digest`", fewer: func(bpf, seccomp string) bool {
		return strings.Contains(bpf, "digest_missing") || strings.Contains(seccomp, "digest_missing")
	}},
	{name: "`s_uuid`", fewer: func(bpf, seccomp string) bool {
		return slices.Contains(uuid.FindAllString(seccomp, -1), noUUID)
	}},
}

// compareTold compares what two sources tell of one who did something.
func compareTold(t *testing.T, who string, bpf, seccomp []likeness) (differing map[string]int) {
	t.Helper()
	differing = make(map[string]int)
	left := make(map[string]int)
	for _, l := range seccomp {
		left[l.whole]++
	}
	var rest []likeness
	for _, l := range bpf {
		if left[l.whole] > 0 {
			left[l.whole]--
		} else {
			rest = append(rest, l)
		}
	}
	var others []likeness
	for _, l := range seccomp {
		if left[l.whole] > 0 {
			left[l.whole]--
			others = append(others, l)
		}
	}
	for _, l := range rest {
		at := slices.IndexFunc(others, func(o likeness) bool { return o.blank == l.blank })
		row := slices.IndexFunc(differences, func(d difference) bool {
			return d.only != nil && d.only(l.event) || at >= 0 && d.fewer != nil && d.fewer(l.whole, others[at].whole)
		})
		if row < 0 {
			t.Errorf("%s: only bpf tells\n%s", who, l.whole)
			continue
		}
		differing[differences[row].name]++
		if differences[row].fewer != nil {
			others = slices.Delete(others, at, at+1)
		}
	}
	for _, o := range others {
		t.Errorf("%s: only seccomp tells\n%s", who, o.whole)
	}
	return differing
}

// The same work under the bpf source and under the seccomp source: the same
// records, but for the differences that are known.
func TestBPFBesideSeccomp(t *testing.T) {
	needBPF(t)
	needSeccomp(t)
	needRoot(t)
	all := chapters(t)
	var streams [2]*stream
	dir := filepath.Join(os.TempDir(), "beside") // the same names under both
	for i, source := range []string{"bpf", "seccomp"} {
		t.Run(source, func(t *testing.T) {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			script := workload(t, dir, all)
			s := run(t, options{
				dir: dir, flags: []string{"--source", source}, noisy: true, limit: 20 * time.Minute,
				env: []string{"GODEBUG=asyncpreemptoff=1,updatemaxprocs=0"}, // the runtime of Go makes calls when time passes
			}, "sh", "-c", script)
			t.Logf("%d events: %s", len(s.events), s.stderr)
			streams[i] = s
		})
	}
	if t.Failed() {
		return
	}
	var parts [2][]told
	for i, s := range streams {
		var by *names
		if first := streams[1].events[0].Cell.(*tsem.FileCell); first.File.Inode.UUID == [16]byte{} {
			by = newNames()
		}
		parts[i] = byChapter(s, dir, all, by)
	}
	for i, c := range all {
		t.Run(c.name, func(t *testing.T) {
			if len(parts[0][i]) == 0 || len(parts[1][i]) == 0 {
				t.Fatal("nothing is told of it")
			}
			for _, who := range union(parts[0][i], parts[1][i]) {
				if d := compareTold(t, who, parts[0][i][who], parts[1][i][who]); len(d) > 0 {
					t.Logf("%s: %d events, %d differ as known: %v", who, len(parts[0][i][who]), len(d), d)
				}
			}
		})
	}
}

// union are the names in either.
func union(a, b told) []string {
	all := make(told)
	maps.Copy(all, a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// On a tiny ring: what is delivered and what is told to be lost is what has
// happened, as an export without loss knows it.
func TestBPFLossFromOutside(t *testing.T) {
	needBPF(t)
	work := []string{"find", "/usr/lib", "-xdev", "-type", "f", "-size", "+1"}
	whole := run(t, options{flags: []string{"--source", "bpf", "-M", "files"}, noisy: true}, work...)
	some := run(t, options{flags: []string{"--source", "bpf", "-M", "files", "--ring", "4096"}, noisy: true, lost: true, status: 123}, work...)
	var lost uint64
	next := uint64(1)
	for line := range bytes.Lines(some.raw) {
		r := read(t, line)
		switch {
		case r.Kind == tsem.KindLost:
			n := uint64(number(t, r.Lost.Count))
			if r.Lost.Cause != "ring_full" {
				t.Errorf("lost: %+v", r.Lost)
			}
			lost += n
			next += n
		case r.Event != nil:
			if r.Event.Number != next {
				t.Fatalf("event %d where %d should be", r.Event.Number, next)
			}
			next++
		}
	}
	if got := uint64(len(some.events)) + lost; got != uint64(len(whole.events)) || lost == 0 {
		t.Errorf("%d events and %d lost, %d have happened", len(some.events), lost, len(whole.events))
	}
	if some.end.Lost != fmt.Sprint(lost) || !strings.Contains(some.stderr, fmt.Sprint(lost)) {
		t.Errorf("the end says %s, want %d; %s", some.end.Lost, lost, some.stderr)
	}
}

// Each difference is in the documentation.
func TestDifferencesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../doc/bpf.md")
	if err != nil {
		t.Skip(err) // in a virtual machine
	}
	for _, d := range differences {
		if !bytes.Contains(doc, []byte("\n| "+d.name+" |")) {
			t.Errorf("doc/bpf.md has no row of %s", d.name)
		}
	}
}
