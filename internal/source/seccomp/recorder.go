// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"time"

	"quixote-export/internal/derive"
	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// The exporter is given what has come at most once in pace, unless hurry bytes
// have come before: to wake it for each record would cost more than the record.
const (
	pace  = 2 * time.Millisecond
	hurry = 256 << 10
)

// recorder gives events their numbers and enters them in the ledger, where they
// are safe from our own death. The order of the numbers is the order of the
// records. A task whose event finds no room in the ledger waits: nothing is
// dropped.
type recorder struct {
	contextID uint64
	clock     *clock
	wall      bool // records carry the wall-clock time
	ledger    *ledger.Ledger

	order  sync.Mutex // held from a number to its commitment
	number uint64

	mu      sync.Mutex // guards what follows, and commitments to the ledger
	changed sync.Cond  // records, room, or the end
	filling *record.Batch
	reading *record.Batch
	read    uint64 // position in the ledger up to which the exporter was given all
	losses  record.Losses
	ended   error

	urgent chan struct{} // the exporter should not pause
	pause  *time.Timer
	given  time.Time // when it was last given something
}

func newRecorder(contextID uint64, wall bool, l *ledger.Ledger) *recorder {
	r := &recorder{
		contextID: contextID,
		clock:     newClock(),
		wall:      wall,
		ledger:    l,
		filling:   &record.Batch{},
		reading:   &record.Batch{},
		urgent:    make(chan struct{}, 1),
		pause:     time.NewTimer(pace),
	}
	r.changed.L = &r.mu
	return r
}

// head is what all events of one call of t have in common, in storage of its
// own: once t goes on, its task changes. coe is t's credentials in the ids that
// were asked for.
func head(t *task.Task, coe *tsem.COE) tsem.Event {
	return tsem.Event{
		PID: uint32(t.TID), TNum: t.TNum,
		Process: bytes.Clone(t.Status.Comm[:t.Status.CommLen]),
		TTD:     t.TTD, PTTD: t.PTTD, TaskID: t.TaskID, PTaskID: t.PTaskID,
		COE: *coe,
	}
}

// record numbers and keeps the events of one call.
func (r *recorder) record(e tsem.Event, events []derive.Event) {
	if len(events) == 0 {
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.add(e, events)
}

// recordIf records only if let, which lets the task go on, says that it did.
func (r *recorder) recordIf(let func() bool, e tsem.Event, events []derive.Event) bool {
	if len(events) == 0 {
		return let()
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.waitForRoom()
	if !let() {
		return false
	}
	r.add(e, events)
	return true
}

// add is record with the order held.
func (r *recorder) add(e tsem.Event, events []derive.Event) {
	e.Context = r.contextID
	for i := range events {
		e.Number = r.number + 1 // it counts when the line is there
		e.Type = events[i].Type
		e.Async = e.Type.Info().Async
		e.Cell = events[i].Cell
		e.TS = r.clock.now()
		if r.wall {
			e.Time = time.Now()
		}
		line := append(e.AppendJSON(r.ledger.Room()), '\n')
		r.number++
		r.enter(e.Type, line)
	}
}

// lost writes that n events, or an unknown number of them, are missing here.
func (r *recorder) lost(cause record.Cause, n uint64, known bool) {
	r.order.Lock()
	defer r.order.Unlock()
	r.miss(cause, n, known)
}

// miss is lost with the order held.
func (r *recorder) miss(cause record.Cause, n uint64, known bool) {
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
func (r *recorder) enter(t tsem.Type, line []byte) {
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
		r.hasten()
		r.changed.Wait()
	}
	b := r.filling
	b.Ends = append(b.Ends, int(r.ledger.Head()-r.read))
	b.Types = append(b.Types, t)
	if b.Len() == 1 {
		r.changed.Broadcast()
	} else if b.Ends[b.Len()-1] > hurry {
		r.hasten()
	}
}

// waitForRoom waits until lines of ordinary length can be entered at once.
func (r *recorder) waitForRoom() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.hasRoom() {
		r.hasten()
		r.changed.Wait()
	}
}

// roomy tells whether waitForRoom would return at once.
func (r *recorder) roomy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hasRoom()
}

func (r *recorder) hasRoom() bool {
	const ordinary = 64 << 10
	return cap(r.ledger.Room()) >= min(ordinary, r.ledger.Size()) || r.ended != nil
}

func (r *recorder) hasten() {
	select {
	case r.urgent <- struct{}{}:
	default:
	}
}

// end tells that nothing more will come: io.EOF, or why it broke off.
func (r *recorder) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = err
	}
	r.hasten()
	r.changed.Broadcast()
}

// next waits for records and gives them all. Those given before are given up
// by the ledger, as far as the outputs have them.
func (r *recorder) next(ctx context.Context) (*record.Batch, error) {
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
	return b, nil
}

// release gives up what the outputs have. With the lock held.
func (r *recorder) release() {
	r.ledger.Release(r.read)
	if r.filling.Len() == 0 {
		r.read = r.ledger.Head() // it may have begun anew
	}
	r.changed.Broadcast()
}

// rest pauses, so that more can come. The lock is held before and after.
func (r *recorder) rest() {
	wait := pace - time.Since(r.given)
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

func (r *recorder) lostSoFar() record.Losses {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses
}
