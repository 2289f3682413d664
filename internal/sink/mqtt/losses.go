// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"strconv"

	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// losses is what was lost after Write took it.
type losses struct {
	total record.Losses
	runs  []run // of which no lost record tells yet
}

// A run is events with numbers one after another that were lost for one cause.
type run struct {
	context, after uint64
	count          uint64
	unknown        bool // the count
	cause          record.Cause
}

// maxRuns bounds the runs that are remembered until they are told.
const maxRuns = 1000

// add counts a record. One that tells of a loss itself has no other to tell of
// its own.
func (l *losses) add(line []byte, cause record.Cause) {
	p := placeOf(line)
	if !p.event {
		l.total.AddUnknown(cause)
		if string(kindOf(line)) != tsem.KindLost.String() {
			l.put(run{unknown: true, cause: cause})
		}
		return
	}
	l.total.Add(cause, 1)
	if n := len(l.runs); n > 0 && p.numbered {
		r := &l.runs[n-1]
		if r.context == p.context && r.cause == cause && !r.unknown && r.after+r.count+1 == p.number {
			r.count++
			return
		}
	}
	l.put(run{context: p.context, after: max(p.number, 1) - 1, count: 1, cause: cause})
}

// damaged counts n records that were behind a place in the spool; with unknown,
// perhaps more.
func (l *losses) damaged(behind place, n uint64, unknown bool) {
	const cause = record.CauseSpoolDamaged
	l.total.Add(cause, n)
	if unknown {
		l.total.AddUnknown(cause)
	}
	// Not all of them need be events.
	l.put(run{context: behind.context, after: behind.number, unknown: true, cause: cause})
}

func (l *losses) put(r run) {
	if len(l.runs) < maxRuns {
		l.runs = append(l.runs, r)
		return
	}
	last := &l.runs[maxRuns-1]
	last.unknown, last.cause = true, r.cause
}

// tellLosses writes the lost records that are due.
func (s *Sink) tellLosses() {
	if len(s.losses.runs) == 0 {
		return
	}
	var b record.Batch
	for _, r := range s.losses.runs {
		lost := tsem.Lost{Context: r.context, After: r.after, Cause: r.cause.String(), Sink: s.options.Name}
		if !r.unknown {
			lost.Count = strconv.FormatUint(r.count, 10)
		}
		b.Buf = lost.AppendJSON(b.Buf)
		b.EndRecord(0)
	}
	if s.spill() == nil && s.append(&b, 0) == nil {
		s.losses.runs = s.losses.runs[:0]
		s.publisher.Wake()
	}
}

// loseAll counts what is in memory alone, and takes it away.
func (s *Sink) loseAll(cause record.Cause) {
	for i := range s.queue.n {
		s.losses.add(s.queue.line(i), cause)
	}
	s.queue.given = s.queue.n
	s.queue.pop(s.queue.n)
}
