// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// narrow is a 32-bit program in the making: a row of system calls, in one segment
// that can be written, with data behind the code.
type narrow struct {
	code, data []byte
}

// Where the segment is in memory, and the data in it.
const (
	narrowBase = 0x08048000
	narrowData = 0x4000
)

// place is where a call finds an argument, in the data.
type place uint32

// word keeps numbers, and says where.
func (n *narrow) word(values ...uint32) place {
	at := place(narrowBase + narrowData + len(n.data))
	for _, v := range values {
		n.data = binary.LittleEndian.AppendUint32(n.data, v)
	}
	return at
}

// bytes keeps bytes.
func (n *narrow) bytes(b ...byte) place {
	at := place(narrowBase + narrowData + len(n.data))
	n.data = append(n.data, b...)
	for len(n.data)%4 != 0 {
		n.data = append(n.data, 0)
	}
	return at
}

// call makes a system call: its arguments are numbers, or places of numbers. Where
// result is one, what is returned is kept there.
func (n *narrow) call(result place, number uint32, args ...any) {
	le := binary.LittleEndian
	for i, a := range args {
		reg := []byte{3, 1, 2, 6, 7, 5}[i] // ebx, ecx, edx, esi, edi, ebp
		switch a := a.(type) {
		case place: // mov reg, [a]
			n.code = le.AppendUint32(append(n.code, 0x8b, reg<<3|5), uint32(a))
		case uint32:
			n.code = le.AppendUint32(append(n.code, 0xb8|reg), a)
		case int:
			n.code = le.AppendUint32(append(n.code, 0xb8|reg), uint32(a))
		}
	}
	n.code = le.AppendUint32(append(n.code, 0xb8), number) // mov eax, number
	n.code = append(n.code, 0xcd, 0x80)                    // int 0x80
	if result != 0 {
		n.code = le.AppendUint32(append(n.code, 0xa3), uint32(result)) // mov [result], eax
	}
}

// write makes a file of the program.
func (n *narrow) write(t *testing.T, path string) {
	t.Helper()
	le := binary.LittleEndian
	const headers = 52 + 32
	size := uint32(narrowData + len(n.data))
	b := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint32(b, 2|3<<16) // executable, for the 386
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, narrowBase+headers)
	b = le.AppendUint32(b, 52)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 52|32<<16)
	b = le.AppendUint32(b, 1)
	b = append(b, make([]byte, 4)...)
	for _, v := range []uint32{1, 0, narrowBase, narrowBase, size, size, 7, 0x1000} {
		b = le.AppendUint32(b, v)
	}
	b = append(b, n.code...)
	if len(b) > narrowData {
		t.Fatal("the code is too long")
	}
	b = append(append(b, make([]byte, narrowData-len(b))...), n.data...)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Numbers of the 386, and of what its calls for several purposes are to do.
const (
	exit386       = 1
	nice386       = 34
	socketcall386 = 102
	ipc386        = 117
)

