// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"quixote-export/internal/ledger"
)

// progress is how far a reader of the rings has come.
type progress struct {
	at    uint64 // where in the ring the sample begins that comes next
	taken uint64 // events of that sample that are recorded
	last  uint64 // number of the last event
	tally
}

// mark is p beside a line of the ledger, and unmark the counterpart.
func (p *progress) mark() (m ledger.Mark) {
	m[0], m[1], m[2], m[3] = p.at, p.taken, p.last, p.total
	copy(m[4:], p.told[:])
	return m
}

func unmark(m ledger.Mark) (p progress) {
	p.at, p.taken, p.last, p.total = m[0], m[1], m[2], m[3]
	copy(p.told[:], m[4:])
	return p
}

// A checkpoint is what a reader must know to go on where another has stopped,
// besides the identities, which are written down as they come.
type checkpoint struct {
	progress
	notes uint64 // where in the ring of notes the next one begins
	made  *made
}

// checkpointMagic begins a checkpoint, with the version of what follows.
const checkpointMagic = 0x7165_6368_6563_6b01

// write puts the checkpoint in the place of the last one.
func (c *checkpoint) write(path string, buf []byte) ([]byte, error) {
	w := words(buf[:0])
	w.put(checkpointMagic, c.at, c.taken, c.last, c.total, c.notes)
	w.put(c.told[:]...)
	c.made.write(&w)
	w.put(checkpointMagic)
	err := os.WriteFile(path+".new", w, 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		err = fmt.Errorf("cannot write down how far the ring was read: %w", err)
	}
	return w, err
}

// read is the counterpart of write. It is false where there is none.
func (c *checkpoint) read(path string) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read how far the ring was read: %w", err)
	}
	r := cursor{b: text}
	ok := r.u64() == checkpointMagic
	c.at, c.taken, c.last, c.total, c.notes = r.u64(), r.u64(), r.u64(), r.u64(), r.u64()
	for i := range c.told {
		c.told[i] = r.u64()
	}
	c.made = newMade()
	c.made.read(&r)
	if ok = ok && r.u64() == checkpointMagic && !r.short; !ok {
		return false, fmt.Errorf("%s is damaged (--remove-collector, and begin anew)", path)
	}
	return true, nil
}

// words is numbers one behind the other.
type words []byte

func (w *words) put(v ...uint64) {
	for _, v := range v {
		*w = binary.NativeEndian.AppendUint64(*w, v)
	}
}

func (w *words) key(k inodeKey) { w.put(k.ino, uint64(k.dev)<<32|uint64(k.generation)) }

func (c *cursor) key() inodeKey {
	ino, rest := c.u64(), c.u64()
	return inodeKey{ino: ino, dev: uint32(rest >> 32), generation: uint32(rest)}
}

// many reads a count, of what takes size bytes each.
func (c *cursor) many(size int) int {
	n := c.u64()
	if n > uint64(len(c.b)/size) {
		c.b, c.short = nil, true
		return 0
	}
	return int(n)
}

func (m *made) write(w *words) {
	w.put(m.oldest, m.last)
	w.put(uint64(len(m.origins)))
	for k, o := range m.origins {
		w.key(k)
		w.put(o.maker, o.instance)
	}
	w.put(uint64(len(m.counts)))
	for k, n := range m.counts {
		w.key(k.dir)
		w.put(k.by, n)
	}
	w.put(uint64(len(m.begun)))
	for n, o := range m.begun {
		w.put(n, o.maker, o.instance)
	}
	w.put(uint64(len(m.became)))
	for n, k := range m.became {
		w.put(n)
		w.key(k)
	}
	w.put(uint64(len(m.removed)))
	for _, k := range m.removed {
		w.key(k)
	}
}

func (m *made) read(c *cursor) {
	m.oldest, m.last = c.u64(), c.u64()
	for range c.many(32) {
		m.origins[c.key()] = origin{c.u64(), c.u64()}
	}
	for range c.many(32) {
		m.counts[creation{c.key(), c.u64()}] = c.u64()
	}
	for range c.many(24) {
		m.begun[c.u64()] = origin{c.u64(), c.u64()}
	}
	for range c.many(24) {
		m.became[c.u64()] = c.key()
	}
	for range c.many(16) {
		m.removed = append(m.removed, c.key())
	}
}

// maxMade is how many files are remembered at most by those who read for months.
const maxMade = 1 << 16

// many tells whether it is time to trim.
func (m *made) many() bool { return len(m.origins) > 2*maxMade || len(m.counts) > 2*maxMade }

// trim forgets the files of makers that have gone, the counts of identities
// that nobody has, and if there are still too
// many some others: as the kernel forgets them with their inodes.
func (m *made) trim(alive func(maker uint64) bool, present map[uint64]bool) {
	for k := range m.counts {
		if !present[k.by] {
			delete(m.counts, k)
		}
	}
	if len(m.origins) <= maxMade {
		return
	}
	for k, o := range m.origins {
		if !alive(o.maker) {
			delete(m.origins, k)
		}
	}
	for k := range m.origins {
		if len(m.origins) <= maxMade {
			break
		}
		delete(m.origins, k)
	}
}
