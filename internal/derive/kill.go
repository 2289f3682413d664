// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// lastSignal is the highest signal number.
const lastSignal = 64

// kill is kill: one target, or each of a process group or of everybody.
func kill(d *Deriver, c *Call) error {
	sig := uint32(c.Args[1])
	if c.arg(0) > 0 {
		pid, err := d.pid(c, c.arg(0))
		if err != nil {
			return err
		}
		return d.signal(c, pid, sig)
	}
	var targets []task.Target
	var err error
	switch c.arg(0) {
	case -1:
		targets, err = task.Everybody(c.Task.TGID)
	case 0:
		targets, err = task.OwnGroup(c.Task.TID)
	default:
		var pgrp int
		if pgrp, err = d.pid(c, -c.arg(0)); err != nil {
			return err
		}
		targets, err = task.ProcessGroup(pgrp)
	}
	if err != nil {
		return err
	}
	for _, target := range targets {
		d.signal(c, target.PID, sig)
	}
	return nil
}

// tkill is tkill, with its only target a thread.
func tkill(d *Deriver, c *Call) error {
	tid, err := d.pid(c, c.arg(0))
	if err != nil {
		return err
	}
	return d.signal(c, tid, uint32(c.Args[1]))
}

// tgkill also names the thread's group.
func tgkill(d *Deriver, c *Call) error {
	if c.arg(0) <= 0 || c.arg(1) <= 0 {
		return unix.EINVAL
	}
	tgid, err := d.pid(c, c.arg(0))
	if err != nil {
		return err
	}
	tid, err := d.pid(c, c.arg(1))
	if err != nil {
		return err
	}
	if !task.InGroup(tid, tgid) {
		return unix.ESRCH
	}
	return d.signal(c, tid, uint32(c.Args[2]))
}

// sigqueue is rt_sigqueueinfo and rt_tgsigqueueinfo: only to oneself may a
// task claim that the kernel sends.
func sigqueue(d *Deriver, c *Call) error {
	target, err := d.pid(c, c.arg(c.Row.fixedArg()))
	if err != nil {
		return err
	}
	sig := uint32(c.Args[c.Row.fixedArg()+1])
	var info [12]byte
	if err := d.lens.Read(c.Task, c.Args[c.Row.fixedArg()+2], info[:]); err != nil {
		return unreadable(err)
	}
	const tkillCode = -6
	code := int32(binary.NativeEndian.Uint32(info[8:]))
	if (code >= 0 || code == tkillCode) && target != c.Task.TGID && target != c.Task.TID {
		return unix.EPERM
	}
	if c.Row.fixedArg() == 1 {
		if tgid, err := d.pid(c, c.arg(0)); err != nil || !task.InGroup(target, tgid) {
			return unix.ESRCH
		}
	}
	return d.signal(c, target, sig)
}

// pidfdSignal is pidfd_send_signal.
func pidfdSignal(d *Deriver, c *Call) error {
	info, err := d.lens.FDInfo(c.Task, c.arg(0))
	if err != nil || info.PID <= 0 {
		return unix.EBADF
	}
	return d.signal(c, info.PID, uint32(c.Args[1]))
}

// signal emits the sending of one signal, if the sender may.
func (d *Deriver) signal(c *Call, pid int, sig uint32) error {
	if pid <= 0 || sig > lastSignal {
		return unix.EINVAL
	}
	if sig == uint32(unix.SIGURG) {
		return nil // TSEM has no event for it
	}
	target, err := task.LookAt(pid)
	if err != nil {
		return unix.ESRCH
	}
	if target.TGID != c.Task.TGID && !maySignal(c.Task, &target, sig) {
		return unix.EPERM
	}
	cell := &tsem.KillCell{Sig: sig}
	var foreign bool
	if cell.Target, foreign = d.identity(pid); foreign {
		cell.CrossNS = 1
	}
	d.emit(tsem.TaskKill, cell)
	return nil
}

// maySignal is the kernel's kill_ok_by_cred, and the exception for SIGCONT
// within a session.
func maySignal(t *task.Task, target *task.Target, sig uint32) bool {
	me, it := &t.Status.COE, &target.COE
	if me.EUID == it.SUID || me.EUID == it.UID || me.UID == it.SUID || me.UID == it.UID {
		return true
	}
	if me.CapEff&(1<<unix.CAP_KILL) != 0 {
		return true
	}
	return sig == uint32(unix.SIGCONT) && target.SameSession(t.TID)
}
