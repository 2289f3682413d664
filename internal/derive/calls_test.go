// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// caller is a thread that makes calls, under the eyes of a deriver on that of
// the test.
type caller struct {
	testing.TB
	run  chan func()
	d    *Deriver
	task *task.Task
	rows map[string]*Row
	call Call
	keep []any // what arguments point to
}

// newCaller starts the thread, which ends with the test.
func newCaller(t testing.TB) *caller {
	t.Helper()
	runtime.LockOSThread() // as a deriver must be
	t.Cleanup(runtime.UnlockOSThread)
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := task.New(alg.Size, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tasks.Close() })
	shared, err := NewShared(alg, tasks)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(shared, Options{Algorithm: alg, Model: model.Default()})
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{TB: t, run: make(chan func()), d: d, rows: byName()}
	end := make(chan bool)
	var serve func()
	serve = func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The thread that /proc/self speaks of must stay as it is.
			go serve()
			<-end
			runtime.UnlockOSThread()
			return
		}
		for f := range c.run {
			f()
		}
		// The thread has changed: it is not given back.
	}
	go serve()
	t.Cleanup(func() {
		close(c.run)
		close(end)
	})
	self := &task.Task{TGID: os.Getpid()}
	c.within(func() { self.TID = unix.Gettid() })
	self.TaskID = alg.Zero()
	self.TaskID[0] = 0xab
	if err := d.lens.Refresh(self); err != nil {
		t.Fatal(err)
	}
	c.task = self
	return c
}

// within calls f on the thread of the task.
func (c *caller) within(f func()) {
	done := make(chan bool)
	c.run <- func() { defer close(done); f() }
	<-done
}

// bytes is the address of b, and text that of a string with its end.
func (c *caller) bytes(b []byte) uint64 {
	c.keep = append(c.keep, b)
	return uint64(reflect.ValueOf(&b[0]).Pointer())
}

func (c *caller) text(s string) uint64 { return c.bytes(append([]byte(s), 0)) }

// derive tells what a call is without making it.
func (c *caller) derive(name string, args ...uint64) []Event {
	c.Helper()
	c.call = Call{Task: c.task, Row: c.rows[name]}
	copy(c.call.Args[:], args)
	c.d.Meet(c.task)
	c.d.Settle(c.task)
	return c.d.Derive(&c.call).Events
}

// do tells what a call is, and makes it.
func (c *caller) do(number uintptr, name string, args ...uint64) (events []Event, result int) {
	c.Helper()
	events = append(events, c.derive(name, args...)...)
	var a [6]uintptr
	for i, v := range args {
		a[i] = uintptr(v)
	}
	var r uintptr
	var errno unix.Errno
	c.within(func() { r, _, errno = unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]) })
	if errno != 0 {
		c.Fatalf("%s: %v", name, errno)
	}
	return events, int(r)
}

// want compares events, each with all members.
func (c *caller) want(got []Event, want ...Event) {
	c.Helper()
	if len(got) != len(want) {
		c.Errorf("got %d events, want %d: %s", len(got), len(want), list(got))
		return
	}
	for i := range got {
		if a, b := list(got[i:i+1]), list(want[i:i+1]); a != b {
			c.Errorf("event %d is\n%s\nwant\n%s", i, a, b)
		}
	}
}

func list(events []Event) string {
	var b []byte
	for i := range events {
		e := tsem.Event{Type: events[i].Type, Cell: events[i].Cell}
		b = append(e.AppendJSON(b), '\n')
	}
	return string(b)
}

// needRoot skips a test that only root can make.
func (c *caller) needRoot() {
	c.Helper()
	if os.Geteuid() != 0 || !c.d.lens.Capable(c.task, unix.CAP_SYS_ADMIN) {
		c.Skip("needs root")
	}
}

// own is the credentials of the test.
func (c *caller) own() tsem.Creds { return tsem.Creds{COE: c.task.Status.COE} }

// What the rows tell that calls can be has cells.
func TestEventsHaveCells(t *testing.T) {
	for _, row := range Table() {
		for _, kind := range row.Events {
			if reflect.ValueOf(tsem.NewCell(kind)).IsNil() {
				t.Errorf("%s: %s has no cell", row.Name, kind)
			}
		}
	}
}
