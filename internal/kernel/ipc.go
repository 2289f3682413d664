// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IPCKind is one of the three kinds of System V IPC objects.
type IPCKind uint8

// The kinds.
const (
	SharedMemory IPCKind = iota
	Semaphores
	MessageQueue
)

// IPCObject is what the kernel tells of a System V IPC object.
type IPCObject struct {
	ID                   int32
	Key                  int32
	UID, GID, CUID, CGID uint32
	Mode                 uint32
	Size                 uint64 // bytes of a segment, semaphores of a set, messages in a queue
}

// ipcCalls has the calls of each kind: what finds an object, what tells of it
// and with which command, and where in the answer the size lies.
var ipcCalls = [...]struct {
	get, ctl uintptr
	stat     uintptr // the _STAT_ANY command, which needs no permission
	size     int
}{
	SharedMemory: {unix.SYS_SHMGET, unix.SYS_SHMCTL, 15, 48},
	Semaphores:   {unix.SYS_SEMGET, unix.SYS_SEMCTL, 20, semaphoreCount},
	MessageQueue: {unix.SYS_MSGGET, unix.SYS_MSGCTL, 13, 80},
}

// FindIPC returns the id of the object with a key. It asks for no rights.
func FindIPC(kind IPCKind, key int32) (int32, error) {
	id, _, errno := unix.Syscall(ipcCalls[kind].get, uintptr(uint32(key)), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int32(id), nil
}

// StatIPC describes the object in the slot of an id; whether it is the object
// of that id, or a later one, the result's ID tells.
func StatIPC(kind IPCKind, id int32) (o IPCObject, err error) {
	call := &ipcCalls[kind]
	var b [128]byte
	var got uintptr
	var errno unix.Errno
	if kind == Semaphores {
		got, _, errno = unix.Syscall6(call.ctl, uintptr(id), 0, call.stat, uintptr(unsafe.Pointer(&b[0])), 0, 0)
	} else {
		got, _, errno = unix.Syscall(call.ctl, uintptr(id), call.stat, uintptr(unsafe.Pointer(&b[0])))
	}
	if errno != 0 {
		return o, errno
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(b[4*i:]) }
	return IPCObject{
		ID: int32(got), Key: int32(word(0)),
		UID: word(1), GID: word(2), CUID: word(3), CGID: word(4), Mode: word(5),
		Size: binary.NativeEndian.Uint64(b[call.size:]),
	}, nil
}

// PeekMessage returns the type of message number n of a queue, which it leaves
// where it is. buf must hold the largest message there can be, and a word more.
// ENOMSG: there are not so many.
func PeekMessage(queue int32, n int, buf []byte) (kind int64, err error) {
	const copyFlag = 0o40000
	_, _, errno := unix.Syscall6(unix.SYS_MSGRCV, uintptr(queue), uintptr(unsafe.Pointer(&buf[0])),
		uintptr(len(buf)-8), uintptr(n), copyFlag|ipcNoWait, 0)
	if errno != 0 {
		return 0, errno
	}
	return int64(binary.NativeEndian.Uint64(buf)), nil
}

const ipcNoWait = 0o4000
