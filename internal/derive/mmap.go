// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// mmap is mmap: mappings of regular files, and anonymous ones that can be
// executed.
func mmap(d *Deriver, c *Call) error {
	args := c.Args
	if c.Row.packed { // the old 32-bit call: one pointer to six words
		var b [24]byte
		if err := d.lens.Read(c.Task, args[0], b[:]); err != nil {
			return unreadable(err)
		}
		for i := range args {
			args[i] = uint64(binary.NativeEndian.Uint32(b[4*i:]))
		}
	}
	prot, flags, fd := uint32(args[2]), uint32(args[3]), int32(uint32(args[4]))
	if !c.Row.pages && args[5]%4096 != 0 {
		return unix.EINVAL
	}
	if flags&unix.MAP_ANONYMOUS != 0 {
		if prot&unix.PROT_EXEC != 0 {
			d.emit(tsem.MmapFile, d.cells.mapping.put(tsem.MmapCell{Prot: prot, Flags: flags}))
		}
		return nil
	}
	o := &d.objects[0]
	if err := d.lens.Descriptor(c.Task, fd, o); err != nil {
		return err
	}
	info, err := d.lens.FDInfo(c.Task, fd)
	if err != nil || info.Flags&unix.O_PATH != 0 {
		return unix.EBADF
	}
	if !o.IsRegular() || o.Mount.Pseudo {
		return nil
	}
	d.emit(tsem.MmapFile, d.cells.mapping.put(tsem.MmapCell{HasFile: true, File: d.file(c, o, info.Flags), Prot: prot, Flags: flags}))
	return nil
}
