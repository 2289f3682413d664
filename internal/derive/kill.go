// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// lastSignal is the highest signal number.
const lastSignal = 64

// kill is kill: one target, or each of a process group or of everybody.
func kill(d *Deriver, c *Call) error {
	sig := uint32(c.Args[1])
	var list func() ([]task.Target, error)
	switch n := c.arg(0); {
	case n > 0:
		pid, err := d.pid(c, n)
		if err != nil {
			return err
		}
		return d.signal(c, pid, sig)
	case n == -1:
		ours := d.lens.SamePIDs(c.Task)
		list = func() ([]task.Target, error) { return task.Everybody(c.Task.TID, c.Task.TGID, ours) }
	case n == 0:
		list = func() ([]task.Target, error) { return task.OwnGroup(c.Task.TID) }
	default:
		pgrp, err := d.pid(c, -n)
		if err != nil {
			return err
		}
		list = func() ([]task.Target, error) { return task.ProcessGroup(pgrp) }
	}
	return d.signalAll(c, sig, c.arg(0) == -1, list)
}

// signalAll derives a signal to many.
func (d *Deriver) signalAll(c *Call, sig uint32, everybody bool, list func() ([]task.Target, error)) error {
	targets, err := list()
	if err != nil {
		return err
	}
	for _, target := range targets {
		d.attempt(c, target.PID, sig)
	}
	d.shieldAmong(c, targets, sig, everybody, list)
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
	if !ordinaryCode(int32(binary.NativeEndian.Uint32(info[8:]))) && target != c.Task.TGID && target != c.Task.TID {
		return unix.EPERM
	}
	if c.Row.fixedArg() == 1 {
		if tgid, err := d.pid(c, c.arg(0)); err != nil || !task.InGroup(target, tgid) {
			return unix.ESRCH
		}
	}
	return d.signal(c, target, sig)
}

// Flags of pidfd_send_signal: whom of the process the signal is for.
const (
	pidfdThread       = 1
	pidfdThreadGroup  = 2
	pidfdProcessGroup = 4
)

// pidfdSignal is pidfd_send_signal.
func pidfdSignal(d *Deriver, c *Call) error {
	sig, flags := uint32(c.Args[1]), uint32(c.Args[3])
	switch flags {
	case 0, pidfdThread, pidfdThreadGroup, pidfdProcessGroup:
	default:
		return unix.EINVAL
	}
	pid, err := d.pidfd(c, c.arg(0))
	if err != nil {
		return err
	}
	if !d.lens.SamePIDs(c.Task) && !task.Sees(c.Task.TID, pid) {
		return unix.EINVAL
	}
	if c.Args[2] != 0 {
		var info [12]byte
		if err := d.lens.Read(c.Task, c.Args[2], info[:]); err != nil {
			return unreadable(err)
		}
		order := binary.NativeEndian
		if order.Uint32(info[:]) != sig {
			return unix.EINVAL
		}
		if !ordinaryCode(int32(order.Uint32(info[8:]))) && (pid != c.Task.TID || flags == pidfdProcessGroup) {
			return unix.EPERM
		}
	}
	if flags == pidfdProcessGroup {
		return d.signalAll(c, sig, false, func() ([]task.Target, error) { return task.ProcessGroup(pid) })
	}
	return d.signal(c, pid, sig)
}

// ordinaryCode tells whether a signal that comes with that code may be sent to
// others: it does not claim to be the kernel's.
func ordinaryCode(code int32) bool {
	const tkillCode = -6
	return code < 0 && code != tkillCode
}

// pidfd finds the process, or thread, that a descriptor of the caller stands
// for: a pidfd, or the directory of a process in procfs.
func (d *Deriver) pidfd(c *Call, fd int32) (int, error) {
	info, err := d.lens.FDInfo(c.Task, fd)
	if err != nil {
		return 0, unix.EBADF
	}
	if info.PID != 0 {
		if info.PID < 0 {
			return 0, unix.ESRCH
		}
		return info.PID, nil
	}
	o := &d.objects[0]
	if err := d.lens.Descriptor(c.Task, fd, o); err != nil {
		return 0, unix.EBADF
	}
	defer o.Close()
	if o.Mount.Magic != unix.PROC_SUPER_MAGIC || !o.IsDir() {
		return 0, unix.EBADF
	}
	dir, name := cutLast(o.RelativePath(tsem.PathRoot).Pathname)
	n, err := strconv.ParseInt(string(name), 10, 32)
	if err != nil || len(dir) > 0 {
		return 0, unix.EBADF
	}
	it, err := d.procTask(c, int32(n), &o.Stat)
	return it.TID, err
}

// signal derives one signal.
func (d *Deriver) signal(c *Call, pid int, sig uint32) error {
	target, err := d.attempt(c, pid, sig)
	if err == nil && sig != 0 {
		d.shield(target.TGID)
	}
	return err
}

// attempt emits the sending of one signal, if the sender may.
func (d *Deriver) attempt(c *Call, pid int, sig uint32) (target task.Target, err error) {
	if pid <= 0 || sig > lastSignal {
		return target, unix.EINVAL
	}
	if target, err = task.LookAt(pid); err != nil {
		return target, unix.ESRCH
	}
	if !d.maySignal(c, &target, sig) {
		return target, unix.EPERM
	}
	if sig == uint32(unix.SIGURG) {
		return target, nil // TSEM has no event for it
	}
	cell := &tsem.KillCell{Sig: sig}
	var foreign bool
	if cell.Target, foreign = d.identity(pid); foreign {
		cell.CrossNS = 1
	}
	d.emit(tsem.TaskKill, cell)
	return target, nil
}

// maySignal is the kernel's kill_ok_by_cred, with the exceptions for threads of
// one process, and for SIGCONT within a session.
func (d *Deriver) maySignal(c *Call, target *task.Target, sig uint32) bool {
	me, it := &c.Task.Status.COE, &target.COE
	switch {
	case target.TGID == c.Task.TGID:
		return true
	case me.EUID == it.SUID || me.EUID == it.UID || me.UID == it.SUID || me.UID == it.UID:
		return true
	case d.lens.CapableTo(c.Task, target.PID, unix.CAP_KILL):
		return true
	}
	return sig == uint32(unix.SIGCONT) && target.SameSession(c.Task.TID)
}
