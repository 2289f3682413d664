// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package record holds what flows from a source to the sinks: a batch of
// records in one byte buffer, what was lost on the way and why. It does
// nothing with them, so that everybody may import it.
package record

import (
	"bytes"
	"strconv"

	"quixote-export/tsem"
)

// A Batch is an ordered run of records of one context. The three slices grow
// together; their memory is reused after Reset. A batch has one owner at a
// time and no lock.
type Batch struct {
	Context uint64      // the context all records belong to
	At      uint64      // position of Buf in the ledger, if it is in one
	Own     bool        // it is in no ledger: the exporter has made it itself
	Buf     []byte      // whole lines, each ending in LF
	Ends    []int       // end of each record in Buf, behind its LF
	Types   []tsem.Type // event type of each record, 0 for a record that is no event
}

// Len returns the number of records.
func (b *Batch) Len() int { return len(b.Ends) }

// Start returns where record i begins in Buf.
func (b *Batch) Start(i int) int {
	if i == 0 {
		return 0
	}
	return b.Ends[i-1]
}

// Record returns record i without its LF. It points into Buf.
func (b *Batch) Record(i int) []byte {
	return b.Buf[b.Start(i) : b.Ends[i]-1]
}

// Append copies one record, given without LF, to the end of the batch. The
// line must not contain an LF: JSON needs none.
func (b *Batch) Append(t tsem.Type, line []byte) {
	b.Buf = append(b.Buf, line...)
	b.EndRecord(t)
}

// EndRecord adds the LF to what was appended to Buf directly since the last
// record, and makes it a record. It is Append without the copy:
//
//	b.Buf = event.AppendJSON(b.Buf)
//	b.EndRecord(event.Type)
func (b *Batch) EndRecord(t tsem.Type) {
	b.Buf = append(b.Buf, '\n')
	b.Ends = append(b.Ends, len(b.Buf))
	b.Types = append(b.Types, t)
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.Context, b.At, b.Own = 0, 0, false
	b.Buf = b.Buf[:0]
	b.Ends = b.Ends[:0]
	b.Types = b.Types[:0]
}

// Events counts the records from first up to, not including, last that are
// events.
func (b *Batch) Events(first, last int) uint64 {
	var n uint64
	for _, t := range b.Types[first:last] {
		if t != 0 {
			n++
		}
	}
	return n
}

// Number returns the number member of event i. It is false for a record that
// is no event, and for an event of a kernel that does not number them.
//
// Only what stands before the process name is searched: those members hold
// digits, while a process can choose its name.
func (b *Batch) Number(i int) (uint64, bool) {
	if b.Types[i] == 0 {
		return 0, false
	}
	head, _, _ := bytes.Cut(b.Record(i), []byte(`"process": "`))
	_, rest, found := bytes.Cut(head, []byte(`"number": "`))
	if !found {
		return 0, false
	}
	digits, _, found := bytes.Cut(rest, []byte{'"'})
	if !found {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

// IsEvent tells whether a line is that of an event.
func IsEvent(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`{"export": {"type": "event"`)) ||
		bytes.HasPrefix(line, []byte(`{"export": {"type": "async_event"`))
}
