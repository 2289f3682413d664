// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"errors"
	"fmt"

	"quixote-export/internal/record"
	"quixote-export/internal/spool"
)

const (
	// readAhead is how many records are asked of the spool at a time.
	readAhead = 1024
	// ackEvery is how many acknowledged records the spool may not know of.
	// After kill -9 they come again.
	ackEvery = 256
)

// reading is how far the spool was read. All that was read and is not
// acknowledged is in the queue, in the same order, or in buf.
type reading struct {
	buf    []byte
	ends   []int
	next   int          // of the records in buf
	ahead  int          // records of the queue that are still to be read from the spool
	acked  int          // records that the spool does not know yet to be acknowledged
	damage spool.Damage // that was counted
	failed bool         // it was told
}

func (r *reading) empty() bool { return r.next == len(r.ends) }

// spill has the spool keep what is in memory alone. When it fails nothing has
// changed.
func (s *Sink) spill() error {
	if s.spooled {
		return nil
	}
	if s.queue.n > 0 {
		// In one batch: it is kept as a whole or not at all.
		buf, ends := s.queue.copy()
		if err := s.options.Spool.Append(buf, ends); err != nil {
			return err
		}
	}
	s.spooled = true
	s.reading.ahead = s.queue.n
	return nil
}

// unspool goes back to memory when the spool is empty.
func (s *Sink) unspool() {
	if s.spooled && s.queue.n == 0 && s.reading.empty() && s.waiting() == 0 {
		s.acknowledge()
		s.spooled = s.options.Spool.Len() > 0
	}
}

// append gives the spool the records of a batch from number i on.
func (s *Sink) append(b *record.Batch, i int) error {
	if i == 0 {
		return s.options.Spool.Append(b.Buf, b.Ends)
	}
	start := b.Start(i)
	ends := make([]int, 0, b.Len()-i)
	for _, end := range b.Ends[i:] {
		ends = append(ends, end-start)
	}
	return s.options.Spool.Append(b.Buf[start:], ends)
}

// refill moves records from the spool to the queue, as many as it has room
// for.
func (s *Sink) refill() {
	r := &s.reading
	for s.catchUp() {
		if r.empty() && !s.read(readAhead) {
			return
		}
		for ; !r.empty(); r.next++ {
			start := 0
			if r.next > 0 {
				start = r.ends[r.next-1]
			}
			if !s.queue.push(r.buf[start:r.ends[r.next]]) {
				return
			}
		}
	}
}

// catchUp reads past what the queue has from elsewhere.
func (s *Sink) catchUp() bool {
	r := &s.reading
	for r.ahead > 0 {
		if !s.read(r.ahead) {
			return false
		}
		r.ahead -= len(r.ends)
		r.next = len(r.ends)
	}
	return true
}

// read reads records that follow in the spool; false: there are none, or they
// cannot be read now.
func (s *Sink) read(most int) bool {
	r := &s.reading
	r.buf, r.ends, r.next = nil, nil, 0
	buf, ends, err := s.options.Spool.Next(most)
	s.found(s.options.Spool.Damage())
	if err != nil {
		if !r.failed {
			s.options.Notice(err.Error() + "; what is in it waits")
		}
		r.failed = true
		return false
	}
	r.failed = false
	r.buf, r.ends = buf, ends
	return len(ends) > 0
}

// acknowledge tells the spool what is acknowledged.
func (s *Sink) acknowledge() {
	r := &s.reading
	if r.acked == 0 || !s.catchUp() {
		return
	}
	if err := s.options.Spool.Ack(r.acked); err != nil && !r.failed {
		r.failed = true
		s.options.Notice(err.Error())
	}
	r.acked = 0
}

// found counts records that the spool has lost behind those that were read.
func (s *Sink) found(d spool.Damage) {
	before := s.reading.damage.Records
	if !s.damaged(d) {
		return
	}
	for i := range s.notes { // fewer records come before them
		if n := &s.notes[i]; n.at > s.position(s.queue.n) {
			n.at -= min(n.at-s.position(s.queue.n), d.Records-before)
		}
	}
	at := s.position(s.queue.n)
	s.note(damage(s.lastPlace()), at, at)
}

// damaged counts what the spool has lost; false: nothing new.
func (s *Sink) damaged(d spool.Damage) bool {
	r := &s.reading
	if d.Records == r.damage.Records && d.Unknown == r.damage.Unknown {
		return false
	}
	s.losses.damaged(d.Records-r.damage.Records, d.Unknown)
	r.damage = d
	return true
}

// lastPlace is that of the newest record in the queue.
func (s *Sink) lastPlace() place {
	if s.queue.n == 0 {
		return place{}
	}
	return placeOf(s.queue.line(s.queue.n - 1))
}

const (
	// keepRoom is what records leave of the spool for those that end a stream.
	keepRoom = 64 << 10
	// resumeRoom is the room there must be before a spool that was full takes
	// records again. Otherwise it would fill up with records of loss.
	resumeRoom = 512 << 10
)

// drops decides which records are dropped for want of room in the spool.
type drops struct {
	full bool // the last record was
	last bool // the last records of the run come
}

// check is an error if a batch, or a part of it, is to be dropped.
func (d *drops) check(s *Sink, b *record.Batch) error {
	if !s.options.Drop || d.last {
		return nil
	}
	room, need := s.options.Spool.Room(), int64(len(b.Buf)+s.queue.bytes+keepRoom)
	if d.full {
		need = max(need, resumeRoom)
	}
	if d.full = room < need; d.full {
		return fmt.Errorf("cannot write to the spool %s: %w", s.options.Path, spool.ErrFull)
	}
	return nil
}

func isFull(err error) bool {
	return errors.Is(err, spool.ErrFull) || errors.Is(err, spool.ErrDiskFull)
}

func spoolCause(err error) record.Cause {
	if isFull(err) {
		return record.CauseSpoolFull
	}
	return record.CauseSpoolError
}
