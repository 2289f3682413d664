// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"

	"quixote-export/tsem"
)

// origin tells who made a file, and as which of its creations in the directory.
type origin struct {
	maker    uint64 // number of its exec
	instance uint64
}

// made knows the files and directories that the context has made. That one is
// about to be made comes with a number in the ring; which inode it became comes
// with the same number as a note, which may be read before or after.
type made struct {
	origins map[inodeKey]origin
	counts  map[creation]uint64
	begun   map[uint64]origin   // by number: the inode is not known yet
	became  map[uint64]inodeKey // by number: the event has not been read yet
	oldest  uint64              // number below which neither is kept
	last    uint64
	removed []inodeKey // the last ones that were removed, oldest first
}

// creation is what instances are counted by: a directory, and the identity of
// who makes something in it, or as much of it as tells it from others.
type creation struct {
	dir inodeKey
	by  uint64
}

// by is an identity as a creation has it. If it is not known, the exec counts
// for itself.
func by(id tsem.Digest, maker uint64) uint64 {
	if len(id) < 8 {
		return maker
	}
	return binary.NativeEndian.Uint64(id)
}

// maxRemoved is how many files are remembered beyond their removal: those that
// are still open can have events. maxBegun is how many that are begun are, of
// which nothing more was heard: they failed.
const (
	maxRemoved = 4096
	maxBegun   = 4096
)

func newMade() *made {
	return &made{
		origins: make(map[inodeKey]origin), counts: make(map[creation]uint64),
		begun: make(map[uint64]origin), became: make(map[uint64]inodeKey),
	}
}

// begin counts a creation in dir, which goes up whether or not it succeeds, as
// it does in TSEM.
func (m *made) begin(number uint64, dir inodeKey, maker uint64, id tsem.Digest) (instance uint64) {
	at := creation{dir, by(id, maker)}
	m.counts[at]++
	o := origin{maker, m.counts[at]}
	if key, ok := m.became[number]; ok {
		delete(m.became, number)
		m.origins[key] = o
	} else {
		m.begun[number] = o
		m.tidy(number)
	}
	return o.instance
}

// become notes what inode a creation has become.
func (m *made) become(number uint64, key inodeKey) {
	if o, ok := m.begun[number]; ok {
		delete(m.begun, number)
		m.origins[key] = o
		return
	}
	m.became[number] = key
}

// tidy forgets the oldest of those of which only one side was heard.
func (m *made) tidy(number uint64) {
	m.last = max(m.last, number)
	if len(m.begun)+len(m.became) < 2*maxBegun || m.last < m.oldest+maxBegun {
		return
	}
	m.oldest = m.last - maxBegun/2
	for n := range m.begun {
		if n < m.oldest {
			delete(m.begun, n)
		}
	}
	for n := range m.became {
		if n < m.oldest {
			delete(m.became, n)
		}
	}
}

// origin tells who made an inode, if the context has.
func (m *made) origin(key inodeKey) (origin, bool) {
	o, ok := m.origins[key]
	return o, ok
}

// removing notes that the last name of an inode is about to go. It is
// remembered a while longer.
func (m *made) removing(key inodeKey) {
	if _, ok := m.origins[key]; !ok {
		return
	}
	m.removed = append(m.removed, key)
	for len(m.removed) > maxRemoved {
		delete(m.origins, m.removed[0])
		m.removed = m.removed[1:]
	}
}