// socketsAndIPC does what sockets and System V are for with the two calls that
// 32-bit programs have for all of it, and what only they have a call for.
func socketsAndIPC() *narrow {
	n := new(narrow)
	type w = uint32
	socket := func(result place, which int, args ...any) {
		at := n.word(make([]uint32, len(args))...)
		for i, a := range args { // arguments that were returned are moved there
			slot := at + place(4*i)
			switch a := a.(type) {
			case place:
				n.code = binary.LittleEndian.AppendUint32(append(n.code, 0xa1), w(a)) // mov eax, [a]
				n.code = binary.LittleEndian.AppendUint32(append(n.code, 0xa3), w(slot))
			case uint32:
				binary.LittleEndian.PutUint32(n.data[slot-narrowBase-narrowData:], a)
			case int:
				binary.LittleEndian.PutUint32(n.data[slot-narrowBase-narrowData:], w(a))
			}
		}
		n.call(result, socketcall386, which, w(at))
	}
	inet := n.bytes(2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
	name, size, fds := n.bytes(make([]byte, 16)...), n.word(16), n.word(0, 0)
	l, c, s, d, refused := n.word(0), n.word(0), n.word(0), n.word(0), n.word(0)
	text := n.bytes([]byte("text")...)
	one := n.word(1)

	socket(l, 1, unix.AF_INET, unix.SOCK_STREAM, 0)
	socket(0, 14, l, unix.SOL_SOCKET, unix.SO_REUSEADDR, w(one), 4)
	socket(0, 2, l, w(inet), 16)
	socket(0, 4, l, 7)
	socket(0, 6, l, w(name), w(size))
	socket(c, 1, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	socket(refused, 3, c, w(name), 16) // in progress, or done
	socket(s, 5, l, 0, 0)
	socket(0, 7, s, w(name), w(size))
	socket(0, 9, s, w(text), 4, 0)
	socket(0, 13, s, unix.SHUT_WR)
	socket(0, 8, unix.AF_UNIX, unix.SOCK_DGRAM, 0, w(fds))
	socket(0, 11, fds, w(text), 4, 0, 0, 0)
	socket(0, 10, fds+4, w(text), 4, 0)

	// A descriptor is sent and received.
	vector := n.word(w(text), 4)
	rights := n.word(16, unix.SOL_SOCKET, unix.SCM_RIGHTS, 0)
	out := n.word(0, 0, w(vector), 1, w(rights), 16, 0)
	room := n.word(make([]uint32, 8)...)
	in := n.word(0, 0, w(vector), 1, w(room), 32, 0)
	n.code = binary.LittleEndian.AppendUint32(append(n.code, 0xa1), w(l))
	n.code = binary.LittleEndian.AppendUint32(append(n.code, 0xa3), w(rights)+12)
	socket(0, 16, fds, w(out), 0)
	socket(0, 17, fds+4, w(in), 0)

	// System V.
	shm, sem, msg := n.word(0), n.word(0), n.word(0)
	up := n.bytes(0, 0, 1, 0, 0, 0)
	message := n.word(9, 0, 0)
	value := n.word(3)
	state := n.word(make([]uint32, 64)...)
	n.call(shm, ipc386, 23, 0, 4096, 0o640)
	n.call(0, ipc386, 21, shm, 0o10000, w(d), 0)
	n.call(0, ipc386, 24, shm, 2|0x100, 0, w(state))
	n.call(0, ipc386, 24, shm, 0|0x100, 0, 0)
	n.call(sem, ipc386, 2, 0, 1, 0o600)
	n.call(0, ipc386, 1, sem, 1, 0, w(up))
	n.call(0, ipc386, 3, sem, 0, 16|0x100, w(value))
	n.call(0, ipc386, 3, sem, 0, 0|0x100, w(value))
	n.call(msg, ipc386, 13, 0, 0o600)
	n.call(0, ipc386, 11, msg, 4, 0, w(message))
	n.call(0, ipc386, 12|1<<16, msg, 4, 0, w(message), uint32(0xfffffff7))
	n.call(0, ipc386, 14, msg, 0|0x100, 0, 0)
	n.call(0, nice386, 1)
	n.call(0, exit386, 0)
	return n
}

// The calls that 32-bit programs have for all of sockets and of System V are told as
// what they stand for.
func TestTracepointsTakeCallsApart(t *testing.T) {
	needTrace(t)
	needSeccomp(t)
	t.Parallel()
	told := make(map[string][]string)
	dir := t.TempDir()
	path := filepath.Join(dir, "narrow")
	socketsAndIPC().write(t, path)
	for _, source := range []string{"seccomp", "trace"} {
		if err := exec.Command(path).Run(); errors.Is(err, syscall.ENOEXEC) {
			t.Skip("this kernel runs no 32-bit programs")
		} else if err != nil {
			t.Fatal(err)
		}
		for _, e := range run(t, options{dir: dir, flags: []string{"--source", source}}, "unshare", "-i", path).by("narrow") {
			if e.Type == tsem.FileReceive && source == "trace" {
				f := e.Cell.(*tsem.FileCell).File
				if f.Inode.Mode != unix.S_IFSOCK|0o777 || f.Flags != unix.O_RDWR {
					t.Errorf("received %+v", f)
				}
				told["received"] = append(told["received"], source)
				continue
			}
			if e.Type == tsem.MmapFile {
				continue // an exec maps its program without a call
			}
			if c, ok := e.Cell.(*tsem.SockAddrCell); ok && e.Type != tsem.SocketBind {
				c.Addr.Port = 0 // the kernel has chosen it
			}
			// Who it is depends on the UUID of its file system, which not every kernel tells.
			told[source] = append(told[source], strings.ReplaceAll(text(e.Type, e.Cell), fmt.Sprintf("%x", e.TaskID), "itself"))
		}
	}
	got, want := told["trace"], told["seccomp"]
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("record %d\ngot  %s\nwant %s", i+1, g, w)
			t.Logf("got %s\nwant %s", strings.Join(got[max(i-3, 0):min(i+6, len(got))], "\n"), strings.Join(want[max(i-3, 0):min(i+6, len(want))], "\n"))
			break
		}
	}
	if len(told["received"]) != 1 {
		t.Errorf("%d files were received", len(told["received"]))
	}
	all := fmt.Sprint(got)
	for _, typ := range []tsem.Type{tsem.SocketAccept, tsem.SocketConnect, tsem.SocketSocketpair, tsem.UnixMaySend, tsem.ShmShmat, tsem.SemSemop, tsem.MsgQueueMsgrcv, tsem.TaskSetnice} {
		if !strings.Contains(all, typ.String()) {
			t.Errorf("no %s", typ)
		}
	}
}
