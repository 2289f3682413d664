// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// view is a pid namespace below ours, as the tasks in it see others.
type view struct {
	depth int // below ours
	ns    uint64
}

func viewOf(tid int) (v view, err error) {
	if v.depth = len(numbers(tid)) - 1; v.depth < 0 {
		return v, unix.ESRCH
	}
	var st unix.Stat_t
	err = unix.Stat(kernel.ProcPath(tid, "ns/pid"), &st)
	v.ns = st.Ino
	return v, err
}

// number is what task tid is called in the view, 0 where it is not seen.
func (v view) number(tid int) int {
	known := numbers(tid)
	if len(known) <= v.depth {
		return 0
	}
	// A task still deeper is in a namespace below.
	if len(known) == v.depth+1 {
		var st unix.Stat_t
		if unix.Stat(kernel.ProcPath(tid, "ns/pid"), &st) != nil || st.Ino != v.ns {
			return 0
		}
	}
	return known[v.depth]
}

// FindInNamespace returns the task that task tid, in a pid namespace below
// ours, knows as number n.
func FindInNamespace(tid, n int) (int, error) {
	v, err := viewOf(tid)
	if err != nil {
		return 0, err
	}
	pids, err := processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		for _, t := range threads(pid) {
			if v.number(t) == n {
				return t, nil
			}
		}
	}
	return 0, unix.ESRCH
}

// Sees tells whether task tid has a number for task other.
func Sees(tid, other int) bool {
	v, err := viewOf(tid)
	return err == nil && v.number(other) != 0
}

// FirstFor tells whether task other is the first of the pid namespace of task
// tid, or of one around it, though not of ours: such a task is spared what
// nobody can be asked about.
func FirstFor(tid, other int) bool {
	first := numbers(other)
	if len(first) < 2 || first[len(first)-1] != 1 {
		return false
	}
	return len(numbers(tid)) >= len(first)
}

// numbers is what a task is called in each pid namespace from ours inwards.
func numbers(tid int) (n []int) {
	b, err := kernel.ReadStatus(tid, make([]byte, 4096))
	if err != nil {
		return nil
	}
	_, rest, ok := bytes.Cut(b, []byte("\nNSpid:"))
	if !ok {
		return nil
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	for _, f := range bytes.Fields(line) {
		v, _ := strconv.Atoi(string(f))
		n = append(n, v)
	}
	return n
}

// InnerNumber is what task tid is called in its own pid namespace.
func InnerNumber(tid int) int {
	if n := numbers(tid); len(n) > 0 {
		return n[len(n)-1]
	}
	return tid
}

func threads(pid int) (tids []int) {
	entries, _ := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}
