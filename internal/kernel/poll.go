// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ready asks an epoll descriptor what is ready now, and does not wait. It fills
// in events and returns how many.
func Ready(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// Datagrams receives short netlink messages, several with one call.
type Datagrams struct {
	n       int
	headers [datagrams]mmsghdr
	iovecs  [datagrams]unix.Iovec
	names   [datagrams]unix.RawSockaddrNetlink
	bytes   [datagrams][256]byte
}

// datagrams is how many are received at a time.
const datagrams = 16

type mmsghdr struct {
	unix.Msghdr
	len uint32
	_   [4]byte
}

// Receive receives what has come on fd, without waiting. EAGAIN: nothing has;
// ENOBUFS: messages were lost before those that are still to be received.
func (d *Datagrams) Receive(fd int) error {
	d.n = 0
	for i := range d.headers {
		d.iovecs[i] = unix.Iovec{Base: &d.bytes[i][0], Len: uint64(len(d.bytes[i]))}
		h := &d.headers[i].Msghdr
		h.Name = (*byte)(unsafe.Pointer(&d.names[i]))
		h.Namelen = unix.SizeofSockaddrNetlink
		h.Iov, h.Iovlen = &d.iovecs[i], 1
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&d.headers[0])), datagrams, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return errno
	}
	d.n = int(n)
	return nil
}

// Len is how many have been received.
func (d *Datagrams) Len() int { return d.n }

// Clear forgets them.
func (d *Datagrams) Clear() { d.n = 0 }

// More tells whether others may wait.
func (d *Datagrams) More() bool { return d.n == datagrams }

// Message is datagram i, and FromKernel whether the kernel has sent it. It is
// valid until the next Receive.
func (d *Datagrams) Message(i int) (b []byte, fromKernel bool) {
	return d.bytes[i][:d.headers[i].len], d.names[i].Family == unix.AF_NETLINK && d.names[i].Pid == 0
}
