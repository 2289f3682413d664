// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	program "os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// register makes tid a task of the context, with an identity that begins with
// mark.
func (c *caller) register(tid int, mark byte) *task.Task {
	c.Helper()
	c.d.shared.Tasks.Root(tid)
	t, err := c.d.shared.Tasks.Current(tid, func(*task.Decision) {})
	if err != nil {
		c.Fatal(err)
	}
	t.TaskID[0] = mark
	return t
}

// registered makes the caller itself a task of the context.
func (c *caller) registered() {
	c.Helper()
	c.task = c.register(c.task.TID, 0xab)
}

// child starts a process that does nothing, as a task of the context.
func (c *caller) child(mark byte, attr *syscall.SysProcAttr) (pid int, it *task.Task) {
	c.Helper()
	cmd := program.Command("sleep", "1000")
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid, c.register(cmd.Process.Pid, mark)
}

// marked is the identity that register gives.
func marked(mark byte) tsem.Digest {
	id := make(tsem.Digest, 32)
	id[0] = mark
	return id
}

func about(kind tsem.Type, mark byte) Event { return Event{kind, &tsem.TaskCell{Task: marked(mark)}} }

func negative(n int32) uint64 { return uint64(uint32(n)) }

func TestGroupAndSession(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, it := c.child(0xcd, &syscall.SysProcAttr{Setpgid: true})
	stranger := os.Getppid()
	for name, kind := range map[string]tsem.Type{"getpgid": tsem.TaskGetpgid, "getsid": tsem.TaskGetsid} {
		c.want(c.derive(name, uint64(pid)), about(kind, 0xcd))
		c.want(c.derive(name, uint64(c.task.TID)), about(kind, 0xab))
		c.want(c.derive(name, uint64(stranger)), about(kind, 0))
		c.want(c.derive(name, 0)) // of oneself: nobody is asked
		c.want(c.derive(name, negative(-1)))
		c.want(c.derive(name, 1<<22+1))
	}

	as := func(args ...uint64) []Event {
		call := &Call{Task: it, Row: c.rows["setpgid"]}
		copy(call.Args[:], args)
		return c.d.Derive(call).Events
	}
	set := Event{tsem.TaskSetpgid, &tsem.SetpgidCell{Task: marked(0xcd), Source: marked(0xcd)}}
	c.want(as(0, 0), set)
	c.want(as(uint64(pid), uint64(pid)), set)
	c.want(as(0, negative(-1)))
	c.want(as(uint64(c.task.TID), 0)) // not its child
	// Into a group of the same session, which need not be of the context.
	own, err := task.ReadDetails(c.task.TID)
	if err != nil {
		t.Fatal(err)
	}
	c.want(as(0, uint64(own.Group)), Event{tsem.TaskSetpgid, &tsem.SetpgidCell{Task: marked(0xcd), Source: c.identityOf(own.Group)}})
	c.want(as(0, 1<<22+1)) // no such group
	// A child that has executed a program is left alone.
	c.want(c.derive("setpgid", uint64(pid), 0))
	// So is the leader of a session.
	_, it = c.child(0xef, &syscall.SysProcAttr{Setsid: true})
	c.want(as(0, 0))
}

func (c *caller) identityOf(pid int) tsem.Digest {
	id, _ := c.d.identity(pid)
	return id
}

func TestNice(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, it := c.child(0xcd, &syscall.SysProcAttr{Setpgid: true})
	nice := func(n int32) Event { return Event{tsem.TaskSetnice, &tsem.TaskValueCell{Task: marked(0xcd), Value: n}} }
	c.want(c.derive("setpriority", unix.PRIO_PROCESS, uint64(pid), 5), nice(5))
	c.want(c.derive("setpriority", unix.PRIO_PROCESS, uint64(pid), 100), nice(19))
	c.want(c.derive("setpriority", unix.PRIO_PGRP, uint64(pid), 7), nice(7))
	c.want(c.derive("setpriority", 3, uint64(pid), 7))
	c.want(c.derive("setpriority", unix.PRIO_PROCESS, 1<<22+1, 7))
	call := &Call{Task: it, Row: c.rows["nice"], Args: [6]uint64{3}}
	c.want(c.d.Derive(call).Events, nice(3))

	c.task.Status.COE.CapEff = 0
	c.want(c.derive("setpriority", unix.PRIO_PROCESS, uint64(pid), 5), nice(5))
	c.want(c.derive("setpriority", unix.PRIO_PROCESS, uint64(pid), negative(-20)))
	c.task.Status.COE.EUID = 4242
	c.want(c.derive("setpriority", unix.PRIO_PROCESS, uint64(pid), 5))
}

