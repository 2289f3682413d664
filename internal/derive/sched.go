// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Scheduling policies that the standard library's packages leave out, and the
// bit that may accompany them.
const (
	schedNormal, schedFIFO, schedRR, schedBatch = 0, 1, 2, 3
	schedIdle, schedDeadline, schedExt          = 5, 6, 7

	schedKeep         = -1         // the policy stays as it is
	schedResetOnFork  = 0x40000000 // with a policy
	schedFlagReset    = 0x01       // the same, in the flags of struct sched_attr
	schedFlagKeep     = 0x08
	schedFlagKeepRest = 0x10
	schedFlagsAll     = 0x7f

	schedPriorityMax = 99
	schedAttrSize    = 48 // of the first version
)

// schedule is what a call asks of the scheduler.
type schedule struct {
	policy   int32
	flags    uint64
	nice     int32
	keepNice bool // as it is
	priority uint32
	keepRest bool // nice and priority as they are
	// of SCHED_DEADLINE, in nanoseconds
	runtime, deadline, period uint64
}

// schedSetscheduler is sched_setscheduler.
func schedSetscheduler(d *Deriver, c *Call) error {
	if c.arg(1) < 0 {
		return unix.EINVAL
	}
	return d.setScheduler(c, c.arg(1), c.Args[2])
}

// schedSetparam is sched_setparam: the policy stays.
func schedSetparam(d *Deriver, c *Call) error { return d.setScheduler(c, schedKeep, c.Args[1]) }

func (d *Deriver) setScheduler(c *Call, policy int32, param uint64) error {
	if param == 0 || c.arg(0) < 0 {
		return unix.EINVAL
	}
	priority, err := d.word32(c, param)
	if err != nil {
		return err
	}
	s := schedule{policy: policy, priority: priority, keepNice: true}
	if policy != schedKeep && policy&schedResetOnFork != 0 {
		s.policy &^= schedResetOnFork
		s.flags = schedFlagReset
	}
	return d.reschedule(c, &s)
}

// schedSetattr is sched_setattr.
func schedSetattr(d *Deriver, c *Call) error {
	if c.Args[1] == 0 || c.arg(0) < 0 || uint32(c.Args[2]) != 0 {
		return unix.EINVAL
	}
	size, err := d.word32(c, c.Args[1])
	if err != nil {
		return err
	}
	if size == 0 {
		size = schedAttrSize
	}
	if size < schedAttrSize || size > 4096 {
		return unix.E2BIG
	}
	var b [schedAttrSize]byte
	if err := d.lens.Read(c.Task, c.Args[1], b[:]); err != nil {
		return unreadable(err)
	}
	order := binary.NativeEndian
	s := schedule{
		policy: int32(order.Uint32(b[4:])), flags: order.Uint64(b[8:]),
		nice: int32(order.Uint32(b[16:])), priority: order.Uint32(b[20:]),
		runtime: order.Uint64(b[24:]), deadline: order.Uint64(b[32:]), period: order.Uint64(b[40:]),
	}
	s.nice = min(max(s.nice, niceMin), niceMax)
	if s.policy < 0 {
		return unix.EINVAL
	}
	if s.flags&schedFlagKeep != 0 {
		s.policy = schedKeep
	}
	s.keepRest = s.flags&schedFlagKeepRest != 0
	return d.reschedule(c, &s)
}

// reschedule checks what the kernel does when a task is to be scheduled in
// another way, and emits the hook.
func (d *Deriver) reschedule(c *Call, s *schedule) error {
	it, err := d.scheduled(c)
	if err != nil {
		return err
	}
	now, err := unix.SchedGetAttr(it.TID, 0)
	if err != nil {
		return unix.ESRCH
	}
	if s.keepNice || s.keepRest {
		s.nice = it.Nice
	}
	if s.keepRest {
		s.priority = now.Priority
	}
	reset := s.flags&schedFlagReset != 0
	if s.policy < 0 {
		s.policy = int32(now.Policy)
		reset = now.Flags&schedFlagReset != 0
	}
	realtime := s.policy == schedFIFO || s.policy == schedRR
	switch {
	case s.policy < 0 || s.policy > schedExt || s.policy == 4:
		return unix.EINVAL
	case s.flags&^schedFlagsAll != 0, s.priority > schedPriorityMax, realtime != (s.priority != 0):
		return unix.EINVAL
	case s.policy == schedDeadline && !s.feasible():
		return unix.EINVAL
	}
	if d.needsPrivilege(c, &it, now, s, reset) && !d.lens.Capable(c.Task, unix.CAP_SYS_NICE) || !d.mayCarry(c, &it) {
		return unix.EPERM
	}
	d.emitTask(tsem.TaskSetscheduler, it.TID)
	d.shield(it.TGID)
	return nil
}

