// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"quixote-export/internal/derive"
	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/internal/recorder"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// calls records the events of system calls. A task whose event finds no room
// waits.
type calls struct {
	*recorder.Recorder
	clock *clock
	wall  bool // records carry the wall-clock time

	owing atomic.Bool // something is owed
	debts sync.Mutex  // guards owed
	owed  []debt
}

// debt is events that come before any that is recorded later.
type debt struct {
	head   tsem.Event
	events []derive.Event
}

func newCalls(contextID uint64, wall bool, l *ledger.Ledger) *calls {
	return &calls{Recorder: recorder.New(contextID, l), clock: newClock(), wall: wall}
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
func (r *calls) record(e tsem.Event, events []derive.Event) {
	if len(events) == 0 {
		return
	}
	r.Lock()
	defer r.Unlock()
	r.settle()
	r.add(e, events)
}

// owe notes events that are to be recorded next. It does not wait, so others
// may be kept from going on meanwhile; pay follows.
func (r *calls) owe(e tsem.Event, events []derive.Event) {
	r.debts.Lock()
	defer r.debts.Unlock()
	r.owed = append(r.owed, debt{e, events})
	r.owing.Store(true)
}

// pay records what is owed.
func (r *calls) pay() {
	if r.owing.Load() {
		r.Lock()
		defer r.Unlock()
		r.settle()
	}
}

// settle is pay with the order held.
func (r *calls) settle() {
	if !r.owing.Load() {
		return
	}
	r.debts.Lock()
	owed := r.owed
	r.owed = nil
	r.owing.Store(false)
	r.debts.Unlock()
	for _, d := range owed {
		r.add(d.head, d.events)
	}
}

// Lost is that of the recorder, behind what is owed.
func (r *calls) Lost(cause record.Cause, n uint64, known bool) {
	r.pay()
	r.Recorder.Lost(cause, n, known)
}

// recordIf records only if let, which lets the task go on, says that it did.
// Before it is asked the events are where they outlive us. Where there is no
// room for all of them at once, valid is asked before, since the task must wait
// until there is. let is asked once, whatever comes of it.
func (r *calls) recordIf(let, valid func() bool, e tsem.Event, events []derive.Event) bool {
	if len(events) == 0 {
		return let()
	}
	r.Lock()
	defer r.Unlock()
	r.settle()
	for i := range events {
		r.fill(&e, &events[i])
		if r.Offer(&e) {
			continue
		}
		if i == 0 {
			r.WaitForRoom()
			if r.Offer(&e) {
				continue
			}
		}
		if !valid() {
			let() // in vain
			r.Withdraw()
			return false
		}
		r.Confirm()
		r.add(e, events[i:])
		let()
		return true
	}
	if !let() {
		r.Withdraw()
		return false
	}
	r.Confirm()
	return true
}

// add is record with the order held.
func (r *calls) add(e tsem.Event, events []derive.Event) {
	for i := range events {
		r.fill(&e, &events[i])
		r.Append(&e)
	}
}

// fill makes e, the head of a call, one of its events.
func (r *calls) fill(e *tsem.Event, event *derive.Event) {
	e.Type = event.Type
	e.Async = e.Type.Info().Async
	e.Cell = event.Cell
	e.TS = r.clock.now()
	if r.wall {
		e.Time = time.Now()
	}
}
