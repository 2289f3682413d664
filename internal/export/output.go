// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"errors"
	"strconv"
	"time"

	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// An output is one sink, and what it has got and missed so far.
type output struct {
	sink   Sink
	start  *tsem.Start // nil without markers
	failed func(sink string, err error)

	context uint64 // of the last batch
	last    uint64 // number of the last event the sink took, or was told of
	events  uint64 // taken
	part    part
	started bool // the start marker was taken, or there is none
	losses  record.Losses
	gap     gap
	err     error     // the first one
	told    time.Time // when an error was told last

	ended time.Time // of the run, the same for all; zero before

	own record.Batch // markers and lost records, reused

	keep bool // what is not taken stays in the ledger
	held bool // that is so from now on

	account *ledger.Output // nil without a ledger
	given   uint64         // position in the ledger up to which the sink was given all
}

// A part is what a sink has taken since it was opened anew.
type part struct {
	number uint64 // from 1
	events uint64
	bytes  uint64 // with markers and lost records
}

// A gap is what a sink missed since the last record it took.
type gap struct {
	events  uint64
	unknown bool // and perhaps more, or none
	cause   record.Cause
}

func (g gap) open() bool { return g.cause != 0 }

func newOutput(i int, s Sink, options Options) *output {
	o := &output{sink: s, start: options.Start, failed: options.Failed, keep: options.Keep, started: options.Start == nil, part: part{number: 1}}
	if options.Ledger != nil {
		account := options.Ledger.Output(i)
		account.Use()
		o.account = &account
	}
	return o
}

// write gives the sink a batch, and before it what it should have got.
func (o *output) write(b *record.Batch) {
	if o.held {
		return
	}
	o.context = b.Context
	taken := 0
	cause, err := o.catchUp()
	if err == nil {
		taken, cause, err = o.hand(b)
	} // else the batch would begin behind a hole that nothing marks
	switch {
	case err == nil:
	case o.keep:
		o.held = true
		o.settle(b.At + uint64(b.Start(taken)))
		return
	default:
		o.miss(b, taken, cause)
	}
	o.settle(b.At + uint64(len(b.Buf)))
}

// catchUp writes the records that are overdue: the start marker, and the loss
// of what the sink has missed.
func (o *output) catchUp() (record.Cause, error) {
	if !o.started {
		if cause, err := o.tell(o.start); err != nil {
			return cause, err
		}
		o.started = true
	}
	if o.gap.open() {
		if cause, err := o.tell(o.lost(o.gap, o.sink.Name())); err != nil {
			return cause, err
		}
		if !o.gap.unknown {
			o.last += o.gap.events // another gap may follow at once
		}
		o.gap = gap{}
	}
	return 0, nil
}

// tell writes one record of our own.
func (o *output) tell(r interface{ AppendJSON([]byte) []byte }) (record.Cause, error) {
	o.own.Reset()
	o.own.Context, o.own.Own = o.context, true
	o.own.Buf = r.AppendJSON(o.own.Buf)
	o.own.EndRecord(0)
	_, cause, err := o.hand(&o.own)
	return cause, err
}

// hand writes a batch and counts what the sink took of it.
func (o *output) hand(b *record.Batch) (taken int, cause record.Cause, err error) {
	if o.account != nil {
		o.account.SetWriting(true)
	}
	err = o.sink.Write(b)
	taken, cause = record.Taken(err, b.Len())
	if taken > 0 {
		n := b.Events(0, taken)
		o.events += n
		o.part.events += n
		o.part.bytes += uint64(b.Ends[taken-1])
	}
	for i := taken - 1; i >= 0; i-- {
		if n, ok := b.Number(i); ok {
			o.last = n
			break
		}
	}
	o.note(err)
	return taken, cause, err
}

// miss counts the records of a batch that the sink did not take.
func (o *output) miss(b *record.Batch, first int, cause record.Cause) {
	n := b.Events(first, b.Len())
	o.losses.Add(cause, n)
	if cause == record.CauseOutputClosed {
		o.losses.AddUnknown(cause) // what the reader had not read yet
	}
	if !o.gap.open() {
		o.gap.cause = cause
	}
	o.gap.events += n
	// A record that is no event may be one that says what the source lost:
	// the numbers behind it then differ by more than we count.
	if int(n) < b.Len()-first {
		o.gap.unknown = true
	}
}

func (o *output) flush() {
	if err := o.sink.Flush(); err != nil {
		o.doubt(err)
	}
	o.settle(o.given)
}

// A holder is a sink that takes records before they are where they should be.
type holder interface {
	// Held is how many bytes of the records that the sink took last are in its
	// memory alone.
	Held() int64
}

// A loser is a sink that can lose records which it has taken. It writes the
// lost records for them itself.
type loser interface{ Lost() record.Losses }

