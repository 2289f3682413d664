// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// What Append returns when there is no room. The batch is not in the queue
// then.
var (
	ErrFull     = errors.New("the limit of the spool is reached (raise it with --spool-limit)")
	ErrDiskFull = errors.New("the file system has no room left")
)

// Append puts a batch of records at the end: buf holds them one behind the
// other, ends the end of each. Both are the caller's again when it returns.
func (q *Queue) Append(buf []byte, ends []int) error {
	if len(ends) == 0 {
		return nil
	}
	q.writing.Lock()
	defer q.writing.Unlock()
	total, err := q.lay(buf, ends)
	if err != nil {
		return fmt.Errorf("cannot write to the spool %s: %w", q.dir.path, err)
	}
	s, err := q.room(total)
	if err != nil {
		return err
	}
	if err := s.file.writeAll(q.parts, s.size); err != nil {
		if s.file.cut(s.size) != nil {
			q.mu.Lock()
			s.full = true // the next batch goes elsewhere
			q.mu.Unlock()
		}
		return q.dir.fail("write", s.name(), full(err))
	}
	q.mu.Lock()
	s.size += total
	s.dirty = true
	q.bytes += total
	q.next += uint64(len(ends))
	q.mu.Unlock()
	return nil
}

// lay makes frames of a batch: q.parts is what is to be written, and refers to
// buf. The number of the next record cannot change meanwhile.
func (q *Queue) lay(buf []byte, ends []int) (total int64, err error) {
	start := 0
	for _, end := range ends {
		if end <= start || end-start > maxRecord || end > len(buf) {
			return 0, fmt.Errorf("a record is empty, longer than %d bytes, or not in the batch", maxRecord)
		}
		start = end
	}
	if start != len(buf) {
		return 0, errors.New("the batch has bytes behind its last record")
	}
	frames := 1 + len(buf)/(maxFrame/2) // at least: two neighbours hold more than one
	if need := frames*headerSize + endSize*len(ends) + headerSize; cap(q.meta) < need {
		q.meta = make([]byte, 0, need)
	}
	q.meta, q.parts = q.meta[:0], q.parts[:0]
	base := 0
	for i := 0; i < len(ends); {
		n := i + 1
		for n < len(ends) && ends[n]-base <= maxFrame {
			n++
		}
		records := buf[base:ends[n-1]]
		from := len(q.meta)
		q.meta = appendFrame(q.meta, q.next+uint64(i), records, ends[i:n], base)
		q.parts = append(q.parts, q.meta[from:], records)
		total += int64(len(q.meta)-from) + int64(len(records))
		base, i = ends[n-1], n
	}
	return total, nil
}

// room returns the segment that the next total bytes go to.
func (q *Queue) room(total int64) (*segment, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, errClosed
	}
	var last *segment
	if n := len(q.segments); n > 0 {
		last = q.segments[n-1]
	}
	bytes := q.bytes
	fresh := last == nil || last.size > 0 && (last.full || last.size >= q.most)
	if last != nil && q.head == q.next && last.size > 0 && (last.size >= leastSegment || bytes+total > q.limit) {
		// All of it is acknowledged.
		bytes -= last.size
		fresh = true
	}
	if bytes+total > q.limit {
		return nil, fmt.Errorf("cannot write to the spool %s: %w", q.dir.path, ErrFull)
	}
	if !fresh {
		return last, nil
	}
	if err := q.writeLabel(); err != nil {
		return nil, full(err)
	}
	s := &segment{first: q.next}
	f, err := q.dir.open(s.name(), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return nil, full(err)
	}
	s.file = f
	q.folder = true
	if last != nil {
		last.full = true
		last.closeFull()
	}
	q.segments = append(q.segments, s)
	q.dropRead() // a file that cannot be deleted is told by the next Ack
	return s, q.syncOldest()
}

// syncOldest keeps the number of open files down for a caller that does not
// call Sync.
func (q *Queue) syncOldest() error {
	const most = 16
	n := 0
	for _, s := range slices.Backward(q.segments) {
		if s.file == nil {
			continue
		}
		if n++; n > most {
			s.dirty = false
			if err := q.syncFile(s.file, s.name()); err != nil {
				return err
			}
			s.closeFull()
		}
	}
	return nil
}

// full makes errors of a file system without room ErrDiskFull.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}
