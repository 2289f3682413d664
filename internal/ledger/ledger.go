// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package ledger keeps what has been recorded until every output has it safe,
// in memory that outlives the process which records.
//
// The memory is a ring of whole lines in a file without a name, shared with a
// second process. When the first one is killed, the other finds there every
// line that was committed and not yet delivered, in order, and how far each
// output had come.
//
// Positions count the bytes of all lines since the beginning; they only grow.
// One goroutine at a time writes, one reads and tells what was delivered; both
// sides may work at once.
package ledger

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// DefaultSize is how many bytes of records may wait for the outputs.
const DefaultSize = 8 << 20

// MaxOutputs is how many outputs a ledger keeps account of.
const MaxOutputs = 8

// Words of the first page.
const (
	wordMagic   = iota
	wordSize    // of the ring in bytes
	wordHead    // position behind the last committed line
	wordTail    // position of the first line that must be kept
	wordNumber  // of the last event recorded
	wordReach   // position behind the last offered line, if that is beyond the head
	wordOffer   // number of the last event with those lines
	wordOutputs // the accounts, wordsPerOutput each

	wordMarks = 128 // two marks, wordsPerMark each
)

const magic = 0x7165_6c65_6467_6501 // "qeledge", version 1

// A Ledger is one side's view of the ring.
type Ledger struct {
	file  *os.File
	size  uint64
	words []uint64
	data  []byte
	marks *marks // nil for none
}

// New makes an empty ledger of size bytes, a power of two of at least a page.
// Where the size of files is limited (ulimit -f), it is smaller.
func New(size int) (*Ledger, error) {
	page := os.Getpagesize()
	if size < page || size&(size-1) != 0 {
		return nil, fmt.Errorf("a ledger of %d bytes is not possible: it must be a power of two of pages", size)
	}
	fd, err := unix.MemfdCreate("records", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("cannot make the memory for records: %w", err)
	}
	file := os.NewFile(uintptr(fd), "records")
	err = file.Truncate(int64(page + size))
	for errors.Is(err, unix.EFBIG) && size > page {
		size /= 2
		err = file.Truncate(int64(page + size))
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot make the memory for records: %w", err)
	}
	// A file that shrinks would be a fault at the next access.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot seal the memory for records: %w", err)
	}
	l, err := mapped(file, uint64(size))
	if err != nil {
		return nil, err
	}
	l.words[wordSize] = uint64(size)
	atomic.StoreUint64(&l.words[wordMagic], magic)
	return l, nil
}

// Open gives another process's view of a ledger, whose file it has inherited.
// The file is the ledger's from then on.
func Open(file *os.File) (*Ledger, error) {
	st, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot look at the memory for records: %w", err)
	}
	size := st.Size() - int64(os.Getpagesize())
	l, err := mapped(file, uint64(max(size, 0)))
	if err != nil {
		return nil, err
	}
	if l.words[wordMagic] != magic || l.words[wordSize] != uint64(size) {
		return nil, fmt.Errorf("the memory for records is not what it should be")
	}
	return l, nil
}

func mapped(file *os.File, size uint64) (*Ledger, error) {
	words, data, err := kernel.MapRing(int(file.Fd()), int(size))
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot map the memory for records: %w", err)
	}
	return &Ledger{file: file, size: size, words: words, data: data}, nil
}

// File is what another process must inherit to Open the ledger.
func (l *Ledger) File() *os.File { return l.file }

func (l *Ledger) load(word int) uint64     { return atomic.LoadUint64(&l.words[word]) }
func (l *Ledger) store(word int, v uint64) { atomic.StoreUint64(&l.words[word], v) }

// Head is the position behind the last committed line.
func (l *Ledger) Head() uint64 { return l.load(wordHead) }

// Tail is the position of the first line that is still kept. It is for a reader
// in another process than the writer: where the tail is beyond what it has read,
// the ring has begun anew with nothing in between. It must load the head first.
func (l *Ledger) Tail() uint64 { return l.load(wordTail) }

