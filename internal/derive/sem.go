// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// semget is semget.
func semget(d *Deriver, c *Call) error {
	n := c.arg(1)
	if n < 0 || uint64(n) > proc.IPCLimit("sem", 0) {
		return unix.EINVAL
	}
	return d.associate(c, kernel.Semaphores, tsem.SemAssociate, c.arg(0), c.arg(2),
		func(o *ipcObject) bool { return uint64(n) <= o.Size })
}

// Commands of semctl.
const (
	semGetPID   = 11
	semGetValue = 12
	semGetAll   = 13
	semGetNCnt  = 14
	semGetZCnt  = 15
	semSetValue = 16
	semSetAll   = 17
	semStat     = 18
	semStatAny  = 20

	semMaxValue = 32767
)

// semctl is semctl.
func semctl(d *Deriver, c *Call) error {
	id, number, cmd, value := c.arg(0), c.arg(1), c.arg(2), c.arg(3)
	return d.ctl(c, kernel.Semaphores, tsem.SemSemctl, id, cmd, semStat, semStatAny, c.Args[3], func(ns uint64) error {
		mode := int32(ipcRead)
		switch cmd {
		case semGetPID, semGetValue, semGetAll, semGetNCnt, semGetZCnt:
		case semSetAll:
			mode = ipcWrite
		case semSetValue:
			mode = ipcWrite
			if value < 0 || value > semMaxValue {
				return unix.ERANGE
			}
		default:
			return unix.EINVAL
		}
		o, err := ipcAt(ns, kernel.Semaphores, id)
		if err != nil {
			return err
		}
		if cmd == semSetValue && (number < 0 || uint64(number) >= o.Size) {
			return unix.EINVAL
		}
		if !d.ipcPermitted(c, o, mode) {
			return unix.EACCES
		}
		d.emit(tsem.SemSemctl, &tsem.IPCCell{Perm: d.perm(c, o), Value: cmd})
		return nil
	})
}

// semop is semop and semtimedop.
func semop(d *Deriver, c *Call) error {
	const size = 6 // of struct sembuf: number, operation, flags
	id, n := c.arg(0), uint32(c.Args[2])
	if n < 1 || id < 0 {
		return unix.EINVAL
	}
	if c.Row.mode >= 0 && c.Args[c.Row.mode] != 0 {
		sec, nsec, err := d.times(c, c.Args[c.Row.mode], c.Compat && !c.Row.split)
		if err != nil {
			return err
		}
		if sec < 0 || nsec < 0 || nsec >= 1_000_000_000 {
			return unix.EINVAL
		}
	}
	return d.lens.InIPC(c.Task, func(ns uint64) error {
		if uint64(n) > proc.IPCLimit("sem", 2) {
			return unix.E2BIG
		}
		b := make([]byte, size*n)
		if err := d.lens.Read(c.Task, c.Args[1], b); err != nil {
			return err
		}
		cell := &tsem.SemopCell{NSops: n}
		last := uint64(0)
		mode := int32(ipcRead)
		for ; len(b) > 0; b = b[size:] {
			last = max(last, uint64(binary.NativeEndian.Uint16(b)))
			if binary.NativeEndian.Uint16(b[2:]) != 0 {
				cell.Alter, mode = 1, ipcWrite
			}
		}
		o, err := ipcAt(ns, kernel.Semaphores, id)
		if err != nil {
			return err
		}
		if last >= o.Size {
			return unix.EFBIG
		}
		if !d.ipcPermitted(c, o, mode) {
			return unix.EACCES
		}
		cell.Perm = d.perm(c, o)
		d.emit(tsem.SemSemop, cell)
		return nil
	})
}
