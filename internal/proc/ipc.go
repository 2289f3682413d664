// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// ErrElsewhere means that the task lives in a namespace that we may not enter:
// what it names there cannot be looked at.
var ErrElsewhere = errors.New("in a namespace that cannot be entered")

// InIPC calls f while this thread is in the IPC namespace of t, and passes it
// the number of that namespace. ErrElsewhere: it cannot be entered.
func (l *Lens) InIPC(t *task.Task, f func(ns uint64) error) error {
	const own = "/proc/thread-self/ns/ipc" // other threads may be elsewhere
	ns, err := inode(kernel.ProcPath(t.TID, "ns/ipc"))
	if err != nil {
		return err
	}
	if here, err := inode(own); err == nil && here == ns {
		return f(ns)
	}
	back, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(back)
	there, err := unix.Open(kernel.ProcPath(t.TID, "ns/ipc"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ErrElsewhere
	}
	err = unix.Setns(there, unix.CLONE_NEWIPC)
	unix.Close(there)
	if err != nil {
		return ErrElsewhere
	}
	defer unix.Setns(back, unix.CLONE_NEWIPC)
	return f(ns)
}

// PrivateIPC lists, ascending in age, the ids of the objects of one kind that
// have no key, in the IPC namespace that this thread is in.
func PrivateIPC(kind kernel.IPCKind) (ids []int32) {
	names := [...]string{kernel.SharedMemory: "shm", kernel.Semaphores: "sem", kernel.MessageQueue: "msg"}
	table, err := os.ReadFile("/proc/sysvipc/" + names[kind])
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "0" {
			continue
		}
		if id, err := strconv.ParseInt(f[1], 10, 32); err == nil {
			ids = append(ids, int32(id))
		}
	}
	return ids
}

// IPCLimit is number i of a setting in /proc/sys/kernel, of the IPC namespace
// that this thread is in.
func IPCLimit(name string, i int) uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/" + name)
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if i >= len(f) {
		return 0
	}
	n, _ := strconv.ParseUint(f[i], 10, 64)
	return n
}
