// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Limits that the standard library's packages leave out, and how many there
// are.
const (
	rlimitNice     = 13
	rlimitRealtime = 14
	rlimitCount    = 16

	prlimitReads  = 1 // LSM_PRLIMIT_READ
	prlimitWrites = 2 // LSM_PRLIMIT_WRITE
)

// limitOf is the soft limit of task tid, 0 if it cannot be read.
func limitOf(tid, resource int) uint64 {
	var l unix.Rlimit
	if unix.Prlimit(tid, resource, nil, &l) != nil {
		return 0
	}
	return l.Cur
}

// prlimit is prlimit64: a task need not be asked about its own limits, unless
// they change.
func prlimit(d *Deriver, c *Call) error {
	var flags int32
	var limit [2]uint64
	if c.Args[3] != 0 {
		flags |= prlimitReads
	}
	if c.Args[2] != 0 {
		var b [16]byte
		if err := d.lens.Read(c.Task, c.Args[2], b[:]); err != nil {
			return unreadable(err)
		}
		limit = [2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
		flags |= prlimitWrites
	}
	tid, tgid := c.Task.TID, c.Task.TGID
	if c.arg(0) != 0 {
		it, err := d.number(c, c.arg(0))
		if err != nil {
			return err
		}
		tid, tgid = it.TID, it.TGID
		if tid != c.Task.TID {
			if err := d.othersLimits(c, &it, flags); err != nil {
				return err
			}
		}
	}
	if c.Args[2] == 0 {
		return nil
	}
	if err := d.limit(c, tid, uint32(c.Args[1]), limit); err != nil {
		return err
	}
	d.shield(tgid)
	return nil
}

// othersLimits derives the question whether the caller may get at the limits
// of another task.
func (d *Deriver) othersLimits(c *Call, it *task.Details, flags int32) error {
	coe := &c.Task.Status.COE
	same := coe.UID == it.COE.EUID && coe.UID == it.COE.SUID && coe.UID == it.COE.UID &&
		coe.GID == it.COE.EGID && coe.GID == it.COE.SGID && coe.GID == it.COE.GID
	if !same && !d.lens.CapableTo(c.Task, it.TID, unix.CAP_SYS_RESOURCE) {
		return unix.EPERM
	}
	cell := &tsem.PrlimitCell{Cred: d.creds(c), TCred: tsem.Creds{COE: it.COE}, Flags: flags}
	if d.opts.Current {
		cell.TCred.COE = d.foreign(c, it.COE)
	}
	cell.Cred.Securebits = d.shared.Secure.Of(c.Task.TID)
	cell.TCred.Securebits = d.shared.Secure.Of(it.TID)
	d.emit(tsem.TaskPrlimit, cell)
	return nil
}

// foreign is the credentials of another task in ids of the caller's user
// namespace.
func (d *Deriver) foreign(c *Call, coe tsem.COE) tsem.COE {
	for _, id := range []*uint32{&coe.UID, &coe.EUID, &coe.SUID, &coe.FSUID} {
		*id = d.lens.UID(c.Task, *id)
	}
	for _, id := range []*uint32{&coe.GID, &coe.EGID, &coe.SGID, &coe.FSGID} {
		*id = d.lens.GID(c.Task, *id)
	}
	return coe
}

// setrlimit is setrlimit. In 32-bit programs the highest number stands for no
// limit.
func setrlimit(d *Deriver, c *Call) error {
	var limit [2]uint64
	if err := d.words(c, c.Args[1], limit[:]); err != nil {
		return err
	}
	for i := range limit {
		if c.Compat && limit[i] == math.MaxUint32 {
			limit[i] = math.MaxUint64
		}
	}
	return d.limit(c, c.Task.TID, uint32(c.Args[0]), limit)
}

// limit derives the change of a limit of task tid.
func (d *Deriver) limit(c *Call, tid int, resource uint32, limit [2]uint64) error {
	if resource >= rlimitCount || limit[0] > limit[1] {
		return unix.EINVAL
	}
	if resource == unix.RLIMIT_NOFILE && limit[1] > maxOpen() {
		return unix.EPERM
	}
	var now unix.Rlimit
	if unix.Prlimit(tid, int(resource), nil, &now) == nil && limit[1] > now.Max &&
		!d.lens.Capable(c.Task, unix.CAP_SYS_RESOURCE) {
		return unix.EPERM
	}
	cell := &tsem.SetrlimitCell{Resource: resource, Current: limit[0], Max: limit[1]}
	cell.Task, _ = d.identity(tid)
	d.emit(tsem.TaskSetrlimit, cell)
	return nil
}

// maxOpen is the bound of the number of open files.
func maxOpen() uint64 {
	b, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		return math.MaxUint64
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	return n
}
