// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// capHeader reads the header of capget and capset: how many words each set
// has, and which task is meant.
func (d *Deriver) capHeader(c *Call) (words int, pid int32, err error) {
	version, err := d.word32(c, c.Args[0])
	if err != nil {
		return 0, 0, err
	}
	switch version {
	case unix.LINUX_CAPABILITY_VERSION_1:
		words = 1
	case unix.LINUX_CAPABILITY_VERSION_2, unix.LINUX_CAPABILITY_VERSION_3:
		words = 2
	default:
		return 0, 0, unix.EINVAL
	}
	n, err := d.word32(c, c.Args[0]+4)
	return words, int32(n), err
}

// capget is capget.
func capget(d *Deriver, c *Call) error {
	_, pid, err := d.capHeader(c)
	if err != nil {
		return err
	}
	if pid < 0 {
		return unix.EINVAL
	}
	tid := c.Task.TID
	if pid != 0 {
		if tid, err = d.pid(c, pid); err != nil {
			return err
		}
	}
	it, err := task.ReadDetails(tid)
	if err != nil {
		return unix.ESRCH
	}
	cell := &tsem.CapgetCell{Effective: it.COE.CapEff, Inheritable: it.Inheritable, Permitted: it.Permitted}
	cell.Target, _ = d.identity(tid)
	d.emit(tsem.Capget, cell)
	return nil
}

// capset is capset, which acts on the caller alone. What the kernel's own
// rules forbid is refused before the hook.
func capset(d *Deriver, c *Call) error {
	c.Task.StatusStale = true
	words, pid, err := d.capHeader(c)
	if err != nil {
		return err
	}
	if pid != 0 {
		if tid, err := d.pid(c, pid); err != nil || tid != c.Task.TID {
			return unix.EPERM
		}
	}
	var b [24]byte // effective, permitted, inheritable; low words, then high
	if err := d.lens.Read(c.Task, c.Args[1], b[:12*words]); err != nil {
		return unreadable(err)
	}
	set := func(i int) uint64 {
		low, high := binary.NativeEndian.Uint32(b[4*i:]), binary.NativeEndian.Uint32(b[12+4*i:])
		const valid = 1<<(capLast+1) - 1
		return (uint64(low) | uint64(high)<<32) & valid
	}
	effective, permitted, inheritable := set(0), set(1), set(2)
	old, err := task.ReadDetails(c.Task.TID)
	if err != nil {
		return err
	}
	unlimited := c.Task.Status.COE.CapEff&(1<<unix.CAP_SETPCAP) != 0
	switch {
	case !unlimited && inheritable&^(old.Inheritable|old.Permitted) != 0,
		inheritable&^(old.Inheritable|old.Bounding) != 0,
		permitted&^old.Permitted != 0,
		effective&^permitted != 0:
		return unix.EPERM
	}
	d.emit(tsem.Capset, &tsem.CapsetCell{Effective: effective, Inheritable: inheritable, Permitted: permitted})
	return nil
}