// A waiter is a sink that keeps for later runs what it could not deliver.
type waiter interface{ Waiting() int }

// lostLater is what the sink has lost after it took it.
func (o *output) lostLater() record.Losses {
	if l, ok := o.sink.(loser); ok {
		return l.Lost()
	}
	return record.Losses{}
}

// missing is what the sink alone does not have.
func (o *output) missing() record.Losses {
	all := o.losses
	all.Merge(o.lostLater())
	return all
}

// A placed sink knows where in a regular file its next record will begin.
type placed interface{ Offset() int64 }

// settle tells the ledger what the sink need not be given again: everything up
// to a position, but for what it holds. What it did not take is lost.
func (o *output) settle(position uint64) {
	if o.account == nil {
		return
	}
	o.given = position
	if h, ok := o.sink.(holder); ok {
		position -= min(position, uint64(h.Held()))
	}
	offset := int64(0)
	if p, ok := o.sink.(placed); ok {
		offset = p.Offset()
	}
	o.account.SetSafe(position)
	o.account.SetPart(o.part.number)
	o.account.SetTaken(o.part.events, o.part.bytes, uint64(offset))
	o.account.SetWriting(false)
}

func (o *output) close() {
	err := o.sink.Close()
	if gone := (*record.WriteError)(nil); errors.As(err, &gone) {
		o.losses.Add(gone.Cause, o.part.events)
		o.note(err)
	} else if err != nil {
		o.doubt(err)
	}
}

// reopen ends the part and begins the next, if the sink can.
func (o *output) reopen(source record.Losses) {
	r, ok := o.sink.(Reopener)
	if !ok {
		return
	}
	leave := r.Reopen(func() { o.sayGoodbye(source, 0, "") })
	if leave == nil {
		return
	}
	o.part = part{number: o.part.number + 1}
	o.settle(o.given)
	if o.start != nil {
		start := *o.start
		start.Part = o.part.number
		o.start, o.started = &start, false
	}
	o.catchUp()
	if err := leave(); err != nil {
		o.doubt(err)
	}
}

// doubt notes that nobody knows whether what the sink took is safe.
func (o *output) doubt(err error) {
	if _, sure := o.losses.Count(record.CauseSyncError); sure && !o.gap.open() {
		o.gap = gap{cause: record.CauseSyncError, unknown: true}
	}
	o.losses.AddUnknown(record.CauseSyncError)
	o.note(err)
}

func (o *output) note(err error) {
	if err == nil {
		return
	}
	if o.err == nil {
		o.err = err
	} else if time.Since(o.told) < tellAgain {
		return
	}
	o.told = time.Now()
	if o.failed != nil {
		o.failed(o.sink.Name(), err)
	}
}

// tellAgain is how long the errors of a sink go untold after one was told.
const tellAgain = time.Minute

// finish writes the last records and closes the sink. broken is why the
// source has no end, 0 when it has one.
func (o *output) finish(source record.Losses, broken record.Cause, status string) {
	o.sayGoodbye(source, broken, status)
	o.close()
	o.settle(o.given)
}

// sayGoodbye writes the last records of a stream, or of a part that is not the
// last: then the status is empty.
func (o *output) sayGoodbye(source record.Losses, broken record.Cause, status string) {
	if k, ok := o.sink.(Keeper); ok {
		k.Last()
	}
	if _, err := o.catchUp(); err != nil {
		return
	}
	// What the disk refuses has to be known before the end marker counts it.
	o.flush()
	if _, err := o.catchUp(); err != nil {
		return
	}
	if broken != 0 {
		if _, err := o.tell(o.lost(gap{unknown: true, cause: broken}, "")); err != nil {
			return
		}
	}
	if o.start != nil {
		o.tell(o.end(source, broken, status))
	}
}

func (o *output) lost(g gap, sink string) *tsem.Lost {
	count := ""
	if !g.unknown {
		count = strconv.FormatUint(g.events, 10)
	}
	return &tsem.Lost{
		Context: o.context,
		After:   o.last,
		Count:   count,
		Cause:   g.cause.String(),
		Sink:    sink,
	}
}

// end is the end marker: what this sink has got, and what it lacks.
func (o *output) end(source record.Losses, broken record.Cause, status string) *tsem.End {
	source.Merge(o.missing())
	later, _ := o.lostLater().Total()
	lost := ""
	if n, exact := source.Total(); exact {
		lost = strconv.FormatUint(n, 10)
	}
	ended := o.ended
	if ended.IsZero() {
		ended = time.Now()
	}
	cut := ""
	if broken != 0 {
		cut = broken.String()
	}
	return &tsem.End{
		Cut:    cut,
		Run:    o.start.Run,
		Events: o.part.events - min(later, o.part.events),
		Bytes:  o.part.bytes,
		Lost:   lost,
		Status: status,
		Ended:  ended,
	}
}
