// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// KillDescendants kills every process below the calling one, which must be
// their subreaper and have no other children, until none is left or until the
// time is over; then it tells how many are. Control groups would do it in one
// act, but cannot be had on every host.
func KillDescendants(patience time.Duration) (left int) {
	for until := time.Now().Add(patience); !childless(); {
		pids := descendants(os.Getpid())
		if time.Now().After(until) {
			return max(len(pids), 1)
		}
		kill(pids, unix.SIGKILL)
		// The dying are waited for: only our own children tell of their end.
		time.Sleep(time.Millisecond)
	}
	return 0
}

// childless collects the children that have ended, and tells whether there are
// no others. Then there are no descendants either: who loses its parent becomes
// our child. A look at /proc cannot tell, since it takes time, in which a
// process moves from one parent to the next.
func childless() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
		switch {
		case err == unix.ECHILD:
			return true
		case err != unix.EINTR && pid <= 0:
			return false
		}
	}
}

// descendants lists the processes below root that have not ended.
func descendants(root int) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	parents := make(map[int]int, len(names))
	dead := make(map[int]bool)
	buf := make([]byte, 512)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := kernel.ReadProc(pid, "stat", buf)
		if err != nil {
			continue
		}
		// The name in parentheses can hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		parents[pid], _ = strconv.Atoi(string(fields[1]))
		dead[pid] = fields[0][0] == 'Z' || fields[0][0] == 'X'
	}
	var below []int
	for pid := range parents {
		if !dead[pid] && isBelow(parents, pid, root) {
			below = append(below, pid)
		}
	}
	return below
}

func isBelow(parents map[int]int, pid, root int) bool {
	for range len(parents) { // a picture taken while it changes may have a circle
		parent, ok := parents[pid]
		if !ok || parent == 0 {
			return false
		}
		if parent == root {
			return true
		}
		pid = parent
	}
	return false
}
