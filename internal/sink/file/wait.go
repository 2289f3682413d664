// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrCircle is why a Write fails that was given up: the records could not be
// read before they were written.
var ErrCircle = errors.New("whoever reads it belongs to the workload, and waits until it is written")

// errHurried is why a Write fails that would wait after Hurry.
var errHurried = errors.New("its reader takes nothing, and the export was told to end")

// A Wait is a Write that waits for the reader of a pipe.
type Wait struct {
	Since time.Time // nothing has been taken since then
	Dev   uint64    // of the pipe
	Ino   uint64
}

// patience is how a sink waits for the reader of a pipe: for as long as it
// takes, but so that others can see it and can end it.
type patience struct {
	mu      sync.Mutex
	event   int // an event descriptor that ends a wait, -1 before there is one
	wait    Wait
	waits   bool
	givenUp bool // this wait
	hurried bool // all waits
	hurry   chan struct{}
}

func newPatience() *patience { return &patience{event: -1, hurry: make(chan struct{})} }

// Waiting tells whether a Write is waiting for the reader of a pipe. It may be
// asked by anybody at any time, as may be what follows.
func (s *Sink) Waiting() (Wait, bool) {
	p := s.patience
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wait, p.waits
}

// GiveUp ends that wait, unless it is over: the Write fails with ErrCircle.
func (s *Sink) GiveUp(w Wait) {
	p := s.patience
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits && p.wait == w {
		p.givenUp = true
		p.tell()
	}
}

// Hurry ends all waiting for readers, now and later: what a pipe does not take
// at once is missing from it.
func (s *Sink) Hurry() {
	p := s.patience
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hurried {
		p.hurried = true
		close(p.hurry)
		p.tell()
	}
}

// tell wakes who waits. The lock is held.
func (p *patience) tell() {
	if p.event >= 0 {
		unix.Write(p.event, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// begin notes that a Write waits for a pipe, and returns what can end it. Not
// even the number of a pipe is asked for before.
func (p *patience) begin(fd int) (event int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hurried {
		return -1, errHurried
	}
	if p.event < 0 {
		if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			return -1, fmt.Errorf("cannot make an event descriptor: %w", err)
		}
	}
	p.waits, p.givenUp, p.wait = true, false, Wait{Since: time.Now(), Dev: uint64(st.Dev), Ino: st.Ino}
	return p.event, nil
}

// end ends what begin began, and tells if somebody else has.
func (p *patience) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits = false
	switch {
	case p.hurried:
		return errHurried
	case p.givenUp:
		var b [8]byte
		unix.Read(p.event, b[:])
		return ErrCircle
	}
	return nil
}

// close gives up the descriptor.
func (p *patience) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.event >= 0 {
		unix.Close(p.event)
		p.event = -1
	}
}

// await waits until the descriptor takes more.
func (s *Sink) await() error {
	event, err := s.patience.begin(s.fd)
	if err != nil {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}, {Fd: int32(event), Events: unix.POLLIN}}
	err = retry(func() error {
		_, err := unix.Poll(fds, -1)
		return err
	})
	if ended := s.patience.end(); ended != nil {
		return ended
	}
	return err
}

// unblock sees to it that a Write to a pipe returns when that is full. The mode
// of a description that we share with others is not ours to change: where we
// have none of our own, one is made. If it may not be made, a Write waits in the
// kernel, where nobody can end it.
func (s *Sink) unblock() {
	switch {
	case !s.pipe:
		return
	case s.owned:
		unix.SetNonblock(s.fd, true)
		return
	}
	own, err := unix.Open(ownLink(s.fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(s.fd)
		s.fd = own
	}
}

// ownLink is the link of procfs to a descriptor of ours.
func ownLink(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
