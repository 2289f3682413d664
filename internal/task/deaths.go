// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// deaths tells which tasks have died, by a pidfd for each. A number can be
// used again only after its pidfd has become readable, so asking before each
// look-up keeps a new task from being taken for an old one.
type deaths struct {
	epoll int
	ready [16]unix.EpollEvent
	n, i  int
}

func newDeaths() (*deaths, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot make an epoll descriptor: %w", err)
	}
	return &deaths{epoll: fd}, nil
}

func (d *deaths) close() error { return unix.Close(d.epoll) }

// watch returns the pidfd that stands for tid, or -1 when the kernel has none
// for it (threads before Linux 6.9, or no descriptors left).
func (d *deaths) watch(tid int) int {
	const pidfdThread = unix.O_EXCL
	fd, err := unix.PidfdOpen(tid, pidfdThread)
	if err == unix.EINVAL {
		fd, err = unix.PidfdOpen(tid, 0)
	}
	if err != nil {
		return -1
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd), Pad: int32(tid)}
	if err := unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		closeFD(fd)
		return -1
	}
	return fd
}

// next returns a task that has died since the last call, with its pidfd.
func (d *deaths) next() (tid, fd int, ok bool) {
	if d.i == d.n {
		d.i = 0
		n, err := unix.EpollWait(d.epoll, d.ready[:], 0)
		if err != nil || n <= 0 {
			d.n = 0
			return 0, 0, false
		}
		d.n = n
	}
	ev := d.ready[d.i]
	d.i++
	return int(ev.Pad), int(ev.Fd), true
}

func closeFD(fd int) { unix.Close(fd) }
