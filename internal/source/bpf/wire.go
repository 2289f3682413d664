// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"

	"quixote-export/tsem"
)

// What the programs and their reader must agree on; c/wire.h has the same.

// nothing stands for a number or size that is not there.
const nothing = ^uint64(0)

// Places of a task.
const (
	placeRoot = iota
	placeChroot
	placeNamespace
)

// What follows the head.
const (
	headUsers   = 1 << iota // maps of the user namespace
	headContext             // the number of a context that is not ours
)

// Flags of a path.
const (
	pathDetached = 1 << iota
	pathUnlinked
	pathTooLong
	pathUnknown
)

// Notes are no events.
const (
	noteExec = 200 + iota
	noteMade
	noteEnd
	noteDigest
)

// Causes of loss in the kernel.
const (
	lostRing = iota
	lostTooLong
	lostNested
	lostMemory
	lostTask
	lostNote
	lostOwner
	lostCauses
)

// Sizes of parts, in bytes.
const (
	headSize   = 112
	usersSize  = 8 + 2*extents*12
	inodeSize  = 120
	pathSize   = 16
	noteSize   = 32  // of a made_note
	digestSize = 120 // of a digest_note
	addrMax    = 128

	extents = 5 // of the map of a user namespace that are written
)

// cursor reads parts one behind the other. What is not there is zeros, and
// short.
type cursor struct {
	b     []byte
	short bool
}

var zeros [headSize + inodeSize]byte

// take returns the next n bytes, and goes on to a multiple of eight.
func (c *cursor) take(n int) []byte {
	padded := (n + 7) &^ 7
	if padded > len(c.b) {
		c.b, c.short = nil, true
		return zeros[:min(n, len(zeros))]
	}
	part := c.b[:n]
	c.b = c.b[padded:]
	return part
}

func (c *cursor) u64() uint64 { return binary.NativeEndian.Uint64(c.take(8)) }
func (c *cursor) u32() uint32 { return uint32(c.u64()) }

// two reads a pair of smaller numbers.
func (c *cursor) two() (a, b uint32) {
	p := c.take(8)
	return binary.NativeEndian.Uint32(p), binary.NativeEndian.Uint32(p[4:])
}

// bytes reads a size and as many bytes; nil for none. They are those of the
// record.
func (c *cursor) bytes() []byte {
	n := c.u64()
	if n == nothing {
		return nil
	}
	if n > uint64(len(c.b)) {
		c.b, c.short = nil, true
		return nil
	}
	return c.take(int(n))
}

// head begins each event.
type head struct {
	kind         uint16
	place, flags uint8
	pid, tgid    uint32
	mounts       uint32 // mount namespace
	ts           uint64 // nanoseconds since the boot
	tnum         uint64
	ttd, pttd    uint64
	lost         uint64 // in the kernel, until then
	comm         []byte
	coe          tsem.COE
	euid         uint32 // in the initial user namespace
	uids, gids   idmap
	users        bool // ids are to be mapped
	initial      bool // they are not, though the programs tell how; kept from event to event
	context      uint64
}

func (h *head) read(c *cursor) {
	order := binary.NativeEndian
	b := c.take(headSize)
	h.kind = order.Uint16(b)
	h.place, h.flags = b[2], b[3]
	h.pid, h.tgid, h.mounts = order.Uint32(b[4:]), order.Uint32(b[8:]), order.Uint32(b[12:])
	h.ts = order.Uint64(b[16:])
	h.tnum, h.ttd, h.pttd, h.lost = order.Uint64(b[24:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])
	h.comm = b[56:72]
	for i, x := range h.comm {
		if x == 0 {
			h.comm = h.comm[:i]
			break
		}
	}
	readCOE(b[72:], &h.coe)
	h.euid = h.coe.EUID
	h.users = h.flags&headUsers != 0
	if h.users {
		h.readUsers(c.take(usersSize))
		h.users = !h.initial
	}
	if h.users {
		h.mapCOE(&h.coe)
	}
	h.context = 0
	if h.flags&headContext != 0 {
		h.context = c.u64()
	}
}

// readCOE reads eight ids and the capabilities.
func readCOE(b []byte, coe *tsem.COE) {
	order := binary.NativeEndian
	coe.UID, coe.EUID, coe.SUID = order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
	coe.GID, coe.EGID, coe.SGID = order.Uint32(b[12:]), order.Uint32(b[16:]), order.Uint32(b[20:])
	coe.FSUID, coe.FSGID = order.Uint32(b[24:]), order.Uint32(b[28:])
	coe.CapEff = order.Uint64(b[32:])
}

// idmap is the map of a user namespace.
type idmap struct {
	n       uint32
	extents [extents]extent
	long    []extent // instead, if there are more
}

type extent struct{ inside, outside, count uint32 }

// noID is what an id without a mapping is written as.
const noID = 0xffffffff

func (m *idmap) to(id uint32) uint32 {
	list := m.long
	if m.n <= extents {
		list = m.extents[:m.n]
	}
	for _, x := range list {
		if id >= x.outside && id-x.outside < x.count {
			return x.inside + (id - x.outside)
		}
	}
	return noID
}

func (h *head) readUsers(b []byte) {
	order := binary.NativeEndian
	h.uids.n, h.gids.n = order.Uint32(b), order.Uint32(b[4:])
	b = b[8:]
	for _, m := range []*idmap{&h.uids, &h.gids} {
		for i := range m.extents {
			x := &m.extents[i]
			x.inside, x.outside, x.count = order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
			b = b[12:]
		}
	}
	h.uids.long, h.gids.long = nil, nil
	if h.uids.n > extents {
		h.uids.long = longMap(int(h.pid), "uid_map")
	}
	if h.gids.n > extents {
		h.gids.long = longMap(int(h.pid), "gid_map")
	}
}

// uid and gid are an id in the user namespace that was asked for.
func (h *head) uid(id uint32) uint32 {
	if h.users {
		return h.uids.to(id)
	}
	return id
}

func (h *head) gid(id uint32) uint32 {
	if h.users {
		return h.gids.to(id)
	}
	return id
}

func (h *head) mapCOE(coe *tsem.COE) {
	for _, id := range []*uint32{&coe.UID, &coe.EUID, &coe.SUID, &coe.FSUID} {
		*id = h.uid(*id)
	}
	for _, id := range []*uint32{&coe.GID, &coe.EGID, &coe.SGID, &coe.FSGID} {
		*id = h.gid(*id)
	}
}
