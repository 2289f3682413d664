// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A reader is the place behind the records that were handed out.
type reader struct {
	number uint64 // of the next record
	first  uint64 // number that the open segment begins with
	file   *file  // nil when none is open
	off    int64  // of the frame behind the current one
	window window

	// The current frame, and which of its records comes next.
	records []byte
	ends    []int
	index   int
	out     []int // ends as they are handed out, reused
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	r.records, r.ends, r.index = nil, r.ends[:0], 0
}

// A place is where a reader stands.
type place struct {
	segment *segment // nil when there is none
	size    int64    // of what is written of it
	limit   uint64   // number that the next segment begins with, or will
	last    bool     // there is no next segment yet
}

// Next returns the records behind those that it returned before, at most most
// of them, at least one unless there are none: buf holds them one behind the
// other, ends the end of each. They are valid until the next call of Next,
// Rewind or Close, and stay in the queue until they are acknowledged.
//
// Damaged records are skipped. They are in Damage before the records behind
// them are returned.
func (q *Queue) Next(most int) (buf []byte, ends []int, err error) {
	q.reading.Lock()
	defer q.reading.Unlock()
	r := &q.reader
	for r.index == len(r.ends) {
		more, err := q.step()
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the spool %s: %w", q.dir.path, err)
		}
		if !more {
			return nil, nil, nil
		}
	}
	first := r.index
	last := min(len(r.ends), first+max(most, 1))
	start := 0
	if first > 0 {
		start = r.ends[first-1]
	}
	r.out = r.out[:0]
	for _, end := range r.ends[first:last] {
		r.out = append(r.out, end-start)
	}
	r.index = last
	r.number += uint64(last - first)
	q.mu.Lock()
	q.read = r.number
	q.mu.Unlock()
	return r.records[start:r.ends[last-1]], r.out, nil
}

// Rewind lets Next begin again with the first record that is not acknowledged.
func (q *Queue) Rewind() {
	q.reading.Lock()
	defer q.reading.Unlock()
	q.reader.close()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.read = q.head
	q.reader.number = q.head
}

// step looks at what is behind the current frame, and makes it the current one
// if it is sound. It returns false at the end of the queue.
func (q *Queue) step() (more bool, err error) {
	r := &q.reader
	at, err := q.place()
	if err != nil || at.segment == nil {
		return false, err
	}
	if r.off >= at.size {
		q.skip(at.limit)
		if !at.last {
			r.close()
		}
		return !at.last, nil
	}
	f, ok, err := r.window.header(r.off, at.size)
	if err != nil {
		return q.unreadable(at, err)
	}
	body := r.off + headerSize
	if !ok || f.after() > at.limit || r.off+f.length() > at.size {
		r.off, err = r.window.find(r.off+1, at.size, r.number, at.limit)
		if err != nil {
			return q.unreadable(at, err)
		}
		return true, nil
	}
	r.off += f.length()
	if f.after() <= r.number {
		return true, nil // acknowledged
	}
	b, err := r.window.at(body, f.body(), at.size)
	if err != nil {
		return q.unreadable(at, err)
	}
	r.records, r.ends, ok = f.parseBody(b, r.ends[:0])
	if !ok {
		r.ends = r.ends[:0] // what comes next tells how many they were
		r.index = 0
		return true, nil
	}
	q.skip(f.first)
	r.index = int(r.number - f.first)
	return true, nil
}

// place returns where the reader stands, with the segment open.
func (q *Queue) place() (place, error) {
	r := &q.reader
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return place{}, errClosed
	}
	i := len(q.segments) - 1
	for i > 0 && q.segments[i].first > r.number {
		i--
	}
	if r.file != nil {
		// It stays at the end of a segment until there is another, unless
		// the segment was acknowledged and deleted.
		j := i
		for j >= 0 && q.segments[j].first != r.first {
			j--
		}
		if j < 0 {
			r.close()
		} else {
			i = j
		}
	}
	if i < 0 {
		q.mu.Unlock()
		return place{}, nil
	}
	at := place{segment: q.segments[i], size: q.segments[i].size, limit: q.next, last: i == len(q.segments)-1}
	if !at.last {
		at.limit = q.segments[i+1].first
	}
	q.mu.Unlock()
	if r.file != nil {
		return at, nil
	}
	f, err := q.dir.open(at.segment.name(), unix.O_RDONLY)
	if isMissing(err) {
		r.off = at.size // somebody else has deleted it
		return at, nil
	}
	if err != nil {
		return at, err
	}
	r.file, r.first, r.off = f, at.segment.first, 0
	r.window.reset(f)
	return at, nil
}

// skip notes that the records before a number, if the reader has not come to
// it yet, are lost.
func (q *Queue) skip(to uint64) {
	r := &q.reader
	if r.number >= to {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	head := q.head
	q.damage.Records += q.addGap(gap{r.number, to})
	if q.head != head {
		q.ack.write(q.head) // or the next run tells of it again
	}
	r.number = to
	q.read = to
}

// unreadable decides on an error of the disk: what a segment still holds is
// lost when it cannot be read, and what is behind it is not.
func (q *Queue) unreadable(at place, err error) (bool, error) {
	if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EBADMSG) && !errors.Is(err, unix.EUCLEAN) {
		return false, err
	}
	q.reader.off = at.size
	return true, nil
}
