// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"

	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// Rest is what a sink was still to get when the process that exported was
// killed.
type Rest struct {
	Left    []byte      // whole lines
	Start   *tsem.Start // the start marker, nil without markers
	Started bool        // it was written
	Context uint64
	Last    uint64 // number of the last event recorded
	Events  uint64 // that the sink has got
	Bytes   uint64 // that the sink has got
}

// Rescue gives a sink what it lacks, and then a record that says how the
// stream was cut: a loss of unknown count, since the workload was killed, and
// with markers an end that tells why it is one. It returns the number of
// records that were left.
func Rescue(s Sink, rest Rest) (records int, err error) {
	o := newOutput(0, s, Options{Start: rest.Start})
	o.started = o.started || rest.Started
	o.context, o.last, o.part = rest.Context, rest.Last, part{events: rest.Events, bytes: rest.Bytes}
	b := &record.Batch{Context: rest.Context}
	for line := range bytes.Lines(rest.Left) {
		b.Append(eventType(line), bytes.TrimSuffix(line, []byte{'\n'}))
	}
	o.write(b)
	o.last = rest.Last
	var source record.Losses
	source.AddUnknown(record.CauseKilled)
	o.finish(source, record.CauseKilled, "")
	return b.Len(), o.err
}

// eventType tells events from other records; which of them it is does not
// matter here.
func eventType(line []byte) tsem.Type {
	if record.IsEvent(line) {
		return tsem.FileOpen
	}
	return 0
}
