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

// FindInNamespace returns the task that task tid, in a pid namespace below
// ours, knows as number n.
func FindInNamespace(tid, n int) (int, error) {
	depth := len(numbers(tid)) - 1
	if depth < 0 {
		return 0, unix.ESRCH
	}
	var own unix.Stat_t
	if err := unix.Stat(kernel.ProcPath(tid, "ns/pid"), &own); err != nil {
		return 0, err
	}
	pids, err := processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		for _, t := range threads(pid) {
			known := numbers(t)
			if len(known) <= depth || known[depth] != n {
				continue
			}
			var st unix.Stat_t
			// A task still deeper is in a namespace below that of tid.
			if len(known) > depth+1 || unix.Stat(kernel.ProcPath(t, "ns/pid"), &st) == nil && st.Ino == own.Ino {
				return t, nil
			}
		}
	}
	return 0, unix.ESRCH
}

// numbers is what a task is called in each pid namespace from ours inwards.
func numbers(tid int) (n []int) {
	b, err := kernel.ReadProc(tid, "status", make([]byte, 4096))
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
