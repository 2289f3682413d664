// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultLimit is how many bytes a queue takes on disk, unless Options say
// otherwise.
const DefaultLimit = 1 << 30

// Options of a Queue. The zero value is useful.
type Options struct {
	// Limit is how many bytes the queue may take on disk, 0 for DefaultLimit.
	// A batch that is larger never fits.
	Limit int64

	// Label is kept beside the records, for who finds them: see Label. A
	// queue that holds records keeps the label that it has.
	Label []byte
}

// Damage is what a queue has lost.
type Damage struct {
	Records uint64 // that cannot be read any more
	Unknown bool   // and perhaps more
	Torn    int64  // bytes, of a batch that the death of its writer broke off
}

// Add adds what another queue has lost.
func (d *Damage) Add(other Damage) {
	d.Records += other.Records
	d.Unknown = d.Unknown || other.Unknown
	d.Torn += other.Torn
}

// A Queue is what a folder holds. Three locks, taken in this order: one for
// those who write, one for who reads, one for what they share. A slow disk
// under one of them does not hold up the other.
type Queue struct {
	dir   *folder
	limit int64
	most  int64 // size at which a segment is full

	writing sync.Mutex
	parts   [][]byte // of the batch, reused
	meta    []byte   // its headers, reused

	reading sync.Mutex
	reader  reader

	syncing sync.Mutex

	mu       sync.Mutex
	segments []*segment // in order; the last one is written to
	head     uint64     // number of the first record that is not acknowledged
	read     uint64     // of the first that was not handed out since Rewind
	next     uint64     // of the next record
	bytes    int64      // of all segments
	gaps     []gap      // behind head, in order
	damage   Damage
	folder   bool   // names in it were changed since the last sync
	label    []byte // to be written with the first record, or nil
	ack      headFile
	closed   bool
}

var errClosed = errors.New("the spool is closed")

// Open locks a folder, which it makes if there is none, and returns the queue
// that it holds. The error is ErrLocked if another has it.
//
// What the death of the last owner broke off is cut off, and told in Damage.
func Open(dir string, options Options) (*Queue, error) {
	d, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	q := &Queue{dir: d, limit: options.Limit, label: options.Label, ack: headFile{dir: d}}
	if q.limit <= 0 {
		q.limit = DefaultLimit
	}
	q.most = min(max(q.limit/16, leastSegment), mostSegment)
	if err := q.load(); err != nil {
		q.release()
		d.close(true)
		return nil, err
	}
	return q, nil
}

const (
	mostSegment  = 16 << 20
	leastSegment = 64 << 10
)

func (q *Queue) load() (err error) {
	if q.segments, err = q.dir.segments(); err != nil {
		return err
	}
	if q.head, err = q.ack.read(); err != nil {
		return err
	}
	if n := len(q.segments); n > 0 {
		if err := q.mend(q.segments[n-1]); err != nil {
			return err
		}
		// What is before the first segment was acknowledged, or it would
		// not have been deleted.
		q.head = max(q.head, q.segments[0].first)
	}
	// The number of an acknowledged record is not used again, also if a
	// power failure has taken the record.
	q.next = max(q.next, q.head)
	q.read, q.reader.number = q.head, q.head
	for _, s := range q.segments {
		q.bytes += s.size
	}
	if _, err := q.dir.size(labelName); err == nil && q.head < q.next {
		q.label = nil
	}
	if q.head == q.next {
		return q.drop(len(q.segments))
	}
	return q.dropRead()
}

