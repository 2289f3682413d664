// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// What a workload does to those that watch it is recorded like any other act,
// and then refused: EPERM. What decides lies in registers, but for paths and
// descriptors: these another thread can change behind our back.

// ours tells whether process tgid is one of our own.
func (d *Deriver) ours(tgid int) bool { return d.opts.Own != nil && d.opts.Own(tgid) }

// shield has the call refused if process tgid, which it would do something to,
// is one of ours.
func (d *Deriver) shield(tgid int) {
	if d.ours(tgid) {
		d.out.Refuse = unix.EPERM
	}
}

// shieldAmong takes the delivery of a signal to many out of the kernel's hands
// if one of them is ours.
func (d *Deriver) shieldAmong(c *Call, targets []task.Target, sig uint32, everybody bool, list func() ([]task.Target, error)) {
	if sig == 0 || sig > lastSignal {
		return
	}
	for _, target := range targets {
		if d.ours(target.PID) {
			d.out.Instead = func(killable bool, answer func(unix.Errno)) {
				d.signalOthers(c, unix.Signal(sig), everybody, list, killable, answer)
			}
			return
		}
	}
}

// signalOthers sends a signal to each target that is not ours, as the kernel
// would for the caller, and answers the call. The caller itself comes last. It
// is signalled before the answer, as the kernel does, unless the signal would
// take it out of the call, which it would then make anew.
func (d *Deriver) signalOthers(c *Call, sig unix.Signal, everybody bool, list func() ([]task.Target, error), killable bool, answer func(unix.Errno)) {
	d.lens.Refresh(c.Task)
	result, found, self := unix.Errno(unix.ESRCH), false, false
	seen := make(map[int]bool)
	// What is signalled may have forked since it was listed. Nobody has whom
	// these two signals have reached.
	again := sig == unix.SIGKILL || sig == unix.SIGSTOP
	for more := true; more; {
		more = false
		targets, _ := list()
		for _, target := range targets {
			switch {
			case seen[target.PID]:
				continue
			case target.PID == c.Task.TGID:
				self = true
				continue
			}
			seen[target.PID] = true
			found, more = true, again
			err := unix.Errno(unix.EPERM)
			if !d.ours(target.PID) {
				err = d.sendOne(c, target.PID, sig)
			}
			if result != 0 && err != unix.ESRCH {
				result = err
			}
		}
	}
	if self || everybody && found && result == unix.EPERM {
		result = 0
	}
	if !killable {
		answer(result)
	}
	if self {
		d.sendOne(c, c.Task.TGID, sig)
	}
	if killable {
		answer(result)
	}
}

// sendOne sends a signal in the name of the caller, if that may.
func (d *Deriver) sendOne(c *Call, pid int, sig unix.Signal) unix.Errno {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return unix.ESRCH
	}
	defer unix.Close(fd)
	target, err := task.LookAt(pid)
	if err != nil {
		return unix.ESRCH
	}
	if !d.maySignal(c, &target, uint32(sig)) {
		return unix.EPERM
	}
	if (sig == unix.SIGKILL || sig == unix.SIGSTOP) && task.FirstFor(c.Task.TID, pid) {
		return 0 // which only comes from us because we stand outside
	}
	from := kernel.Sender{PID: uint32(c.Task.TGID), UID: c.Task.Status.COE.UID}
	switch err := kernel.SendAs(fd, sig, from); err {
	case nil:
		return 0
	default:
		return err.(unix.Errno)
	}
}

// Commands that say who gets the signals of a descriptor, and kinds of owners.
const (
	fSetown, fSetownEx = 8, 15

	ioSetOwner, ioSetGroup = 0x8901, 0x8902 // FIOSETOWN, SIOCSPGRP

	ownerThread, ownerProcess, ownerGroup = 0, 1, 2
)

// shieldOwner has a call refused that would make one of ours get the signals of
// a descriptor, which may be any that the workload likes. who is below 0 for a
// process group.
func (d *Deriver) shieldOwner(c *Call, who int32) {
	if d.opts.Own == nil || who == 0 || who == math.MinInt32 {
		return
	}
	pid, err := d.pid(c, max(who, -who))
	if err != nil {
		return
	}
	if who > 0 {
		if target, err := task.LookAt(pid); err == nil {
			d.shield(target.TGID)
		}
		return
	}
	members, _ := task.ProcessGroup(pid)
	for _, m := range members {
		d.shield(m.PID)
	}
}

// shieldOwnerEx is shieldOwner for the structure of F_SETOWN_EX.
func (d *Deriver) shieldOwnerEx(c *Call, addr uint64) {
	var b [8]byte
	if d.lens.Read(c.Task, addr, b[:]) != nil {
		return
	}
	kind, who := binary.NativeEndian.Uint32(b[:]), int32(binary.NativeEndian.Uint32(b[4:]))
	switch {
	case who <= 0:
	case kind == ownerThread, kind == ownerProcess:
		d.shieldOwner(c, who)
	case kind == ownerGroup:
		d.shieldOwner(c, -who)
	}
}

// shieldProc has an open refused that would give the caller power over one of
// ours: its memory, and whatever of it can be written to.
func (d *Deriver) shieldProc(c *Call, o *proc.Object, flags uint32) {
	if d.opts.Own == nil || o.Mount.Magic != unix.PROC_SUPER_MAGIC {
		return
	}
	n, name, ok := procName(o.Path)
	if !ok || name != "mem" && flags&unix.O_ACCMODE == unix.O_RDONLY && flags&unix.O_TRUNC == 0 {
		return
	}
	if it, err := d.procTask(c, n, &o.Stat); err == nil {
		d.shield(it.TGID)
	}
}

// shieldLink has a call refused that goes through a link of procfs to what one
// of ours has open or mapped, unless it only asks.
func (d *Deriver) shieldLink(c *Call, n int32, st *unix.Statx_t) {
	if len(d.row.Events) > 0 {
		switch d.row.Events[0] {
		case tsem.InodeGetattr, tsem.InodeGetxattr, tsem.InodeListxattr, tsem.PtraceAccessCheck, tsem.SBStatfs:
			return
		}
	}
	if it, err := d.procTask(c, n, st); err == nil {
		d.shield(it.TGID)
	}
}
