// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// setpgid is setpgid, on the caller or on a child that has not executed a
// program yet.
func setpgid(d *Deriver, c *Call) error {
	pid, pgid := c.arg(0), c.arg(1)
	if pid < 0 {
		return unix.ESRCH
	}
	if pgid < 0 {
		return unix.EINVAL
	}
	it, err := task.ReadDetails(c.Task.TGID)
	if err != nil {
		return unix.ESRCH
	}
	session := it.Session
	if pid != 0 {
		if it, err = d.number(c, pid); err != nil {
			return err
		}
	}
	leader := it.TID == c.Task.TGID
	switch {
	case it.TID != it.TGID:
		return unix.EINVAL
	case it.PPID == c.Task.TGID && it.Session != session:
		return unix.EPERM
	case it.PPID == c.Task.TGID && it.Flags&task.FlagNotExecuted == 0:
		return unix.EACCES
	case it.PPID != c.Task.TGID && !leader:
		return unix.ESRCH
	case it.Session == it.TID:
		return unix.EPERM
	}
	cell := &tsem.SetpgidCell{}
	cell.Task, _ = d.identity(it.TID)
	cell.Source = cell.Task
	if pgid != 0 && pgid != pid {
		group, err := d.pid(c, pgid)
		if err != nil {
			return unix.EPERM
		}
		if group != it.TID && !inSession(group, session) {
			return unix.EPERM
		}
		cell.Source, _ = d.identity(group)
	}
	d.emit(tsem.TaskSetpgid, cell)
	return nil
}

// inSession tells whether a process group has members, in a session.
func inSession(pgrp, session int) bool {
	for _, tid := range task.GroupThreads(pgrp) {
		it, err := task.ReadDetails(tid)
		return err == nil && it.Session == session
	}
	return false
}

// getpgid is getpgid. Nobody is asked when a task wants to know of itself by
// the number 0.
func getpgid(d *Deriver, c *Call) error { return d.about(c, tsem.TaskGetpgid) }

// getsid is getsid.
func getsid(d *Deriver, c *Call) error { return d.about(c, tsem.TaskGetsid) }

func (d *Deriver) about(c *Call, kind tsem.Type) error {
	if c.arg(0) == 0 {
		return nil
	}
	it, err := d.number(c, c.arg(0))
	if err != nil {
		return err
	}
	d.emitTask(kind, it.TID)
	return nil
}

// emitTask emits an event that tells of a task and nothing more.
func (d *Deriver) emitTask(kind tsem.Type, tid int) {
	cell := &tsem.TaskCell{}
	cell.Task, _ = d.identity(tid)
	d.emit(kind, cell)
}
