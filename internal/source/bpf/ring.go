// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
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
	r := &ring{memory: memory, fd: m.FD(), size: uint64(size)}
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

// wait waits until something is written, or for some time. The kernel tells of
// it only if all that was written before is released.
func (r *ring) wait(d time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, int(d/time.Millisecond))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

func (r *ring) close() { r.memory.Close() }
