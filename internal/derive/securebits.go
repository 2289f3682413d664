// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"sync"

	"quixote-export/internal/task"
)

// keepCaps is the only one of the securebits that an exec clears.
const keepCaps = 1 << 4

// Secure knows the securebits of tasks. The kernel shows them to nobody but
// the task itself: so they are those that were seen to be set, by the task or
// by those it descends from, and else the ones that tasks begin with.
type Secure struct {
	mu    sync.Mutex
	known map[int]secured
	tasks *task.Registry
}

type secured struct {
	bits  uint32
	start uint64 // of the task, since numbers come back
	ttd   uint64 // its count of programs
}

// fewSecured is how many tasks are remembered before those that have died are
// looked for.
const fewSecured = 256

func newSecure(tasks *task.Registry) *Secure {
	return &Secure{known: make(map[int]secured), tasks: tasks}
}

// Set notes that task tid has set its securebits.
func (s *Secure) Set(tid int, bits uint32) {
	it, err := task.ReadDetails(tid)
	if err != nil {
		return
	}
	id, _ := s.tasks.Lookup(tid)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[tid] = secured{bits, it.Start, id.TTD}
	if len(s.known) <= fewSecured {
		return
	}
	for tid, was := range s.known {
		if it, err := task.ReadDetails(tid); err != nil || it.Start != was.start {
			delete(s.known, tid)
		}
	}
}

// Of returns the securebits of task tid.
func (s *Secure) Of(tid int) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 64 {
		if len(s.known) == 0 || tid <= 0 {
			return 0
		}
		it, err := task.ReadDetails(tid)
		if err != nil {
			return 0
		}
		for _, n := range []int{tid, it.TGID} {
			was, ok := s.known[n]
			if !ok || n == tid && was.start != it.Start {
				continue
			}
			if id, ok := s.tasks.Lookup(tid); ok && id.TTD != was.ttd {
				return was.bits &^ keepCaps
			}
			return was.bits
		}
		tid = it.PPID
	}
	return 0
}