// mend finds the end of the last segment, cuts off what is behind it, and sets
// the number of the next record.
func (q *Queue) mend(s *segment) error {
	f, err := q.dir.open(s.name(), unix.O_RDWR)
	if err != nil {
		return err
	}
	s.file, s.full = f, false
	q.next = s.first
	var w window
	w.reset(f)
	for off := int64(0); off < s.size; {
		h, ok, err := w.header(off, s.size)
		if err != nil {
			return q.dir.fail("read", s.name(), err)
		}
		ok = ok && h.first >= q.next
		if ok && off+h.length() <= s.size {
			q.next = h.after()
			off += h.length()
			continue
		}
		// Either the last batch is torn, or the frame is damaged and others
		// are behind it: those are found again when they are read.
		found, err := w.find(off+1, s.size, q.next, ^uint64(0))
		if err != nil {
			return q.dir.fail("read", s.name(), err)
		}
		if found < s.size {
			off = found
			continue
		}
		if ok {
			q.next = h.first // what is damaged before it are those up to here
		} else if s.size-off >= headerSize {
			q.damage.Unknown = true // no writer stops like that
		}
		q.damage.Torn += s.size - off
		if err := f.cut(off); err != nil {
			return q.dir.fail("cut", s.name(), err)
		}
		s.size, s.dirty = off, true
	}
	return nil
}

// Len returns how many records are in the queue and not acknowledged. Damage
// that nobody has met yet is not known to it.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held(q.next)
}

// held counts the records from the head up to a number.
func (q *Queue) held(until uint64) int {
	n := until - q.head
	for _, g := range q.gaps {
		if g.first < until {
			n -= g.after - g.first
		}
	}
	return int(n)
}

// Bytes returns how much the queue takes on disk.
func (q *Queue) Bytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// Room returns how many bytes may still be written.
func (q *Queue) Room() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := q.bytes
	if n := len(q.segments); n > 0 && q.head == q.next {
		bytes -= q.segments[n-1].size // it gives way
	}
	return q.limit - bytes
}

// Damage tells what was lost so far: what Open found, and what Next skipped.
func (q *Queue) Damage() Damage {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.damage
}

// Sync returns when all that Append took, and what is acknowledged, is on
// disk. Others can append, read and acknowledge meanwhile.
func (q *Queue) Sync() error {
	q.syncing.Lock()
	defer q.syncing.Unlock()
	q.mu.Lock()
	var dirty []*segment
	var files []*file
	for _, s := range q.segments {
		if s.dirty {
			s.dirty = false
			dirty, files = append(dirty, s), append(files, s.file)
		}
	}
	var head *file
	if q.ack.dirty {
		head, q.ack.dirty = q.ack.file, false
	}
	folder := q.folder
	q.folder = false
	q.mu.Unlock()

	var failed error
	note := func(err error) {
		if failed == nil {
			failed = err
		}
	}
	for i, s := range dirty {
		note(q.syncFile(files[i], s.name()))
	}
	if head != nil {
		note(q.syncFile(head, headName))
	}
	if folder {
		note(q.dir.sync())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range dirty {
		s.closeFull()
	}
	return failed
}

// syncFile syncs a file that may be deleted and closed meanwhile: then nobody
// needs it any more.
func (q *Queue) syncFile(f *file, name string) error {
	err := f.syncData()
	if err == nil || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return q.dir.fail("sync", name, err)
}

// Close syncs and gives the folder back. A queue that is empty leaves nothing.
// Nobody may be using the queue then.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil
	}
	q.closed = true
	empty := q.head == q.next
	q.mu.Unlock()
	if !empty {
		err := q.Sync()
		q.release()
		q.dir.close(false)
		return err
	}
	err := q.drop(len(q.segments))
	for _, name := range []string{headName, labelName} {
		if rerr := q.dir.remove(name); err == nil {
			err = rerr
		}
	}
	// Numbers begin anew in the next queue, so this head must not come back.
	if serr := q.dir.sync(); err == nil {
		err = serr
	}
	q.release()
	q.dir.close(err == nil)
	return err
}

// release closes what is open in the folder.
func (q *Queue) release() {
	q.reader.close()
	for _, s := range q.segments {
		if s.file != nil {
			s.file.Close()
		}
	}
	q.ack.close()
}