// feasible is the kernel's check of the parameters of SCHED_DEADLINE.
func (s *schedule) feasible() bool {
	const least, most = 1024, 1 << 63
	period := s.period
	if period == 0 {
		period = s.deadline
	}
	return s.deadline != 0 && s.runtime >= least && s.deadline < most && s.period < most &&
		period >= s.deadline && s.deadline >= s.runtime
}

// needsPrivilege tells whether the change goes beyond what every task may do
// to those of its user.
func (d *Deriver) needsPrivilege(c *Call, it *task.Details, now *unix.SchedAttr, s *schedule, reset bool) bool {
	reduces := func(nice int32) bool { return uint64(niceMax+1-nice) <= limitOf(it.TID, rlimitNice) }
	old := int32(now.Policy)
	switch s.policy {
	case schedNormal, schedBatch, schedExt:
		if s.nice < it.Nice && !reduces(s.nice) {
			return true
		}
	case schedFIFO, schedRR:
		limit := limitOf(it.TID, rlimitRealtime)
		if s.policy != old && limit == 0 || s.priority > now.Priority && uint64(s.priority) > limit {
			return true
		}
	case schedDeadline:
		return true
	}
	return old == schedIdle && s.policy != schedIdle && !reduces(it.Nice) ||
		!d.owner(c, it) || now.Flags&schedFlagReset != 0 && !reset
}

// scheduled finds the task that a call of the scheduler is about: 0 is the
// caller.
func (d *Deriver) scheduled(c *Call) (task.Details, error) {
	if c.arg(0) != 0 {
		return d.number(c, c.arg(0))
	}
	return task.ReadDetails(c.Task.TID)
}

// schedSetaffinity is sched_setaffinity.
func schedSetaffinity(d *Deriver, c *Call) error {
	var b [1]byte
	if uint32(c.Args[1]) > 0 {
		if err := d.lens.Read(c.Task, c.Args[2], b[:]); err != nil {
			return unreadable(err)
		}
	}
	it, err := d.scheduled(c)
	if err != nil {
		return unix.ESRCH
	}
	if it.Flags&task.FlagPinned != 0 {
		return unix.EINVAL
	}
	if !d.owner(c, &it) && !d.lens.CapableTo(c.Task, it.TID, unix.CAP_SYS_NICE) || !d.mayCarry(c, &it) {
		return unix.EPERM
	}
	d.emitTask(tsem.TaskSetscheduler, it.TID)
	d.shield(it.TGID)
	return nil
}

// getScheduler is sched_getscheduler and sched_rr_get_interval.
func getScheduler(d *Deriver, c *Call) error {
	if c.arg(0) < 0 {
		return unix.EINVAL
	}
	it, err := d.scheduled(c)
	if err != nil {
		return unix.ESRCH
	}
	d.emitTask(tsem.TaskGetscheduler, it.TID)
	return nil
}

// schedGetparam is sched_getparam.
func schedGetparam(d *Deriver, c *Call) error {
	if c.Args[1] == 0 {
		return unix.EINVAL
	}
	return getScheduler(d, c)
}

// schedGetattr is sched_getattr.
func schedGetattr(d *Deriver, c *Call) error {
	size := uint32(c.Args[2])
	if c.Args[1] == 0 || size < schedAttrSize || size > 4096 || uint32(c.Args[3]) != 0 {
		return unix.EINVAL
	}
	return getScheduler(d, c)
}

// schedGetaffinity is sched_getaffinity: the mask must have room for all CPUs.
func schedGetaffinity(d *Deriver, c *Call) error {
	size := uint32(c.Args[1])
	if uint64(size)*8 < possibleCPUs() || uint64(size)&(c.wordSize()-1) != 0 {
		return unix.EINVAL
	}
	it, err := d.scheduled(c)
	if err != nil {
		return unix.ESRCH
	}
	d.emitTask(tsem.TaskGetscheduler, it.TID)
	return nil
}

// possibleCPUs is one more than the highest number that a CPU can have.
func possibleCPUs() uint64 {
	b, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return 1
	}
	list := strings.TrimSpace(string(b))
	last, err := strconv.ParseUint(list[strings.LastIndexAny(list, "-,")+1:], 10, 32)
	if err != nil {
		return 1
	}
	return last + 1
}
