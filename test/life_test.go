// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quixote-export/tsem"
)

// compiled are the programs of testdata, made once each.
var compiled sync.Map

// program compiles a C program of testdata.
func program(t *testing.T, name string, flags ...string) string {
	t.Helper()
	need(t, "gcc")
	if _, err := actorProgram(); err != nil { // which makes the folder
		t.Fatal(err)
	}
	path := filepath.Join(folder, name)
	make, _ := compiled.LoadOrStore(name, sync.OnceValue(func() error {
		args := append([]string{"-O1", "-o", path, filepath.Join("testdata", name+".c")}, flags...)
		if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
	if err := make.(func() error)(); err != nil {
		t.Skipf("needs a C compiler that works: %v", err)
	}
	return path
}

func life(t *testing.T, words ...string) []string {
	t.Helper()
	return append([]string{program(t, "life", "-pthread")}, words...)
}

// created finds the event in which a name of the run's folder was made.
func (s *stream) created(name string) *tsem.Event {
	s.t.Helper()
	var found *tsem.Event
	for _, e := range s.of(tsem.InodeCreate) {
		if string(e.Cell.(*tsem.CreateCell).Dentry.Path.Pathname) == filepath.Join(s.dir, name) {
			if found != nil {
				s.t.Fatalf("%s is made twice", name)
			}
			found = e
		}
	}
	if found == nil {
		s.t.Fatalf("nobody makes %s", name)
	}
	return found
}

// inherits wants that the child, which executed nothing, has what a task of
// the parent's identity gets.
func (s *stream) inherits(child, parent *tsem.Event) {
	s.t.Helper()
	if !bytes.Equal(child.TaskID, parent.TaskID) || !bytes.Equal(child.PTaskID, parent.TaskID) || child.TTD != parent.TTD || child.PTTD != parent.TTD {
		s.t.Errorf("the child is %x below %x, ttd %d and %d; its maker is %x, ttd %d",
			child.TaskID, child.PTaskID, child.TTD, child.PTTD, parent.TaskID, parent.TTD)
	}
	if child.TNum == parent.TNum || child.PID == parent.PID {
		s.t.Errorf("child and parent are tasks %d and %d, pids %d and %d", child.TNum, parent.TNum, child.PID, parent.PID)
	}
}

func TestForks(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"fork", "clone3"} {
		t.Run(way, func(t *testing.T) {
			s := run(t, options{}, life(t, way)...)
			child, parent := s.created("child"), s.created("parent")
			s.inherits(child, parent)
			if got := fmt.Sprint(child.PID); got != strings.TrimSpace(s.stdout) {
				t.Errorf("the child is %s, want %s", got, s.stdout)
			}
			if parent.TTD != 1 || parent.TNum != s.events[0].TNum || string(child.Process) != "life" {
				t.Errorf("parent: %+v", parent)
			}
		})
	}
}

// A child that vfork made executes a program that is not there, and then one
// that is.
func TestVfork(t *testing.T) {
	t.Parallel()
	s := run(t, options{}, life(t, "vfork", "/etc/hostname")...)
	parent := s.created("parent")
	cat := s.opens("/etc/hostname")
	if len(cat) != 1 || string(cat[0].Process) != "cat" {
		t.Fatalf("/etc/hostname is opened %d times", len(cat))
	}
	if !bytes.Equal(cat[0].PTaskID, parent.TaskID) || cat[0].PTTD != parent.TTD || cat[0].TTD != 2 || bytes.Equal(cat[0].TaskID, parent.TaskID) {
		t.Errorf("cat: %+v; parent: %+v", cat[0], parent)
	}
	if got := fmt.Sprint(cat[0].PID); !strings.HasPrefix(s.stdout, got) {
		t.Errorf("cat is %s, want %s", got, s.stdout)
	}
	for _, e := range s.opens("/usr/bin/cat") {
		s.inherits(e, parent)
	}
}

func TestThreads(t *testing.T) {
	t.Parallel()
	s := run(t, options{}, life(t, "threads")...)
	leader := s.created("main")
	tids := strings.Fields(s.stdout)
	for i, name := range []string{"one", "two", "three", "four"} {
		e := s.created(name)
		s.inherits(e, leader)
		if string(e.Process) != name || fmt.Sprint(e.PID) != tids[i] {
			t.Errorf("thread %s is %s with number %d, want %s", name, e.Process, e.PID, tids[i])
		}
	}
	if string(leader.Process) != "life" {
		t.Errorf("the leader is %s", leader.Process)
	}
}

// Attempts to execute what cannot be executed change nothing. What has been
// opened on the way is recorded.
func TestFailedExecs(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	for name, mode := range map[string]os.FileMode{"closed": 0o644, "text": 0o755, "script": 0o755} {
		content := "no program\n"
		if name == "script" {
			content = "#!/absent/interpreter -x\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	s := run(t, options{dir: dir}, life(t, "execfail")...)
	after := s.created("after")
	if after.TTD != 1 || string(after.Process) != "life" {
		t.Errorf("after: %+v", after)
	}
	for name, want := range map[string]int{"closed": 0, "text": 1, "script": 1, "nowhere": 0} {
		if got := len(s.opens(filepath.Join(dir, name))); got != want {
			t.Errorf("%s was opened %d times, want %d", name, got, want)
		}
	}
}

// A thread that is not the leader executes a program: all others are gone, and
// it carries on under the leader's number.
func TestExecByAThread(t *testing.T) {
	t.Parallel()
	for range 5 {
		s := run(t, options{}, life(t, "threadexec", "/etc/hostname")...)
		before := s.created("before")
		cat := s.opens("/etc/hostname")
		if len(cat) != 1 {
			t.Fatalf("/etc/hostname is opened %d times", len(cat))
		}
		leader := s.events[0]
		if cat[0].PID != leader.PID || before.PID == leader.PID || string(cat[0].Process) != "cat" || string(before.Process) != "executes" {
			t.Errorf("pids: leader %d, thread %d, cat %d; names: %s, %s", leader.PID, before.PID, cat[0].PID, before.Process, cat[0].Process)
		}
		if cat[0].TNum != before.TNum || cat[0].TTD != 2 || !bytes.Equal(cat[0].PTaskID, before.PTaskID) {
			t.Errorf("cat is %+v, the thread was %+v", cat[0], before)
		}
	}
}

// An exec is seen though its old address space lives on: another task has it,
// or somebody just looks into it.
func TestExecOfOneWhoSharesMemory(t *testing.T) {
	t.Parallel()
	s := run(t, options{}, life(t, "sharedexec", "/etc/hostname")...)
	cat := s.opens("/etc/hostname")
	if len(cat) != 1 {
		t.Fatalf("/etc/hostname is opened %d times", len(cat))
	}
	if first := s.events[0]; string(cat[0].Process) != "cat" || cat[0].TTD != 2 || cat[0].PID != first.PID || cat[0].TNum != first.TNum {
		t.Errorf("cat is %+v", cat[0])
	}
}

// Children that act only when their parent has died or become another program
// are still its children as it was.
// Who has made a task is known though it is gone, or has become another
// program, before the task acts: where the kernel tells of forks, and in a pid
// namespace, where it does not.
func TestOrphans(t *testing.T) {
	t.Parallel()
	need(t, "unshare")
	for name, under := range map[string][]string{"told": nil, "found": {"unshare", "-pf", "--mount-proc"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if under != nil {
				needRoot(t)
				if out, err := exec.Command(under[0], append(under[1:], "true")...).CombinedOutput(); err != nil {
					t.Skipf("needs pid namespaces: %v: %s", err, out)
				}
			}
			s := run(t, options{under: under}, life(t, "orphan")...)
			s.inherits(s.created("orphan"), s.created("top"))

			s = run(t, options{under: under}, life(t, "killed")...)
			s.inherits(s.created("child"), s.created("top"))

			s = run(t, options{under: under}, life(t, "execparent", "/etc/hostname")...)
			child, cat := s.created("child"), s.opens("/etc/hostname")
			if len(cat) != 1 {
				t.Fatalf("/etc/hostname is opened %d times", len(cat))
			}
			if child.TTD != 1 || child.PTTD != 1 || !bytes.Equal(child.TaskID, child.PTaskID) || bytes.Equal(child.TaskID, cat[0].TaskID) || cat[0].TTD != 2 {
				t.Errorf("the child is %+v, its parent became %+v", child, cat[0])
			}

			// Of two that are gone, it is the right one.
			words := life(t, "late")
			s = run(t, options{under: under}, "sh", "-c", `{ sleep 0.2; } | { "$1" late a; "$1" late b; }`, "sh", words[0])
			s.inherits(s.created("a"), s.created("top-a"))
			s.inherits(s.created("b"), s.created("top-b"))
		})
	}
}

// A task that is made as a child of its maker's parent has the identity of its
// maker, whether that parent is of the context or not.
func TestSiblings(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"clone", "clone3"} {
		words := life(t, "sibling", how)
		s := run(t, options{}, words...)
		s.inherits(s.created("sibling"), s.created("maker"))
		s = run(t, options{}, "sh", "-c", `"$@"; echo > parent`, "sh", words[0], words[1], words[2])
		s.inherits(s.created("sibling"), s.created("maker"))
		if bytes.Equal(s.created("parent").TaskID, s.created("maker").TaskID) {
			t.Error("the maker has the identity of its parent")
		}
	}
}

func TestFiveHundredForksAtOnce(t *testing.T) {
	t.Parallel()
	const n = 500
	s := run(t, options{}, life(t, "forks", fmt.Sprint(n))...)
	parent := s.events[len(s.events)-1]
	for _, e := range s.events {
		if e.PID == s.events[0].PID {
			parent = e
		}
	}
	tasks := make(map[uint64]bool)
	for i := range n {
		e := s.created(fmt.Sprintf("n%d", i))
		s.inherits(e, parent)
		tasks[e.TNum] = true
	}
	if len(tasks) != n {
		t.Errorf("%d tasks", len(tasks))
	}
	if opened := len(s.of(tsem.FileOpen)); opened < n {
		t.Errorf("%d files opened", opened)
	}
}

// More records than there is room for while they wait to be written.
func TestTwelveThousandOpens(t *testing.T) {
	t.Parallel()
	const n = 12_000
	dir := openDir(t)
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{dir: dir}, life(t, "opens", "f", fmt.Sprint(n))...)
	if got := len(s.opens(file)); got != n {
		t.Errorf("%d opens, want %d", got, n)
	}
}
