// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"strconv"

	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// losses is what was lost after Write took it.
type losses struct {
	total record.Losses
	runs  []run  // of which no lost record is made yet
	from  uint64 // position of the first record of the runs
}

// A note is a lost record that is not delivered yet. It goes out as a message
// of its own, between the records of the queue.
type note struct {
	at   uint64 // position of the record that it goes before
	from uint64 // position of the first record that stays until it is delivered
	text []byte // with LF
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
func (l *losses) damaged(n uint64, unknown bool) {
	const cause = record.CauseSpoolDamaged
	l.total.Add(cause, n)
	if unknown {
		l.total.AddUnknown(cause)
	}
}

// damage is the run of what was behind a place. Not all of it need be events.
func damage(behind place) run {
	return run{context: behind.context, after: behind.number, unknown: true, cause: record.CauseSpoolDamaged}
}

func (l *losses) put(r run) {
	if len(l.runs) < maxRuns {
		l.runs = append(l.runs, r)
		return
	}
	last := &l.runs[maxRuns-1]
	last.unknown, last.cause = true, r.cause
}

func (r *run) record(sink string) tsem.Lost {
	lost := tsem.Lost{Context: r.context, After: r.after, Cause: r.cause.String(), Sink: sink}
	if !r.unknown {
		lost.Count = strconv.FormatUint(r.count, 10)
	}
	return lost
}

// tellLosses makes the lost records that are due. They go out next, behind what
// is on its way already.
func (s *Sink) tellLosses() {
	l := &s.losses
	for len(l.runs) > 0 && len(s.notes) < maxRuns {
		s.note(l.runs[0], s.position(s.queue.given), l.from)
		l.runs = l.runs[1:]
	}
}

func (s *Sink) note(r run, at, from uint64) {
	lost := r.record(s.options.Name)
	s.notes = append(s.notes, note{at, from, append(lost.AppendJSON(nil), '\n')})
	s.publisher.Wake()
}

// keepLosses has the spool keep the lost records that were not delivered,
// behind everything else.
func (s *Sink) keepLosses() error {
	var b record.Batch
	for _, n := range s.notes {
		b.Append(0, bytes.TrimSuffix(n.text, []byte{'\n'}))
	}
	for _, r := range s.losses.runs {
		lost := r.record(s.options.Name)
		b.Append(0, lost.AppendJSON(nil))
	}
	if b.Len() == 0 {
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	if err := s.append(&b, 0); err != nil {
		return err
	}
	s.notes, s.given, s.losses.runs = nil, 0, nil
	return nil
}

// position numbers the records of the queue since the beginning.
func (s *Sink) position(i int) uint64 { return s.popped + uint64(i) }

// beginLoss is for before a run is put that begins behind what is settled.
func (s *Sink) beginLoss() {
	if len(s.losses.runs) == 0 {
		s.losses.from = s.settled
	}
}

// release takes away what is settled, up to what has to stay until a lost
// record is delivered: that of a refused record is nowhere else as long.
func (s *Sink) release() {
	until := s.settled
	if len(s.losses.runs) > 0 {
		until = min(until, s.losses.from)
	}
	for _, n := range s.notes {
		until = min(until, n.from)
	}
	s.pop(int(until - s.popped))
	if s.reading.acked >= ackEvery {
		s.acknowledge()
	}
}

func (s *Sink) pop(n int) {
	s.queue.pop(n)
	s.popped += uint64(n)
	if s.spooled {
		s.reading.acked += n
	}
}

// loseAll counts what is in memory alone, and takes it away.
func (s *Sink) loseAll(cause record.Cause) {
	for i := range s.queue.n {
		s.losses.add(s.queue.line(i), cause)
	}
	s.queue.given = s.queue.n
	s.settled = s.position(s.queue.n)
	s.pop(s.queue.n)
}
