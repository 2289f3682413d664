// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// makeIPC creates an object without a key, which goes away with the test.
func makeIPC(t *testing.T, kind IPCKind, size uintptr) int32 {
	t.Helper()
	const create = 0o1000 | 0o640
	args := [3]uintptr{0, size, create}
	if kind == MessageQueue {
		args = [3]uintptr{0, create}
	}
	id, _, errno := unix.Syscall(ipcCalls[kind].get, args[0], args[1], args[2])
	if errno != 0 {
		t.Skipf("this system makes no System V objects: %v", errno)
	}
	t.Cleanup(func() {
		if kind == Semaphores {
			unix.Syscall(unix.SYS_SEMCTL, id, 0, 0)
		} else {
			unix.Syscall(ipcCalls[kind].ctl, id, 0, 0)
		}
	})
	return int32(id)
}

func TestStatIPC(t *testing.T) {
	for kind, size := range map[IPCKind]uint64{SharedMemory: 8192, Semaphores: 5, MessageQueue: 0} {
		id := makeIPC(t, kind, uintptr(size))
		o, err := StatIPC(kind, id)
		if err != nil {
			t.Fatal(err)
		}
		uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
		want := IPCObject{ID: id, UID: uid, GID: gid, CUID: uid, CGID: gid, Mode: 0o640, Size: size}
		if o != want {
			t.Errorf("kind %d: got %+v, want %+v", kind, o, want)
		}
		if _, err := FindIPC(kind, 0x7ffffff1); err != unix.ENOENT {
			t.Errorf("kind %d: a key that nobody has: %v", kind, err)
		}
	}
}

// Messages are looked at without being taken.
func TestPeekMessage(t *testing.T) {
	queue := makeIPC(t, MessageQueue, 0)
	for _, kind := range []int64{7, 3} {
		message := struct {
			kind int64
			text [4]byte
		}{kind: kind}
		if _, _, errno := unix.Syscall6(unix.SYS_MSGSND, uintptr(queue), uintptr(unsafe.Pointer(&message)), 4, 0, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	buf := make([]byte, 8+8192)
	for range 2 {
		for i, want := range []int64{7, 3} {
			kind, err := PeekMessage(queue, i, buf)
			if err == unix.ENOSYS {
				t.Skip("this kernel cannot copy messages (CONFIG_CHECKPOINT_RESTORE)")
			}
			if err != nil || kind != want {
				t.Errorf("message %d: type %d, %v; want %d", i, kind, err, want)
			}
		}
	}
	if _, err := PeekMessage(queue, 2, buf); err != unix.ENOMSG {
		t.Errorf("a message too many: %v", err)
	}
	if o, err := StatIPC(MessageQueue, queue); err != nil || o.Size != 2 {
		t.Errorf("%d messages are left, %v", o.Size, err)
	}
}

// The size is what the kernel accepts and one byte more is not.
func TestBPFAttributes(t *testing.T) {
	if n := BPFAttributes(); n < 120 || n > 512 {
		t.Errorf("union bpf_attr has %d bytes", n)
	}
}
