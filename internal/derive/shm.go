// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// shmget is shmget.
func shmget(d *Deriver, c *Call) error {
	size := c.Args[1]
	return d.associate(c, kernel.SharedMemory, tsem.ShmAssociate, c.arg(0), c.arg(2),
		func(o *ipcObject) bool { return size <= o.Size })
}

// Flags of shmat, and commands of shmctl.
const (
	shmReadOnly = 0o10000
	shmRound    = 0o20000
	shmRemap    = 0o40000
	shmExec     = 0o100000

	shmLock    = 11
	shmUnlock  = 12
	shmStat    = 13
	shmStatAny = 15
)

// shmat is shmat. The mapping has no event: the file behind a segment lies on a
// file system that does not count.
func shmat(d *Deriver, c *Call) error {
	const page = 4096
	id, addr, flags := c.arg(0), c.Args[1], c.arg(2)
	switch {
	case id < 0,
		addr%page != 0 && flags&shmRound == 0,
		flags&shmRemap != 0 && addr < page:
		return unix.EINVAL
	}
	mode := int32(ipcRead)
	if flags&shmReadOnly == 0 {
		mode |= ipcWrite
	}
	if flags&shmExec != 0 {
		mode |= 0o111
	}
	return d.lens.InIPC(c.Task, func(ns uint64) error {
		o, err := ipcAt(ns, kernel.SharedMemory, id)
		if err != nil {
			return err
		}
		if !d.ipcPermitted(c, o, mode) {
			return unix.EACCES
		}
		d.emit(tsem.ShmShmat, &tsem.IPCCell{Perm: d.perm(c, o), Value: flags})
		return nil
	})
}

// shmctl is shmctl.
func shmctl(d *Deriver, c *Call) error {
	id, cmd := c.arg(0), c.arg(1)
	return d.ctl(c, kernel.SharedMemory, tsem.ShmShmctl, id, cmd, shmStat, shmStatAny, c.Args[2], func(ns uint64) error {
		if cmd != shmLock && cmd != shmUnlock {
			return unix.EINVAL
		}
		o, err := ipcAt(ns, kernel.SharedMemory, id)
		if err == nil {
			d.emit(tsem.ShmShmctl, &tsem.IPCCell{Perm: d.perm(c, o), Value: cmd})
		}
		return err
	})
}
