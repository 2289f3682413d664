// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// maxHeld is how many bytes of records may wait for the exporter. A task whose
// event finds no room waits as well: nothing is dropped.
const maxHeld = 8 << 20

// recorder gives events their numbers and keeps them until the exporter takes
// them. The order of the numbers is the order of the records.
type recorder struct {
	contextID uint64
	born      int64 // creation of the context, nanoseconds of the boot-time clock
	wall      bool  // records carry the wall-clock time

	mu      sync.Mutex
	changed sync.Cond // records, room, or the end
	filling *record.Batch
	reading *record.Batch
	number  uint64
	losses  record.Losses
	ended   error
}

func newRecorder(contextID uint64, wall bool) *recorder {
	r := &recorder{
		contextID: contextID,
		born:      bootTime(),
		wall:      wall,
		filling:   &record.Batch{Context: contextID},
		reading:   &record.Batch{},
	}
	r.changed.L = &r.mu
	return r
}

// bootTime is the clock of ts, which goes on while the machine is suspended.
func bootTime() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room()
	r.add(e, events)
}

// recordIf records only if let, which lets the task go on, says that it did.
func (r *recorder) recordIf(let func() bool, e tsem.Event, events []derive.Event) bool {
	if len(events) == 0 {
		return let()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room()
	if !let() {
		return false
	}
	r.add(e, events)
	return true
}

// add is record with the lock held.
func (r *recorder) add(e tsem.Event, events []derive.Event) {
	e.Context = r.contextID
	for i := range events {
		r.number++
		e.Number = r.number
		e.Type = events[i].Type
		e.Async = e.Type.Info().Async
		e.Cell = events[i].Cell
		e.TS = uint64(bootTime() - r.born)
		if r.wall {
			e.Time = time.Now()
		}
		r.filling.Buf = e.AppendJSON(r.filling.Buf)
		r.filling.EndRecord(e.Type)
	}
	r.changed.Broadcast()
}

// lost writes that n events, or an unknown number of them, are missing here.
func (r *recorder) lost(cause record.Cause, n uint64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room()
	l := tsem.Lost{Context: r.contextID, After: r.number, Cause: cause.String()}
	if known {
		l.Count = strconv.FormatUint(n, 10)
	}
	r.filling.Buf = l.AppendJSON(r.filling.Buf)
	r.filling.EndRecord(0)
	if known {
		r.number += n
		r.losses.Add(cause, n)
	} else {
		r.losses.AddUnknown(cause)
	}
	r.changed.Broadcast()
}

// room waits until more may be kept.
func (r *recorder) room() {
	for len(r.filling.Buf) > maxHeld && r.ended == nil {
		r.changed.Wait()
	}
}

// end tells that nothing more will come: io.EOF, or why it broke off.
func (r *recorder) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended == nil {
		r.ended = err
	}
	r.changed.Broadcast()
}

// next waits for records and takes them all.
func (r *recorder) next(ctx context.Context) (*record.Batch, error) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock() // or the waiting could begin behind the broadcast
		defer r.mu.Unlock()
		r.changed.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.filling.Len() == 0 {
		if r.ended != nil {
			return nil, r.ended
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.changed.Wait()
	}
	r.filling, r.reading = r.reading, r.filling
	r.filling.Reset()
	r.filling.Context = r.contextID
	r.changed.Broadcast()
	return r.reading, nil
}

func (r *recorder) lostSoFar() record.Losses {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.losses
}
