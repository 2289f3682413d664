// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"slices"
	"sync"
)

// roll is the numbers of the thread groups of a context. It has a lock of its
// own: who is to end them must not wait for whoever deals with one.
type roll struct {
	mu   sync.Mutex
	pids map[int]bool
}

func (r *roll) set(pid int, in bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pids == nil {
		r.pids = make(map[int]bool)
	}
	if in {
		r.pids[pid] = true
	} else {
		delete(r.pids, pid)
	}
}

// alive lists those that are alive, ascending.
func (r *roll) alive() []int {
	r.mu.Lock()
	pids := make([]int, 0, len(r.pids))
	for pid := range r.pids {
		pids = append(pids, pid)
	}
	r.mu.Unlock()
	pids = slices.DeleteFunc(pids, func(pid int) bool {
		st, err := readStat(pid, make([]byte, 1024))
		return err != nil || st.zombie
	})
	slices.Sort(pids)
	return pids
}
