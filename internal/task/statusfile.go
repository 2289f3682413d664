// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// statusFile is /proc/TID/status of a task, kept open: it is read when the task
// appears, after each exec, and for each file that the task makes. What it
// tells is of the task that it was opened for, or nothing.
type statusFile struct {
	mu   sync.Mutex
	open bool
	fd   int
	tid  int
}

// maxStatusFile bounds the descriptors that are kept so: with numbers above it
// the file is opened anew each time.
const maxStatusFile = 2048

// read reads the status of task tid, into buf if that has the room.
func (f *statusFile) read(tid int, buf []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open && f.tid == tid {
		if b, err := kernel.ReadWhole(f.fd, buf); err == nil {
			return b, nil
		}
	}
	f.drop()
	fd, err := unix.Open(kernel.ProcPath(tid, "status"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	b, err := kernel.ReadWhole(fd, buf)
	if err != nil || fd > maxStatusFile {
		unix.Close(fd)
	} else {
		f.open, f.fd, f.tid = true, fd, tid
	}
	return b, err
}

// close gives the descriptor up.
func (f *statusFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop()
}

// drop is close with the lock held.
func (f *statusFile) drop() {
	if f.open {
		unix.Close(f.fd)
		f.open = false
	}
}
