// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"slices"
	"time"

	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// A Summary says what came of an export.
type Summary struct {
	Events   uint64        // events that the source yielded
	Bytes    uint64        // of all records that the source yielded, with their LF
	Duration time.Duration // from New to Finish
	Source   record.Losses // what never came to the sinks
	Sinks    []SinkSummary // in the order given to New
	ByType   []TypeCount   // most frequent first
}

// A SinkSummary says what came of one sink.
type SinkSummary struct {
	Name   string
	Events uint64        // events that the sink took
	Losses record.Losses // what the sink alone did not take, or has lost
	// Waiting is how many records the sink keeps for later runs.
	Waiting int
	// Kept tells that what it did not take is in the ledger for a later run.
	Kept bool
	Err  error // its first error
}

// A TypeCount is the number of events of one type.
type TypeCount struct {
	Type  tsem.Type
	Count uint64
}

// Lost reports whether events were lost anywhere, or may have been.
func (s Summary) Lost() bool { return !s.Losses().None() }

// Waiting is how many records are kept for later runs.
func (s Summary) Waiting() int {
	n := 0
	for _, sink := range s.Sinks {
		n += sink.Waiting
	}
	return n
}

// Kept tells whether there is a sink that did not take everything, and the rest is
// in the ledger for a later run.
func (s Summary) Kept() bool {
	return slices.ContainsFunc(s.Sinks, func(sink SinkSummary) bool { return sink.Kept })
}

// Losses adds up the losses of the source and of every sink.
func (s Summary) Losses() record.Losses {
	all := s.Source
	for _, sink := range s.Sinks {
		all.Merge(sink.Losses)
	}
	return all
}

func (e *Exporter) summary() Summary {
	s := Summary{
		Events:   e.events,
		Bytes:    e.bytes,
		Duration: time.Since(e.began),
		Source:   e.source,
	}
	for _, o := range e.outputs {
		sink := SinkSummary{Name: o.sink.Name(), Events: o.events, Losses: o.missing(), Kept: o.held, Err: o.err}
		if w, ok := o.sink.(waiter); ok {
			sink.Waiting = w.Waiting()
		}
		s.Sinks = append(s.Sinks, sink)
	}
	for t, n := range e.byType {
		if n > 0 {
			s.ByType = append(s.ByType, TypeCount{tsem.Type(t), n})
		}
	}
	slices.SortStableFunc(s.ByType, func(a, b TypeCount) int { return cmp.Compare(b.Count, a.Count) })
	return s
}
