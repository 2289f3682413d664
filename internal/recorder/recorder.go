// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package recorder gives the events of a source their numbers and enters them in
// the ledger, where they are safe from our own death; from there the exporter
// takes them.
package recorder

import (
	"context"
	"strconv"
	"sync"
	"time"

	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// The exporter is given what has come at most once in Pace, unless hurry bytes
// have come before: to wake it for each record would cost more than the record.
const (
	Pace  = 2 * time.Millisecond
	hurry = 256 << 10
)

// Recorder gives events their numbers and enters them in the ledger. The order
// of the numbers is the order of the records. A source whose event finds no
// room in the ledger waits: nothing is dropped here.
type Recorder struct {
	contextID uint64
	ledger    *ledger.Ledger

	order  sync.Mutex // held from a number to its commitment
	number uint64
	offers []offered

	mu      sync.Mutex // guards what follows, and commitments to the ledger
	changed sync.Cond  // records, room, or the end
	filling *record.Batch
	reading *record.Batch
	read    uint64 // position in the ledger up to which the exporter was given all
	losses  record.Losses
	ended   error
	waiting int // who waits for room
	grouping

	urgent chan struct{} // the exporter should not pause
	pause  *time.Timer
	given  time.Time // when it was last given something
}

// New makes the recorder of a context.
func New(contextID uint64, l *ledger.Ledger) *Recorder {
	r := &Recorder{
		contextID: contextID,
		ledger:    l,
		filling:   &record.Batch{},
		reading:   &record.Batch{},
		urgent:    make(chan struct{}, 1),
		pause:     time.NewTimer(Pace),
	}
	r.changed.L = &r.mu
	return r
}

// Lock takes the order, and Unlock gives it back: events appended in between
// have consecutive numbers.
func (r *Recorder) Lock() { r.order.Lock() }

// Unlock is the counterpart of Lock.
func (r *Recorder) Unlock() { r.order.Unlock() }

// Append records e, to which it gives the context and the next number. The
// order is held.
func (r *Recorder) Append(e *tsem.Event) {
	line := r.line(e)
	r.number++
	r.enter(e.Type, line)
}

// line makes the next record of e, in the free part of the ledger if it fits.
func (r *Recorder) line(e *tsem.Event) []byte {
	if r.contextID != 0 {
		e.Context = r.contextID
	}
	e.Number = r.number + 1 // it counts when the line is there
	return append(e.AppendJSON(r.ledger.Room()), '\n')
}

// offered is a line that is in the ledger, but not yet certain.
type offered struct {
	kind tsem.Type
	size int
}

// Offer is Append for an event of which it is certain only later whether it has
// happened: others may follow, and then Confirm or Withdraw. Until then the
// exporter does not get it, but it outlives our own death. It is false when there
// is no room. The order is held.
func (r *Recorder) Offer(e *tsem.Event) bool {
	line := r.line(e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ledger.Offer(line, e.Number) {
		return false
	}
	r.number++
	r.offers = append(r.offers, offered{e.Type, len(line)})
	return true
}

// Confirm gives the exporter what was offered. The order is held.
func (r *Recorder) Confirm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := int(r.ledger.Head() - r.read)
	r.ledger.Confirm()
	for _, o := range r.offers {
		at += o.size
		r.entered(o.kind, at)
	}
	r.offers = r.offers[:0]
}

// Withdraw takes back what was offered. The order is held.
func (r *Recorder) Withdraw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.Withdraw()
	r.number -= uint64(len(r.offers))
	r.offers = r.offers[:0]
}

// Lost writes that n events, or an unknown number of them, are missing here.
func (r *Recorder) Lost(cause record.Cause, n uint64, known bool) {
	r.order.Lock()
	defer r.order.Unlock()
	r.miss(cause, n, known)
}

