// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Bits of a ptrace access mode, from include/linux/ptrace.h: what for, and by
// which of its credentials the caller is judged.
const (
	accessRead     = 1 << 0
	accessAttach   = 1 << 1
	accessNoAudit  = 1 << 2
	accessByFile   = 1 << 3 // PTRACE_MODE_FSCREDS
	accessByItself = 1 << 4 // PTRACE_MODE_REALCREDS
)

// access derives the question whether the caller may look into another task,
// or attach to it. Threads of one process may always, without a question.
func (d *Deriver) access(c *Call, it *task.Details, mode uint32) error {
	if it.TGID == c.Task.TGID {
		return nil
	}
	if !d.mayAccess(c, it, mode) || mode&accessAttach != 0 && d.shared.Yama.refuses(d, c, it) {
		return unix.EPERM
	}
	cell := &tsem.AccessCheckCell{Mode: mode}
	cell.Child, _ = d.identity(it.TID)
	d.emit(tsem.PtraceAccessCheck, cell)
	return nil
}

// mayAccess is what the kernel itself asks before its security modules, and
// the first of these, capability.
func (d *Deriver) mayAccess(c *Call, it *task.Details, mode uint32) bool {
	if d.lens.CapableTo(c.Task, it.TID, unix.CAP_SYS_PTRACE) {
		return true
	}
	coe := &c.Task.Status.COE
	uid, gid := coe.UID, coe.GID
	if mode&accessByFile != 0 {
		uid, gid = coe.FSUID, coe.FSGID
	}
	if uid != it.COE.EUID || uid != it.COE.SUID || uid != it.COE.UID ||
		gid != it.COE.EGID || gid != it.COE.SGID || gid != it.COE.GID {
		return false
	}
	if it.Memory && !it.Dumpable() {
		return false
	}
	caps := coe.CapEff
	if mode&accessByFile == 0 {
		caps = d.permitted(c)
	}
	return it.Permitted&^caps == 0 && d.lens.SameUserNamespace(c.Task, it.TID)
}

// permitted is the permitted capabilities of the caller.
func (d *Deriver) permitted(c *Call) uint64 {
	own, err := task.ReadDetails(c.Task.TID)
	if err != nil {
		return c.Task.Status.COE.CapEff
	}
	return own.Permitted
}

// memoryAccess is access to the address space of a task, which must have one.
// Who shares it is not asked.
func (d *Deriver) memoryAccess(c *Call, it *task.Details, mode uint32) error {
	if !it.Memory {
		return unix.ESRCH
	}
	if it.TGID != c.Task.TGID {
		if same, err := kernel.SameMemory(c.Task.TID, it.TID); err == nil && same {
			return nil
		}
	}
	return d.access(c, it, mode)
}

// ptrace is ptrace: only the requests that begin to trace are asked about.
func ptrace(d *Deriver, c *Call) error {
	switch c.Args[0] {
	case unix.PTRACE_TRACEME:
		return d.traceme(c)
	case unix.PTRACE_ATTACH, unix.PTRACE_SEIZE:
	default:
		return nil
	}
	it, err := d.number(c, c.arg(1))
	if err != nil {
		return err
	}
	if c.Args[0] == unix.PTRACE_SEIZE {
		if c.Args[2] != 0 {
			return unix.EIO
		}
		const known = 0xff | unix.PTRACE_O_EXITKILL | unix.PTRACE_O_SUSPEND_SECCOMP
		if c.Args[3]&^known != 0 {
			return unix.EIO
		}
		if c.Args[3]&unix.PTRACE_O_SUSPEND_SECCOMP != 0 {
			return unix.EPERM // nobody may who is under a filter, as the caller is
		}
	}
	if it.Flags&task.FlagKernel != 0 || it.TGID == c.Task.TGID {
		return unix.EPERM
	}
	return d.reach(&it, d.access(c, &it, accessAttach|accessByItself))
}

// reach has a call that was granted access to a task refused if that is ours.
func (d *Deriver) reach(it *task.Details, err error) error {
	if err == nil {
		d.shield(it.TGID)
	}
	return err
}

// traceme is PTRACE_TRACEME: the parent is to trace.
func (d *Deriver) traceme(c *Call) error {
	own, err := task.ReadDetails(c.Task.TID)
	if err != nil {
		return err
	}
	if own.Tracer != 0 {
		return unix.EPERM
	}
	parent, err := task.ReadDetails(own.PPID)
	if err == nil && own.Permitted&^parent.Permitted != 0 && parent.COE.CapEff&(1<<unix.CAP_SYS_PTRACE) == 0 {
		return unix.EPERM
	}
	if err == nil && d.shared.Yama.refusesTraceme(&parent) {
		return unix.EPERM
	}
	cell := &tsem.TracemeCell{}
	cell.Source, _ = d.identity(own.PPID)
	d.emit(tsem.PtraceTraceme, cell)
	return nil
}

// processMemory is process_vm_readv and process_vm_writev.
func processMemory(d *Deriver, c *Call) error {
	if c.Args[5] != 0 {
		return unix.EINVAL
	}
	for _, i := range []int{1, 3} {
		size, err := d.vectors(c, c.Args[i], c.Args[i+1])
		if err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
	it, err := d.number(c, c.arg(0))
	if err != nil {
		return err
	}
	return d.reach(&it, d.memoryAccess(c, &it, accessAttach|accessByItself))
}

// processMadvise is process_madvise, on a process given by its pidfd.
func processMadvise(d *Deriver, c *Call) error {
	if uint32(c.Args[4]) != 0 {
		return unix.EINVAL
	}
	if _, err := d.vectors(c, c.Args[1], c.Args[2]); err != nil {
		return err
	}
	info, err := d.lens.FDInfo(c.Task, c.arg(0))
	if err != nil || info.PID <= 0 {
		return unix.EBADF
	}
	it, err := task.ReadDetails(info.PID)
	if err != nil {
		return unix.ESRCH
	}
	return d.reach(&it, d.memoryAccess(c, &it, accessRead|accessByFile))
}

// kcmp is kcmp, which looks into two tasks.
func kcmp(d *Deriver, c *Call) error {
	var both [2]task.Details
	for i := range both {
		it, err := d.number(c, c.arg(int8(i)))
		if err != nil {
			return err
		}
		both[i] = it
	}
	for i := range both {
		if err := d.access(c, &both[i], accessRead|accessByItself); err != nil {
			return err
		}
	}
	return nil
}

// lookInto is get_robust_list, and the calls that move pages of a task: 0 is
// the caller.
func lookInto(d *Deriver, c *Call) error {
	if c.arg(0) == 0 {
		return nil
	}
	it, err := d.number(c, c.arg(0))
	if err != nil {
		return err
	}
	return d.access(c, &it, accessRead|accessByItself)
}
