// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MarkWords is how many numbers a Mark has.
const MarkWords = 14

// A Mark is what a source wants to find again beside its last line: how far it
// had come when it made that.
type Mark [MarkWords]uint64

// A mark in the first page is followed by the position behind its line.
const wordsPerMark = MarkWords + 1

// Keep opens a ledger that outlives every process, in a file of its own, and
// makes it if there is none. old tells that it was there, with what nobody may
// have got; the accounts of the outputs that it had are closed, and the lines
// that one of them lacks are between its tail and its head.
func Keep(path string, size int) (l *Ledger, old bool, err error) {
	l, err = reopen(path)
	if err == nil {
		return l, true, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	// It gets its name when it is whole.
	fresh := path + ".new"
	file, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("cannot make the memory for records: %w", err)
	}
	whole := int64(os.Getpagesize() + size)
	if err = unix.Fallocate(int(file.Fd()), 0, 0, whole); errors.Is(err, unix.EOPNOTSUPP) {
		err = file.Truncate(whole)
	}
	if err != nil {
		file.Close()
		os.Remove(fresh)
		return nil, false, fmt.Errorf("cannot make the memory for records %s of %d bytes: %w", path, whole, err)
	}
	if l, err = mapped(file, uint64(size)); err != nil {
		return nil, false, err
	}
	l.words[wordSize] = uint64(size)
	l.store(wordMagic, magic)
	l.marks = &marks{}
	if err := os.Rename(fresh, path); err != nil {
		return nil, false, fmt.Errorf("cannot make the memory for records: %w", err)
	}
	return l, false, nil
}

func reopen(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the memory for records: %w", err)
	}
	l, err := Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.Withdraw()
	if tail := l.load(wordTail); tail > l.load(wordHead) {
		l.store(wordHead, tail) // it was about to begin anew, empty
	}
	tail, used := l.load(wordHead), false
	for i := range MaxOutputs {
		o := l.Output(i)
		if o.Used() {
			tail, used = min(tail, o.Safe()), true
		}
	}
	if used && tail > l.load(wordTail) {
		l.store(wordTail, tail)
	}
	for i := wordOutputs; i < wordOutputs+MaxOutputs*wordsPerOutput; i++ {
		l.words[i] = 0
	}
	m := l.Marked()
	l.marks = &marks{m, m, m}
	return l, nil
}

// marks are those of the line to come, of those offered, and of the last one
// that was committed.
type marks struct{ next, offered, made Mark }

// SetMark gives the lines that follow a mark. The last one is kept with the
// last line that was committed, even if we are killed in between. It has an
// effect in a ledger that is kept.
func (l *Ledger) SetMark(m Mark) {
	if l.marks != nil {
		l.marks.next = m
	}
}

// setMark writes the mark of the line that ends at a position, in the place of
// that before the last.
func (l *Ledger) setMark(m Mark, end uint64) {
	slot := wordMarks
	if l.load(slot+MarkWords) == l.load(wordHead) {
		slot += wordsPerMark
	}
	l.store(slot+MarkWords, ^uint64(0))
	for i, v := range m {
		l.store(slot+i, v)
	}
	l.store(slot+MarkWords, end)
}

// Marked is the mark of the last line that was committed.
func (l *Ledger) Marked() (m Mark) {
	slot := wordMarks
	if l.load(slot+MarkWords) != l.load(wordHead) {
		slot += wordsPerMark
	}
	for i := range m {
		m[i] = l.load(slot + i)
	}
	return m
}
