// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"time"

	"quixote-export/internal/record"
)

// groupPace is how long fewer records than a group wait for more.
const groupPace = time.Second

// grouping is how what was taken from the ledger is given to the exporter.
type grouping struct {
	group int          // records of a batch at most, 0 for any number
	first int          // record of the batch being read that comes next
	shown uint64       // position in the ledger up to which the exporter was given all
	view  record.Batch // what it was given of a larger batch
}

// Group has batches come in groups of n records, or of fewer after a second.
func (r *Recorder) Group(n int) { r.group = n }

// window gives the next records of the batch being read. The lock is held.
func (r *Recorder) window() *record.Batch {
	b := r.reading
	if r.shown == b.At {
		r.first = 0
	}
	last := b.Len()
	if r.group > 0 {
		last = min(last, r.first+r.group)
	}
	r.shown = b.At + uint64(b.Ends[last-1])
	if r.first == 0 && last == b.Len() {
		return b
	}
	start := b.Start(r.first)
	v := &r.view
	v.Context, v.At = b.Context, b.At+uint64(start)
	v.Buf, v.Types = b.Buf[start:b.Ends[last-1]], b.Types[r.first:last]
	v.Ends = v.Ends[:0]
	for _, end := range b.Ends[r.first:last] {
		v.Ends = append(v.Ends, end-start)
	}
	r.first = last
	return v
}
