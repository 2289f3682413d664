// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// forks hears from the kernel's process connector who makes which task. The
// kernel queues its message before the new task runs, so it is there when the
// task makes its first call. Stopping clone instead would do harm: a signal can
// break off a call that waits to be received, and programs do not expect that
// of fork.
//
// The connector speaks to the initial namespaces only; before Linux 6.6 to
// root only, and of every kind of event.
type forks struct {
	fd int
	in kernel.Datagrams
	i  int // the first one that has not been looked at
}

// fork is one new task. A thread has another group than number.
type fork struct {
	parent, parentGroup int
	child, childGroup   int
}

// From linux/connector.h and linux/cn_proc.h.
const (
	cnIdxProc, cnValProc = 1, 1
	cnHeader             = 20
	procListen           = 1
	procFork             = 1
	procAck              = 0
	procHeader           = 16 // what, cpu, time
)

// forkQueue is how many bytes of messages the kernel keeps for us: about
// 10,000 forks.
const forkQueue = 8 << 20

var errNoConnector = errors.New("the kernel does not answer")

// newForks subscribes. An error means that the connector cannot be had here.
func newForks() (*forks, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("cannot open the process connector: %w", err)
	}
	f := &forks{fd: fd}
	if err := f.subscribe(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot listen to the process connector: %w", err)
	}
	return f, nil
}

func (f *forks) subscribe() error {
	if unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, forkQueue) != nil {
		unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, forkQueue)
	}
	if err := unix.Bind(f.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return err
	}
	// The plain request is acknowledged at once, where it is heard at all. The
	// second one leaves only forks; an older kernel does not know it.
	if err := f.send(procListen); err != nil {
		return err
	}
	if !f.acknowledged() {
		return errNoConnector
	}
	f.send(procListen, procFork)
	return nil
}

// send asks the connector for op, with an optional mask of events.
func (f *forks) send(words ...uint32) error {
	var b []byte
	order := binary.NativeEndian
	size := unix.NLMSG_HDRLEN + cnHeader + 4*len(words)
	b = order.AppendUint32(b, uint32(size))
	b = order.AppendUint16(b, unix.NLMSG_DONE)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint32(b, 0)
	b = order.AppendUint32(b, uint32(os.Getpid()))
	b = order.AppendUint32(b, cnIdxProc)
	b = order.AppendUint32(b, cnValProc)
	b = order.AppendUint32(b, 0)
	b = order.AppendUint32(b, 0)
	b = order.AppendUint16(b, uint16(4*len(words)))
	b = order.AppendUint16(b, 0)
	for _, w := range words {
		b = order.AppendUint32(b, w)
	}
	return unix.Sendto(f.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// acknowledged looks through what has arrived for the answer to the request.
func (f *forks) acknowledged() bool {
	for {
		what, data, err := f.receive()
		if err == unix.ENOBUFS {
			continue
		}
		if err != nil {
			return false
		}
		if what == procAck && len(data) >= 4 {
			return binary.NativeEndian.Uint32(data) == 0
		}
	}
}

// receive returns one message; EAGAIN when there is none, ENOBUFS when some
// were lost.
func (f *forks) receive() (what uint32, data []byte, err error) {
	if f.i == f.in.Len() {
		if f.i > 0 && !f.in.More() {
			f.i = 0
			f.in.Clear()
			return 0, nil, unix.EAGAIN
		}
		f.i = 0
		if err := f.in.Receive(f.fd); err != nil {
			return 0, nil, err
		}
	}
	b, fromKernel := f.in.Message(f.i)
	f.i++
	const head = unix.NLMSG_HDRLEN + cnHeader
	if !fromKernel || len(b) < head+procHeader {
		return procFork + 1, nil, nil
	}
	b = b[head:]
	return binary.NativeEndian.Uint32(b), b[procHeader:], nil
}

// next returns one fork; ok is false when no more are known.
func (f *forks) next() (k fork, ok bool) {
	for {
		what, data, err := f.receive()
		switch {
		case err == unix.ENOBUFS || err == unix.EINTR:
			continue // forks were lost: their tasks are found by /proc
		case err != nil:
			return fork{}, false
		case what == procFork && len(data) >= 16:
			number := func(i int) int { return int(binary.NativeEndian.Uint32(data[4*i:])) }
			return fork{number(0), number(1), number(2), number(3)}, true
		}
	}
}

func (f *forks) close() error { return unix.Close(f.fd) }
