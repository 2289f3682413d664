// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package kernel holds the system calls that golang.org/x/sys/unix has no
// wrapper for, and with them the program's only uses of unsafe.
//
// Every function is one call, or a few that belong together, and returns the
// error number as it came. Nothing here keeps state.
package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notification is struct seccomp_notif of linux/seccomp.h: one system call of
// a task that waits for the answer.
type Notification struct {
	ID    uint64 // cookie of the notification, unique for the listener
	TID   uint32 // thread id of the caller, in the reader's pid namespace
	Flags uint32
	NR    int32  // system call number
	Arch  uint32 // AUDIT_ARCH_ value
	IP    uint64 // instruction pointer of the caller
	Args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// InstallFilter puts prog on the calling thread and returns the descriptor on
// which the filter's notifications arrive. It asks for WAIT_KILLABLE_RECV
// (Linux 5.19), with which only fatal signals interrupt a task that waits for
// its answer, and does without where the kernel refuses it; killable tells.
func InstallFilter(prog []unix.SockFilter) (listener int, killable bool, err error) {
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	if errno == 0 {
		return int(fd), true, nil
	}
	if errno != unix.EINVAL {
		return -1, false, errno
	}
	fd, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return -1, false, errno
	}
	return int(fd), false, nil
}

// NotificationsSupported tells whether the kernel knows the user notification
// action (Linux 5.0) and answers CONTINUE (5.5), without installing anything.
func NotificationsSupported() error {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return errno
	}
	return nil
}

// SyncWakeUp asks the listener to wake its reader on the CPU of the caller
// (Linux 6.6). An older kernel answers EINVAL, which costs speed only.
func SyncWakeUp(listener int) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener),
		unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	if errno != 0 {
		return errno
	}
	return nil
}

// Receive waits for the next notification. ENOENT means that the task went
// away before it could be read, or, when the listener also hangs up, that no
// task carries the filter any longer. n must be zero before the call.
func Receive(listener int, n *Notification) error {
	*n = Notification{}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener),
		unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Continue lets the task execute the system call it was stopped at. ENOENT:
// the task is gone, or a signal took it out of the call.
func Continue(listener int, id uint64) error {
	return respond(listener, response{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// Answer gives the system call a result without executing it: 0, or an error.
func Answer(listener int, id uint64, errno unix.Errno) error {
	return respond(listener, response{id: id, errno: -int32(errno)})
}

// respond uses a raw call: an answer never blocks, so the scheduler need not
// be told of it.
func respond(listener int, r response) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener),
		unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Valid tells whether the task of notification id still waits. What was read
// from its memory before is then what the kernel was asked.
func Valid(listener int, id uint64) bool {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(listener),
		unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
	return errno == 0
}