func TestNiceOfAUser(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	const user = 54321
	attr := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	c.child(0xcd, attr)
	c.child(0xce, attr)
	nice := func(mark byte) Event {
		return Event{tsem.TaskSetnice, &tsem.TaskValueCell{Task: marked(mark), Value: 5}}
	}
	c.want(c.derive("setpriority", unix.PRIO_USER, user, 5), nice(0xcd), nice(0xce))
	prio := func(mark byte) Event { return about(tsem.TaskGetioprio, mark) }
	c.want(c.derive("ioprio_get", ioprioUser, user), prio(0xcd), prio(0xce))
}

func TestIoprio(t *testing.T) {
	c := newCaller(t)
	pid, _ := c.child(0xcd, nil)
	set := func(n int32) Event {
		return Event{tsem.TaskSetioprio, &tsem.TaskValueCell{Task: marked(0xcd), Value: n}}
	}
	c.want(c.derive("ioprio_set", ioprioProcess, uint64(pid), 2<<13|4), set(2<<13|4))
	c.want(c.derive("ioprio_set", ioprioProcess, uint64(pid), 3<<13), set(3<<13))
	c.want(c.derive("ioprio_set", ioprioProcess, uint64(pid), 4<<13))
	c.want(c.derive("ioprio_set", ioprioProcess, uint64(pid), 4))
	c.want(c.derive("ioprio_set", 4, uint64(pid), 2<<13))
	c.want(c.derive("ioprio_get", ioprioProcess, uint64(pid)), about(tsem.TaskGetioprio, 0xcd))
	c.want(c.derive("ioprio_get", ioprioProcess, 1<<22+1))
	c.task.Status.COE.CapEff = 0
	c.want(c.derive("ioprio_set", ioprioProcess, uint64(pid), 1<<13))
	c.task.Status.COE.UID, c.task.Status.COE.EUID = 4242, 4242
	c.want(c.derive("ioprio_set", ioprioProcess, uint64(pid), 2<<13|4))
}

func TestLimits(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, _ := c.child(0xcd, nil)
	it, err := task.ReadDetails(pid)
	if err != nil {
		t.Fatal(err)
	}
	order := binary.NativeEndian
	limit := func(now, most uint64) uint64 {
		return c.bytes(order.AppendUint64(order.AppendUint64(nil, now), most))
	}
	ask := func(flags int32) Event {
		return Event{tsem.TaskPrlimit, &tsem.PrlimitCell{Cred: c.own(), TCred: tsem.Creds{COE: it.COE}, Flags: flags}}
	}
	set := func(mark byte, resource uint32, now, most uint64) Event {
		return Event{tsem.TaskSetrlimit, &tsem.SetrlimitCell{Task: marked(mark), Resource: resource, Current: now, Max: most}}
	}
	room := limit(0, 0)
	c.want(c.derive("prlimit64", uint64(pid), unix.RLIMIT_CORE, 0, room), ask(prlimitReads))
	c.want(c.derive("prlimit64", uint64(pid), unix.RLIMIT_CORE, limit(0, 0), room),
		ask(prlimitReads|prlimitWrites), set(0xcd, unix.RLIMIT_CORE, 0, 0))
	c.want(c.derive("prlimit64", uint64(pid), unix.RLIMIT_CORE, limit(1, 0), 0), ask(prlimitWrites))
	c.want(c.derive("prlimit64", uint64(pid), unix.RLIMIT_NOFILE, limit(1, 1<<40), 0), ask(prlimitWrites))
	c.want(c.derive("prlimit64", 0, unix.RLIMIT_CORE, 0, room)) // its own
	c.want(c.derive("prlimit64", uint64(c.task.TID), unix.RLIMIT_CORE, limit(0, 0), room), set(0xab, unix.RLIMIT_CORE, 0, 0))
	c.want(c.derive("prlimit64", 1<<22+1, unix.RLIMIT_CORE, 0, room))
	c.want(c.derive("setrlimit", unix.RLIMIT_CORE, limit(0, 0)), set(0xab, unix.RLIMIT_CORE, 0, 0))
	c.want(c.derive("setrlimit", rlimitCount, limit(0, 0)))
	c.want(c.derive("setrlimit", unix.RLIMIT_CORE, 8))

	c.task.Status.COE.UID, c.task.Status.COE.CapEff = 4242, 0
	c.want(c.derive("prlimit64", uint64(pid), unix.RLIMIT_CORE, 0, room))
}

