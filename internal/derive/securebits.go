// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// keepCaps is the only one of the securebits that an exec clears.
const keepCaps = 1 << 4

// Secure knows the securebits of tasks. The kernel shows them to nobody but
// the task itself: so they are those that were seen to be set, by the task or
// before it was made by those it descends from, and else the ones that we began
// with ourselves. In a user namespace of their own tasks begin with none.
type Secure struct {
	mu    sync.Mutex
	known map[int][]secured // what a task has set, oldest first
	tasks *task.Registry
	first secured
}

type secured struct {
	bits  uint32
	start uint64 // of the task, since numbers come back; clock ticks since boot
	since uint64 // when it was set, in the same ticks
	ttd   uint64 // the task's count of programs
	users uint64 // its user namespace
}

// fewSecured is how many tasks are remembered before those that have died are
// looked for.
const fewSecured = 256

func newSecure(tasks *task.Registry) *Secure {
	bits, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		bits = 0
	}
	return &Secure{
		known: make(map[int][]secured), tasks: tasks,
		first: secured{bits: uint32(bits) &^ keepCaps, users: userNamespace(os.Getpid())},
	}
}

// userNamespace tells the user namespaces of tasks apart; 0: unknown.
func userNamespace(tid int) uint64 {
	var st unix.Stat_t
	if unix.Stat(kernel.ProcPath(tid, "ns/user"), &st) != nil {
		return 0
	}
	return st.Ino
}

// clockTicks is the time in the unit of /proc/PID/stat.
func clockTicks() uint64 {
	const perSecond = 100 // USER_HZ, of every machine we run on
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano()) / (1e9 / perSecond)
}

// Set notes that task tid has set its securebits.
func (s *Secure) Set(tid int, bits uint32) {
	it, err := task.ReadDetails(tid)
	if err != nil {
		return
	}
	id, _ := s.tasks.Lookup(tid)
	set := secured{bits, it.Start, clockTicks(), id.TTD, userNamespace(tid)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if of := s.known[tid]; len(of) > 0 && of[0].start != it.Start {
		delete(s.known, tid)
	}
	s.known[tid] = append(s.known[tid], set)
	if len(s.known) <= fewSecured {
		return
	}
	for tid, of := range s.known {
		if it, err := task.ReadDetails(tid); err != nil || it.Start != of[0].start {
			delete(s.known, tid)
		}
	}
}

// latest is what the task that has the number tid since start had set when it
// was asked for the last time before a moment.
func (s *Secure) latest(tid int, start, before uint64) (set secured, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.known[tid] {
		if of.start == start && of.since <= before {
			set, ok = of, true
		}
	}
	return set, ok
}

// Of returns the securebits of task tid.
func (s *Secure) Of(tid int) uint32 {
	set := s.inherited(tid)
	if set.users != userNamespace(tid) {
		return 0 // a task that enters a user namespace gets those to begin with
	}
	if set.bits&keepCaps != 0 {
		if id, ok := s.tasks.Lookup(tid); ok && id.TTD != set.ttd {
			return set.bits &^ keepCaps
		}
	}
	return set.bits
}

// inherited is what task tid, or the nearest it comes from, has set.
func (s *Secure) inherited(tid int) secured {
	s.mu.Lock()
	none := len(s.known) == 0
	s.mu.Unlock()
	before := ^uint64(0)
	for depth := 0; depth < 64 && tid > 0 && !none; depth++ {
		it, err := task.ReadDetails(tid)
		if err != nil {
			break
		}
		if set, ok := s.latest(tid, it.Start, before); ok {
			return set
		}
		before = it.Start
		if tid != it.TGID {
			tid = it.TGID // a thread
		} else {
			tid = it.PPID
		}
	}
	return s.first
}