// Number is that of the last event recorded.
func (l *Ledger) Number() uint64 { return l.load(wordNumber) }

// LastNumber is Number for the process that is left, as Left is.
func (l *Ledger) LastNumber() uint64 {
	if l.load(wordReach) > l.load(wordHead) {
		return l.load(wordOffer)
	}
	return l.Number()
}

// reach is the position behind all lines, offered ones included.
func (l *Ledger) reach() uint64 { return max(l.load(wordHead), l.load(wordReach)) }

// Room is an empty slice over the free part of the ring, for a line to be
// appended to and then given to Commit or Offer. What does not fit grows
// elsewhere, as appending does.
func (l *Ledger) Room() []byte {
	head, tail := l.reach(), l.load(wordTail)
	at := head & (l.size - 1)
	return l.data[at : at : at+l.size-(head-tail)]
}

// Commit makes line, which must end in LF, the next of the ledger; number is
// that of the last event recorded by then. It is false, and nothing has
// changed, when there is no room yet: Release makes some. A line that is
// longer than the whole ring never fits.
func (l *Ledger) Commit(line []byte, number uint64) bool {
	if !l.Offer(line, number) {
		return false
	}
	l.Confirm()
	return true
}

// Offer is Commit for a line of which it will be certain only later whether it
// counts: others may follow, then Confirm or Withdraw. Until then readers do
// not see it, but it is among what is Left when this process dies.
func (l *Ledger) Offer(line []byte, number uint64) bool {
	head, tail := l.reach(), l.load(wordTail)
	if uint64(len(line)) > l.size-(head-tail) {
		return false
	}
	at := head & (l.size - 1)
	if place := l.data[at : at+uint64(len(line))]; !kernel.SameStart(place, line) {
		copy(place, line)
	}
	l.store(wordOffer, number)
	if l.marks != nil {
		l.marks.offered = l.marks.next
		l.setMark(l.marks.offered, head+uint64(len(line)))
	}
	l.store(wordReach, head+uint64(len(line)))
	return true
}

// Confirm commits what was offered.
func (l *Ledger) Confirm() {
	if reach := l.load(wordReach); reach > l.load(wordHead) {
		l.store(wordNumber, l.load(wordOffer))
		l.store(wordHead, reach)
		if l.marks != nil {
			l.marks.made = l.marks.offered
		}
	}
}

// Withdraw takes back what was offered.
func (l *Ledger) Withdraw() { l.store(wordReach, 0) }

// Size is how many bytes the ring holds.
func (l *Ledger) Size() int { return int(l.size) }

// Between is what was committed from one position to another. It is valid
// until it is released.
func (l *Ledger) Between(from, to uint64) []byte {
	at := from & (l.size - 1)
	return l.data[at : at+(to-from) : at+(to-from)]
}

// Release gives up what every output has safe, and everything before limit
// where there is no output: the position up to which it was read. When the
// ring is empty then, it begins anew at its start, so that a ring that never
// fills touches little memory. Only the writer may call it, or somebody who
// keeps the writer from writing.
func (l *Ledger) Release(limit uint64) {
	tail := limit
	for i := range MaxOutputs {
		if o := l.Output(i); o.Used() {
			tail = min(tail, o.Safe())
		}
	}
	if tail <= l.load(wordTail) {
		return
	}
	if used := tail & (l.size - 1); tail == l.reach() && used > l.size/16 {
		// The tail first: the other side takes a tail beyond the head for
		// an empty ring.
		fresh := tail - used + l.size
		if l.marks != nil {
			l.setMark(l.marks.made, fresh)
		}
		l.store(wordTail, fresh)
		l.store(wordHead, fresh)
		return
	}
	l.store(wordTail, tail)
}

// Left is what an output still lacks, in whole lines. It is for the process
// that is left when the one that recorded has died. What had been offered by
// then counts: it may have happened.
func (l *Ledger) Left(o Output) []byte {
	head := l.reach()
	from := max(o.Safe(), l.load(wordTail))
	if from >= head {
		return nil
	}
	return l.Between(from, head)
}
