// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package export moves batches of records from one source to every sink, in
// order, and keeps count.
//
// What it promises:
//   - Every sink gets every record, in the order of the source, between one
//     start marker and one end marker (unless markers are off).
//   - What a sink does not take is counted as lost for that sink alone, and
//     told in its stream by a lost record as soon as it takes records again,
//     at the latest before the end marker. The other sinks go on, and so does
//     the failed one: it is offered every later batch.
//   - The source is not asked for more while a sink is busy: a slow sink slows
//     the source, and nothing is queued here.
//   - A sink that can be rotated has in each of its files a stream of its own,
//     a part of the run: no record is in none of them or in two.
//   - Every sink is flushed within Options.FlushInterval of the first record
//     it has got since its last flush, also while the source is silent.
//   - A sink is never called from two goroutines at a time.
package export

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// A Source yields the records of one namespace in order.
type Source interface {
	// Next waits for records. The batch is the source's again at the next
	// call. The error is io.EOF when the namespace is gone and drained, the
	// context's when that is done; a batch may come with an error.
	Next(ctx context.Context) (*record.Batch, error)

	// Losses returns what the source itself lost. It has written those losses
	// as lost records into its batches already. It may be asked at any time.
	Losses() record.Losses
}

// A Sink is a place where records go.
type Sink interface {
	// Name tells the sink from others of the run: a path, a URL.
	Name() string

	// Write hands a batch over; the sink must not keep it. It should reach
	// readers without a Flush. Of a batch taken in part the error is a
	// *record.WriteError. After an error the sink is offered later batches.
	Write(*record.Batch) error

	// Flush returns when everything given so far is where it should be:
	// written and synced, or acknowledged.
	Flush() error

	// Close flushes and ends the sink. Nothing is called after it. When what
	// the sink took is gone, the error is a *record.WriteError.
	Close() error
}

// A Reopener is a sink that can begin a new file or the like. See Reopen.
type Reopener interface {
	// Reopen calls finish, which writes the last records, once the new file is
	// there to take the next ones. The result closes the old one, and has the
	// error of Flush; it is nil when there is no new one.
	Reopen(finish func()) (leave func() error)
}

// A Keeper is a sink that keeps room for the last records of a stream.
type Keeper interface {
	// Last tells that those come now.
	Last()
}

// DefaultFlushInterval is the longest time that a record is left unflushed,
// unless Options say otherwise. It bounds what a power failure can cost.
const DefaultFlushInterval = time.Second

// Options of an Exporter. The zero value is useful.
type Options struct {
	// Start is the first record of every sink. Nil: no start and end marker.
	Start *tsem.Start

	// FlushInterval: 0 means DefaultFlushInterval.
	FlushInterval time.Duration

	// Ledger is where the source keeps its records. Each sink is an output of
	// it, in the order given to New. Nil: the source keeps none.
	Ledger *ledger.Ledger
	// Keep has what a sink does not take, from its first error on, stay in the
	// ledger for a later run, instead of being lost. Nothing is given up then, so
	// that the run must be ended.
	Keep bool
	// Failed is called at the first error of each sink and, as long as there
	// are more, again each minute, while records are held up. It must not
	// block nor call the Exporter.
	Failed func(sink string, err error)
}

// An Exporter pumps one source into sinks, once: New, then Run, then Finish.
type Exporter struct {
	options Options
	began   time.Time

	mu      sync.Mutex // guards what follows, and the sinks
	outputs []*output
	timer   *time.Timer // nil before the first record
	due     bool        // the timer runs
	ended   bool

	events, bytes uint64
	byType        []uint64 // indexed by event type
	running       Source   // nil before Run and after it
	source        record.Losses
	broken        record.Cause // why the source has no end, 0 when it has one
}

// New makes an exporter. Nothing is written before Run has the first batch.
func New(sinks []Sink, options Options) *Exporter {
	if options.FlushInterval <= 0 {
		options.FlushInterval = DefaultFlushInterval
	}
	e := &Exporter{options: options, began: time.Now()}
	for i, s := range sinks {
		e.outputs = append(e.outputs, newOutput(i, s, options))
	}
	return e
}

// Run pumps until the source ends, and returns nil for io.EOF. Any other
// error of the source is returned; the sinks are then told at Finish that an
// unknown number of events is missing. Errors of sinks do not end it: they go
// to Options.Failed and to the Summary. Finish must follow.
func (e *Exporter) Run(ctx context.Context, source Source) error {
	e.mu.Lock()
	e.running = source
	e.mu.Unlock()
	err := e.pump(ctx, source)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = nil
	e.source.Merge(source.Losses())
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case ctx.Err() != nil:
		e.broken = record.CauseRunStopped
	default:
		e.broken = record.CauseSourceEnded
	}
	e.source.AddUnknown(e.broken)
	return err
}

func (e *Exporter) pump(ctx context.Context, source Source) error {
	for {
		b, err := source.Next(ctx)
		if b != nil && b.Len() > 0 {
			e.take(b)
		}
		if err != nil {
			return err
		}
	}
}

func (e *Exporter) take(b *record.Batch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bytes += uint64(len(b.Buf))
	for _, t := range b.Types {
		if t == 0 {
			continue
		}
		if int(t) >= len(e.byType) {
			e.byType = append(e.byType, make([]uint64, int(t)+1-len(e.byType))...)
		}
		e.byType[t]++
		e.events++
	}
	for _, o := range e.outputs {
		o.write(b)
	}
	if !e.due {
		e.due = true
		if e.timer == nil {
			e.timer = time.AfterFunc(e.options.FlushInterval, e.flush)
		} else {
			e.timer.Reset(e.options.FlushInterval)
		}
	}
}

func (e *Exporter) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	e.due = false
	for _, o := range e.outputs {
		o.flush()
	}
}

// Reopen has every sink that can be rotated begin its next part, unless it
// would go on in the same file. It may be called at any time.
func (e *Exporter) Reopen() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || e.timer == nil {
		return // nothing is open
	}
	lost := e.source
	if e.running != nil {
		lost.Merge(e.running.Losses())
	}
	for _, o := range e.outputs {
		o.reopen(lost)
	}
}

// Break tells that the export is not complete though the source has ended, and
// why. It is for between Run and Finish.
func (e *Exporter) Break(cause record.Cause) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken == 0 {
		e.broken = cause
		e.source.AddUnknown(cause)
	}
}

// Begun tells whether a record has come. It is for after Run.
func (e *Exporter) Begun() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.timer != nil
}

// Finish writes the last records, with the exit status of the workload in the
// end marker, flushes and closes every sink. Where there is nothing to say, no
// markers and no losses, a sink that got no record gets none now.
func (e *Exporter) Finish(status int) Summary {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop()
	now := time.Now()
	for _, o := range e.outputs {
		o.ended = now
		o.finish(e.source, e.broken, strconv.Itoa(status))
	}
	return e.summary()
}

// Abandon closes every sink without a record of its own: for a run that never
// started, so that an existing output stays as it was.
func (e *Exporter) Abandon() Summary {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop()
	for _, o := range e.outputs {
		o.close()
	}
	return e.summary()
}

// stop makes sure that no flush comes any more.
func (e *Exporter) stop() {
	e.ended = true
	if e.timer != nil {
		e.timer.Stop()
	}
}
