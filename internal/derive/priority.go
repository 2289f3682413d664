// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Whom a priority call is about, from linux/ioprio.h. The kernel counts the
// same three from 0 for setpriority.
const (
	ioprioProcess = 1
	ioprioGroup   = 2
	ioprioUser    = 3
)

const (
	niceMin, niceMax, niceWidth = -20, 19, 40

	ioprioClassShift = 13
	ioprioRealtime   = 1
	ioprioIdle       = 3
	ioprioLevels     = 7
)

// everyone finds the tasks that a priority call is about, in the kernel's
// order. which counts from ioprioProcess; own tells that user 0 means the
// caller's own.
func (d *Deriver) everyone(c *Call, which, who int32, own bool) ([]int, error) {
	switch which {
	case ioprioProcess:
		if who == 0 {
			return []int{c.Task.TID}, nil
		}
		tid, err := d.pid(c, who)
		return []int{tid}, err
	case ioprioGroup:
		if who == 0 {
			me, err := task.ReadDetails(c.Task.TID)
			return task.GroupThreads(me.Group), err
		}
		pgrp, err := d.pid(c, who)
		return task.GroupThreads(pgrp), err
	case ioprioUser:
		uid := c.Task.Status.COE.UID
		if who != 0 || !own {
			var ok bool
			if uid, ok = d.lens.FromUID(c.Task, uint32(who)); !ok {
				return nil, unix.ESRCH
			}
		}
		var tids []int
		for _, tid := range task.AllThreads() {
			if it, err := task.ReadDetails(tid); err == nil && it.COE.UID == uid {
				tids = append(tids, tid)
			}
		}
		return tids, nil
	}
	return nil, unix.EINVAL
}

// setpriority is setpriority: each of the tasks it is about is asked for.
func setpriority(d *Deriver, c *Call) error {
	tids, err := d.everyone(c, c.arg(0)+ioprioProcess, c.arg(1), true)
	if err != nil {
		return err
	}
	nice := min(max(c.arg(2), niceMin), niceMax)
	for _, tid := range tids {
		it, err := task.ReadDetails(tid)
		if err != nil {
			continue
		}
		if !d.owner(c, &it) && !d.lens.CapableTo(c.Task, tid, unix.CAP_SYS_NICE) {
			continue
		}
		if nice < it.Nice && !d.mayReduceNice(c, tid, nice) || !d.mayCarry(c, &it) {
			continue
		}
		d.emitValue(tsem.TaskSetnice, tid, nice)
		if c.arg(0)+ioprioProcess == ioprioProcess {
			d.shield(it.TGID)
		}
	}
	return nil
}

// nice is nice, of 32-bit programs.
func nice(d *Deriver, c *Call) error {
	own, err := task.ReadDetails(c.Task.TID)
	if err != nil {
		return err
	}
	step := min(max(c.arg(0), -niceWidth), niceWidth)
	value := min(max(own.Nice+step, niceMin), niceMax)
	if step < 0 && !d.mayReduceNice(c, c.Task.TID, value) {
		return unix.EPERM
	}
	d.emitValue(tsem.TaskSetnice, c.Task.TID, value)
	return nil
}

// emitValue emits an event that tells of a task and a number for it.
func (d *Deriver) emitValue(kind tsem.Type, tid int, value int32) {
	cell := &tsem.TaskValueCell{Value: value}
	cell.Task, _ = d.identity(tid)
	d.emit(kind, cell)
}

// owner tells whether the caller acts as the user of a task.
func (d *Deriver) owner(c *Call, it *task.Details) bool {
	euid := c.Task.Status.COE.EUID
	return euid == it.COE.EUID || euid == it.COE.UID
}

// mayReduceNice tells whether the limits of a task, or the capabilities of the
// caller, allow a nice value.
func (d *Deriver) mayReduceNice(c *Call, tid int, nice int32) bool {
	return uint64(niceMax+1-nice) <= limitOf(tid, rlimitNice) || d.lens.Capable(c.Task, unix.CAP_SYS_NICE)
}

// mayCarry is what the security module capability asks when the priority of a
// task changes: that it is permitted no more than the caller.
func (d *Deriver) mayCarry(c *Call, it *task.Details) bool {
	return it.TID == c.Task.TID || d.lens.CapableTo(c.Task, it.TID, unix.CAP_SYS_NICE) ||
		it.Permitted&^d.permitted(c) == 0
}

// ioprioSet is ioprio_set. The first task that it may not be done to ends it.
func ioprioSet(d *Deriver, c *Call) error {
	value := c.arg(2)
	switch class := uint32(value) >> ioprioClassShift; {
	case class > ioprioIdle:
		return unix.EINVAL
	case class == 0 && value&ioprioLevels != 0:
		return unix.EINVAL
	case class == ioprioRealtime && !d.lens.Capable(c.Task, unix.CAP_SYS_ADMIN) && !d.lens.Capable(c.Task, unix.CAP_SYS_NICE):
		return unix.EPERM
	}
	tids, err := d.everyone(c, c.arg(0), c.arg(1), false)
	if err != nil {
		return err
	}
	coe := &c.Task.Status.COE
	for _, tid := range tids {
		it, err := task.ReadDetails(tid)
		if err != nil {
			continue
		}
		if it.COE.UID != coe.EUID && it.COE.UID != coe.UID && !d.lens.Capable(c.Task, unix.CAP_SYS_NICE) ||
			!d.mayCarry(c, &it) {
			return unix.EPERM
		}
		d.emitValue(tsem.TaskSetioprio, tid, value)
		if c.arg(0) == ioprioProcess {
			d.shield(it.TGID)
		}
	}
	return nil
}

// ioprioGet is ioprio_get.
func ioprioGet(d *Deriver, c *Call) error {
	tids, err := d.everyone(c, c.arg(0), c.arg(1), false)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		if _, err := task.ReadDetails(tid); err == nil {
			d.emitTask(tsem.TaskGetioprio, tid)
		}
	}
	return nil
}
