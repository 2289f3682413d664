// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/task"
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
		if prot&unix.PROT_EXEC != 0 && d.keepsMapping(c.Task, 0) {
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
	if !o.IsRegular() || o.Mount.Pseudo || !d.keepsMapping(c.Task, prot) {
		return nil
	}
	d.emit(tsem.MmapFile, d.cells.mapping.put(tsem.MmapCell{HasFile: true, File: d.file(c, o, info.Flags), Prot: prot, Flags: flags}))
	return nil
}

// keepsMapping tells whether a mapping is wanted; prot is 0 for one of no file.
func (d *Deriver) keepsMapping(t *task.Task, prot uint32) bool {
	return d.opts.Model.Keeps(tsem.MmapFile, model.Facts{Root: byRoot(t), Prot: prot})
}

// Mapped is the events of the mappings that an exec has made, which has just
// been seen to have succeeded, and the credentials of its task in ids of the
// wanted user namespace. It needs no locked thread.
func (d *Deriver) Mapped(t *task.Task, exec *task.Exec) (events []Event, coe tsem.COE) {
	if len(exec.Mappings) == 0 {
		return nil, coe
	}
	d.lens.Refresh(t) // or, if it is dead, what was known before
	for i := range exec.Mappings {
		if cell := &exec.Mappings[i]; d.keepsMapping(t, cell.Prot) {
			events = append(events, Event{tsem.MmapFile, cell})
		}
	}
	return events, d.COE(t)
}
