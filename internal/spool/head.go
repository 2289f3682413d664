// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// headName is the file that holds the number of the first record that is not
// acknowledged. It has two slots, each a checksum and the number, which are
// written in turn, in different sectors of a disk: one is always whole. The
// number only grows, so the larger one counts.
const headName = "head"

const (
	slotSize  = 4 + 8
	slotApart = 4096
)

type headFile struct {
	dir   *folder
	file  *file // nil before the first write
	turn  int64 // slot that is written next
	dirty bool  // written since the last sync
	slot  [slotSize]byte
	slots [1][]byte
}

// read returns the number, 0 when there is none.
func (h *headFile) read() (uint64, error) {
	f, err := h.dir.open(headName, unix.O_RDWR)
	if isMissing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	h.file = f
	head := uint64(0)
	for i := range int64(2) {
		var b [slotSize]byte
		if _, err := f.ReadAt(b[:], i*slotApart); err != nil {
			continue // too short, or not readable: the other one counts
		}
		number := binary.LittleEndian.Uint64(b[4:])
		if binary.LittleEndian.Uint32(b[:]) == crc32.Checksum(b[4:], castagnoli) && number > head {
			head = number
			h.turn = 1 - i
		}
	}
	return head, nil
}

func (h *headFile) write(head uint64) error {
	if h.file == nil {
		f, err := h.dir.open(headName, unix.O_RDWR|unix.O_CREAT)
		if err != nil {
			return err
		}
		h.file = f
	}
	binary.LittleEndian.PutUint64(h.slot[4:], head)
	binary.LittleEndian.PutUint32(h.slot[:], crc32.Checksum(h.slot[4:], castagnoli))
	h.slots[0] = h.slot[:]
	if err := h.file.writeAll(h.slots[:], h.turn*slotApart); err != nil {
		return h.dir.fail("write", headName, err)
	}
	h.turn = 1 - h.turn
	h.dirty = true
	return nil
}

func (h *headFile) close() {
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}