func TestLimitsOf32BitPrograms(t *testing.T) {
	c := newCaller(t)
	c.registered()
	low := c.low()
	order := binary.NativeEndian
	at := low.put(order.AppendUint32(order.AppendUint32(nil, 0), 0xffffffff))
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &now); err != nil || now.Max != 1<<64-1 {
		t.Skip("needs a stack without a limit")
	}
	call := &Call{Task: c.task, Row: c.rows["setrlimit"], Compat: true, Args: [6]uint64{unix.RLIMIT_STACK, uint64(at)}}
	c.want(c.d.Derive(call).Events, Event{tsem.TaskSetrlimit, &tsem.SetrlimitCell{
		Task: marked(0xab), Resource: unix.RLIMIT_STACK, Max: 1<<64 - 1,
	}})
}

func TestScheduler(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, _ := c.child(0xcd, nil)
	order := binary.NativeEndian
	param := func(n uint32) uint64 { return c.bytes(order.AppendUint32(nil, n)) }
	attr := func(policy uint32, flags uint64, nice, priority uint32) uint64 {
		b := order.AppendUint32(nil, schedAttrSize)
		b = order.AppendUint32(b, policy)
		b = order.AppendUint64(b, flags)
		b = order.AppendUint32(b, nice)
		b = order.AppendUint32(b, priority)
		return c.bytes(append(b, make([]byte, 24)...))
	}
	mask := c.bytes([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	p := uint64(pid)
	set, get := about(tsem.TaskSetscheduler, 0xcd), about(tsem.TaskGetscheduler, 0xcd)
	c.want(c.derive("sched_setscheduler", p, schedBatch, param(0)), set)
	c.want(c.derive("sched_setscheduler", 0, schedBatch, param(0)), about(tsem.TaskSetscheduler, 0xab))
	c.want(c.derive("sched_setscheduler", p, schedBatch|schedResetOnFork, param(0)), set)
	c.want(c.derive("sched_setscheduler", p, schedBatch, param(1)))
	c.want(c.derive("sched_setscheduler", p, 99, param(0)))
	c.want(c.derive("sched_setscheduler", p, negative(-1), param(0)))
	c.want(c.derive("sched_setscheduler", p, schedBatch, 0))
	c.want(c.derive("sched_setparam", p, param(0)), set)
	c.want(c.derive("sched_setparam", p, param(1)))
	c.want(c.derive("sched_setattr", p, attr(schedNormal, 0, 5, 0), 0), set)
	c.want(c.derive("sched_setattr", p, attr(schedNormal, 0x1000, 5, 0), 0))
	c.want(c.derive("sched_setattr", p, attr(schedNormal, 0, 5, 0), 1))
	c.want(c.derive("sched_setattr", p, attr(schedDeadline, 0, 0, 0), 0))
	c.want(c.derive("sched_setaffinity", p, 8, mask), set)
	c.want(c.derive("sched_setaffinity", p, 8, 8))

	c.want(c.derive("sched_getscheduler", p), get)
	c.want(c.derive("sched_getscheduler", 0), about(tsem.TaskGetscheduler, 0xab))
	c.want(c.derive("sched_getscheduler", negative(-1)))
	c.want(c.derive("sched_getparam", p, param(0)), get)
	c.want(c.derive("sched_getparam", p, 0))
	c.want(c.derive("sched_getattr", p, mask, schedAttrSize, 0), get)
	c.want(c.derive("sched_getattr", p, mask, schedAttrSize-1, 0))
	c.want(c.derive("sched_rr_get_interval", p, mask), get)
	c.want(c.derive("sched_getaffinity", p, 1024, mask), get)
	c.want(c.derive("sched_getaffinity", p, 1023, mask))
	c.want(c.derive("sched_getaffinity", p, 0, mask))

	c.task.Status.COE.CapEff = 0
	c.want(c.derive("sched_setscheduler", p, schedFIFO, param(1)))
	c.task.Status.COE.EUID = 4242
	c.want(c.derive("sched_setscheduler", p, schedBatch, param(0)))
	c.want(c.derive("sched_setaffinity", p, 8, mask))
}
