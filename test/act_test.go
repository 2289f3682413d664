// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// act is one thing that a watched process does, in a folder of its own.
type act struct {
	name    string
	prepare func(s *scene)                 // in the test, before
	before  func(dir string) (int, error)  // in the actor, not looked at; the number is for do
	do      func(dir string, fd int) error // in the actor
	errno   syscall.Errno                  // that do must return
	want    func(s *scene) []record        // what must be recorded of it
	root    bool                           // cannot be done without root
	coe     func(s *scene, coe *tsem.COE)  // changes the expected credentials
}

// record is an event that is expected.
type record struct {
	kind tsem.Type
	cell tsem.Cell
}

// perform does a table of acts, each on a thread of its own that bears the name
// of the act while it is done, and prints the thread's number and how it ended.
func perform(table, dir string) int {
	for i, a := range tables()[table] {
		if a.root && os.Geteuid() != 0 {
			fmt.Println("0 0")
			continue
		}
		done := make(chan string)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends here
			own := filepath.Join(dir, fmt.Sprint(i))
			fd := -1
			var err error
			if a.before != nil {
				fd, err = a.before(own)
			}
			if err == nil {
				setName(fmt.Sprintf("act-%d", i))
				err = a.do(own, fd)
				setName("after")
			} else {
				err = fmt.Errorf("before: %w", err)
			}
			done <- fmt.Sprintf("%d %s", unix.Gettid(), errnoText(err))
		}()
		fmt.Println(<-done)
	}
	return 0
}

func setName(name string) {
	b := append([]byte(name), 0)
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, addr(b), 0)
	runtime.KeepAlive(b)
}

func errnoText(err error) string {
	var errno syscall.Errno
	if err == nil || errors.As(err, &errno) && errno == 0 {
		return "0"
	}
	if errors.As(err, &errno) && !strings.HasPrefix(err.Error(), "before") {
		return fmt.Sprint(int(errno))
	}
	return err.Error()
}

// performed runs a table and compares each act's events with what it wants.
func performed(t *testing.T, table string, o options) {
	t.Helper()
	needSeccomp(t)
	dir := openDir(t)
	performedIn(t, table, dir, o, func(*scene) {})
}

// performedIn is performed in a folder. place tells of each act's scene where
// the folder is in its file system.
func performedIn(t *testing.T, table, dir string, o options, place func(*scene)) {
	t.Helper()
	acts := tables()[table]
	if len(acts) == 0 {
		t.Fatalf("there is no table %s", table)
	}
	scenes := make([]*scene, len(acts))
	for i, a := range acts {
		if a.root && o.uid != 0 {
			continue
		}
		s := &scene{t: t, dir: filepath.Join(dir, fmt.Sprint(i)), uid: o.uid}
		place(s)
		if err := os.Mkdir(s.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if o.uid != 0 {
			if err := os.Chown(s.dir, o.uid, o.uid); err != nil {
				t.Fatal(err)
			}
		}
		if a.prepare != nil {
			a.prepare(s)
		}
		s.remember()
		scenes[i] = s
	}
	o.dir = dir
	st := run(t, o, anActor(t, table, dir)...)
	lines := bufio.NewScanner(strings.NewReader(st.stdout))
	for i, a := range acts {
		if !lines.Scan() {
			t.Fatalf("the actor has ended before act %d; standard error: %s", i, st.stderr)
		}
		tid, result, _ := strings.Cut(lines.Text(), " ")
		if scenes[i] == nil {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			s := scenes[i]
			s.t, s.stream = t, st
			if want := fmt.Sprint(int(a.errno)); result != want {
				t.Errorf("the act ended with %s, want %s", result, want)
			}
			s.compare(&a, fmt.Sprintf("act-%d", i), tid)
		})
	}
}

// compare compares the events of one act with those that it wants.
func (s *scene) compare(a *act, name, tid string) {
	s.t.Helper()
	var got []*tsem.Event
	for _, e := range s.stream.by(name) {
		// The act ends with the change of name.
		if fmt.Sprint(e.PID) == tid && e.Type != tsem.TaskPrctl {
			got = append(got, e)
			s.taskID, s.pTaskID = e.TaskID, e.PTaskID
		}
	}
	if s.taskID == nil {
		s.taskID = s.stream.events[len(s.stream.events)-1].TaskID
	}
	want := a.want(s)
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = text(got[i].Type, got[i].Cell)
			s.compareCOE(a, got[i])
		}
		if i < len(want) {
			w = text(want[i].kind, want[i].cell)
		}
		if g != w {
			s.t.Errorf("record %d\ngot  %s\nwant %s", i+1, g, w)
		}
	}
}

func (s *scene) compareCOE(a *act, e *tsem.Event) {
	s.t.Helper()
	want := ownCOE(s.t)
	if s.uid != 0 {
		u := uint32(s.uid)
		want = tsem.COE{UID: u, EUID: u, SUID: u, GID: u, EGID: u, SGID: u, FSUID: u, FSGID: u}
	}
	if a.coe != nil {
		a.coe(s, &want)
	}
	if e.COE != want {
		s.t.Errorf("%s\ngot  %+v\nwant %+v", e.Type, e.COE, want)
	}
}
