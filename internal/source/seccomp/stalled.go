// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"fmt"

	"quixote-export/internal/derive"
	"quixote-export/internal/kernel"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// How far a worker is with its call. Only one of the two who want to end a call
// can: the worker itself, or whoever gives it up.
const (
	idle      = iota
	working   // looking at the call
	writing   // recording and answering it, which waits for nothing but outputs
	abandoned // given up: what the worker finds out is not wanted
)

// stalledCall is a call that could not be looked at in time.
type stalledCall struct {
	p    *port
	id   uint64 // of the notification
	row  *derive.Row
	task *task.Task // nil if it is not even known who makes the call
	head tsem.Event
	root bool // root makes it
}

// look counts the beats in which the worker has not got on. The relay's lock is
// held.
func (w *worker) look() {
	if pulse := w.pulse.Load(); pulse != w.seen || w.state.Load() == idle {
		w.seen, w.late = pulse, 0
	} else {
		w.late++
	}
}

// giveUp takes the call out of the hands of a worker that does not get on. The
// relay's lock is held: the worker waits for it before it uses its storage for
// another call.
func (w *worker) giveUp() (c stalledCall, ok bool) {
	if !w.state.CompareAndSwap(working, abandoned) {
		return c, false
	}
	c = stalledCall{p: w.p, id: w.n.ID, row: w.row}
	if w.headed.Load() {
		c.task, c.head, c.root = w.task, w.derived.head, w.derived.root
		c.head.Process = bytes.Clone(c.head.Process)
	}
	return c, true
}

// release lets a call go on that could not be looked at: something that it
// names does not answer, which may well be the task itself, or one that waits
// for it. What is known of the call is recorded, and that more may be missing.
func (s *Source) release(c stalledCall) {
	wanted := s.interest().Wants(c.row)
	if wanted {
		s.tellStalled(c.row)
	}
	let := func() bool { return kernel.Continue(c.p.listener, c.id) == nil }
	if c.task != nil {
		// Its handler keeps the old one.
		t := s.shared.Tasks.Disown(c.task)
		events, exec := derive.Stalled(s.opts.Algorithm, s.opts.Model, c.row, c.root, t.Identity)
		if exec != nil && kernel.Valid(c.p.listener, c.id) {
			s.shared.Tasks.Leaving(t)
			s.shared.Tasks.BeginExec(t, exec)
			answer := let
			let = func() bool { return s.shared.Tasks.Answer(t, exec, answer) }
		}
		s.rec.record(c.head, events)
	}
	if wanted {
		s.rec.Lost(record.CauseStalled, 0, false)
	}
	let()
}

// tellStalled says it once.
func (s *Source) tellStalled(row *derive.Row) {
	s.stalled.Do(func() {
		go s.opts.Notice(fmt.Sprintf("what a call of %s names does not answer (memory or a file system with a server that is stuck); such calls are recorded with what is known after %d seconds", row.Name, patience*int(beat)/1e9))
	})
}
