// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "encoding/binary"

// wordSize is the size in bytes of a pointer and of a long of the caller.
func (c *Call) wordSize() uint64 {
	if c.Compat {
		return 4
	}
	return 8
}

// words reads consecutive pointers or longs of the caller.
func (d *Deriver) words(c *Call, addr uint64, w []uint64) error {
	size := c.wordSize()
	b := make([]byte, size*uint64(len(w)))
	if err := d.lens.Read(c.Task, addr, b); err != nil {
		return unreadable(err)
	}
	for i := range w {
		if size == 4 {
			w[i] = uint64(binary.NativeEndian.Uint32(b[4*i:]))
		} else {
			w[i] = binary.NativeEndian.Uint64(b[8*i:])
		}
	}
	return nil
}

// word32 reads a number of 32 bits.
func (d *Deriver) word32(c *Call, addr uint64) (uint32, error) {
	var b [4]byte
	err := d.lens.Read(c.Task, addr, b[:])
	return binary.NativeEndian.Uint32(b[:]), unreadable(err)
}
