// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// ring reads a ring without giving up what it reads: a sample stays where it is
// until everything before some position is released. Whoever reads next, after
// us, begins with what was not.
type ring struct {
	memory *kernel.BPFRing
	fd     int
	size   uint64
	at     uint64 // of the next sample
	poll   int    // epoll descriptor to wait with, -1 until it is needed
	pause  time.Duration
}

// Bits of the length that begins each sample in a ring, and the size of what
// stands before its bytes (include/uapi/linux/bpf.h).
const (
	sampleBusy    = 1 << 31
	sampleDiscard = 1 << 30
	sampleHead    = 8
)

func newRing(m *ebpf.Map) (*ring, error) {
	size := m.MaxEntries()
	memory, err := kernel.MapBPFRing(m.FD(), int(size))
	if err != nil {
		return nil, fmt.Errorf("cannot read the BPF ring: %w", err)
	}
	r := &ring{memory: memory, fd: m.FD(), size: uint64(size), poll: -1, pause: pauseBusy}
	r.at = atomic.LoadUint64(memory.Consumed)
	return r, nil
}

// next is the next sample, and where it begins. It is false when there is none
// yet.
func (r *ring) next() (sample []byte, at uint64, ok bool) {
	for r.at < atomic.LoadUint64(r.memory.Produced) {
		at := r.at
		n := atomic.LoadUint32(r.memory.Word(at & (r.size - 1)))
		if n&sampleBusy != 0 {
			return nil, 0, false
		}
		size := uint64(n &^ (sampleBusy | sampleDiscard))
		r.at += (size + sampleHead + 7) &^ 7
		if n&sampleDiscard != 0 {
			continue
		}
		from := at&(r.size-1) + sampleHead
		return r.memory.Data[from : from+size : from+size], at, true
	}
	return nil, 0, false
}

// produced is the position behind all that was written so far.
func (r *ring) produced() uint64 { return atomic.LoadUint64(r.memory.Produced) }

// held is how many bytes are not released.
func (r *ring) held() uint64 { return r.produced() - atomic.LoadUint64(r.memory.Consumed) }

// release gives up everything before a position.
func (r *ring) release(at uint64) { atomic.StoreUint64(r.memory.Consumed, at) }

// Readers look by themselves whether there is something: to be woken by each event
// would cost the task that makes it more than all the rest. While things come they
// look often enough for a batch to be small; the kernel wakes them while the ring
// fills, and at the end.
const (
	pauseBusy = 5 * time.Millisecond
	pauseIdle = 100 * time.Millisecond
	wakeParts = 16 // of the ring: with each that fills
)

// wait waits for some time, or until the kernel says that it is time to read. came
// tells whether something has been read since it waited last.
func (r *ring) wait(came bool) error {
	r.pause = min(2*r.pause, pauseIdle)
	if came {
		r.pause = pauseBusy
	}
	// That there is something to read wakes nobody: the edge, which the kernel
	// makes on purpose, does.
	if r.poll < 0 {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return os.NewSyscallError("epoll_create1", err)
		}
		r.poll = fd
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, r.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	var e [1]unix.EpollEvent
	_, err := unix.EpollWait(r.poll, e[:], int(r.pause/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	return nil
}

func (r *ring) close() {
	r.memory.Close()
	if r.poll >= 0 {
		unix.Close(r.poll)
	}
}