// miss is Lost with the order held.
func (r *Recorder) miss(cause record.Cause, n uint64, known bool) {
	l := tsem.Lost{Context: r.contextID, After: r.number, Cause: cause.String()}
	if known {
		l.Count = strconv.FormatUint(n, 10)
		r.number += n
	}
	r.enter(0, append(l.AppendJSON(r.ledger.Room()), '\n'))
	r.mu.Lock()
	defer r.mu.Unlock()
	if known {
		r.losses.Add(cause, n)
	} else {
		r.losses.AddUnknown(cause)
	}
}

// enter puts a line into the ledger, and waits for room if it has to. The order
// is held.
func (r *Recorder) enter(t tsem.Type, line []byte) {
	if len(line) > r.ledger.Size() {
		r.number--
		r.miss(record.CauseRecordTooLong, 1, true)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.ledger.Commit(line, r.number) {
		if r.ended != nil {
			return
		}
		r.await()
	}
	r.entered(t, int(r.ledger.Head()-r.read))
}

// entered adds a line of the ledger, which ends at end behind what has been
// read, to those for the exporter. The lock is held.
func (r *Recorder) entered(t tsem.Type, end int) {
	b := r.filling
	b.Ends = append(b.Ends, end)
	b.Types = append(b.Types, t)
	if b.Len() == 1 {
		r.changed.Broadcast()
	}
	if b.Ends[b.Len()-1] > hurry || b.Len() == r.group {
		r.hasten()
	}
}

// WaitForRoom waits until lines of ordinary length can be entered at once.
func (r *Recorder) WaitForRoom() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.hasRoom() {
		r.await()
	}
}

// await waits for a change. The lock is held before and after.
func (r *Recorder) await() {
	r.waiting++
	r.hasten()
	r.changed.Wait()
	r.waiting--
}

// Held tells whether somebody waits for room.
func (r *Recorder) Held() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting > 0
}

// Roomy tells whether WaitForRoom would return at once.
func (r *Recorder) Roomy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hasRoom()
}

func (r *Recorder) hasRoom() bool {
	const ordinary = 64 << 10
	return cap(r.ledger.Room()) >= min(ordinary, r.ledger.Size()) || r.ended != nil
}

func (r *Recorder) hasten() {
	select {
	case r.urgent <- struct{}{}:
	default:
	}
}

// End tells that nothing more will come: io.EOF, or why it broke off.
func (r *Recorder) End(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = err
	}
	r.hasten()
	r.changed.Broadcast()
}

// Next waits for records and gives them all. Those given before are given up
// by the ledger, as far as the outputs have them.
func (r *Recorder) Next(ctx context.Context) (*record.Batch, error) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock() // or the waiting could begin behind the broadcast
		defer r.mu.Unlock()
		r.hasten()
		r.changed.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
	if r.shown < r.read {
		return r.window(), nil
	}
	for r.filling.Len() == 0 {
		if r.ended != nil {
			return nil, r.ended
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.changed.Wait()
	}
	r.rest()
	head := r.ledger.Head()
	b := r.filling
	b.Context, b.At, b.Buf = r.contextID, r.read, r.ledger.Between(r.read, head)
	r.filling, r.reading = r.reading, b
	r.filling.Ends, r.filling.Types = r.filling.Ends[:0], r.filling.Types[:0]
	r.read = head
	r.given = time.Now()
	return r.window(), nil
}

// release gives up what the outputs have. With the lock held.
func (r *Recorder) release() {
	r.ledger.Release(r.shown)
	if r.filling.Len() == 0 && r.shown == r.read {
		r.read = r.ledger.Head() // it may have begun anew
		r.shown = r.read
	}
	r.changed.Broadcast()
}

// rest pauses, so that more can come. The lock is held before and after.
func (r *Recorder) rest() {
	wait := Pace - time.Since(r.given)
	if r.group > 0 && r.filling.Len() < r.group {
		wait = groupPace
	}
	if wait <= 0 || r.ended != nil {
		return
	}
	r.mu.Unlock()
	r.pause.Reset(wait)
	select {
	case <-r.pause.C:
	case <-r.urgent:
	}
	r.mu.Lock()
}

// Losses is what was lost so far.
func (r *Recorder) Losses() record.Losses {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses
}
