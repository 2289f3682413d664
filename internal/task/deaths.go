// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
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

// also has fd watched: next tells when it is readable, as task 0.
func (d *deaths) also(fd int) {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
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

// next returns a task that has died since the last call, with its pidfd, or 0
// with what else is watched.
func (d *deaths) next() (tid, fd int, ok bool) {
	if d.i == d.n {
		all := d.n > 0 && d.n < len(d.ready)
		d.i, d.n = 0, 0
		if all {
			return 0, 0, false
		}
		d.n = kernel.Ready(d.epoll, d.ready[:])
		if d.n == 0 {
			return 0, 0, false
		}
	}
	ev := d.ready[d.i]
	d.i++
	return int(ev.Pad), int(ev.Fd), true
}

func closeFD(fd int) { unix.Close(fd) }
