// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"quixote-export/tsem"
)

// Target is a task that a call names, whether or not it is of the context.
type Target struct {
	PID, TGID int
	COE       tsem.COE
}

// LookAt reads what decides about signals to task pid.
func LookAt(pid int) (Target, error) {
	var s Status
	if err := s.ReadStatus(pid, make([]byte, 4096)); err != nil {
		return Target{}, err
	}
	return Target{PID: pid, TGID: s.TGID, COE: s.COE}, nil
}

// SameSession tells whether the target and task tid are in one session.
func (t *Target) SameSession(tid int) bool {
	buf := make([]byte, 1024)
	a, err := readStat(t.PID, buf)
	if err != nil {
		return false
	}
	b, err := readStat(tid, buf)
	return err == nil && a.session == b.session
}

// InGroup tells whether tid is a thread of process tgid.
func InGroup(tid, tgid int) bool {
	var s Status
	return s.ReadStatus(tid, make([]byte, 4096)) == nil && s.TGID == tgid
}

// Everybody lists the processes that a signal to -1 from task tid of process
// tgid goes to: all that it sees but the first, and itself. ours tells that it
// numbers tasks as we do.
func Everybody(tid, tgid int, ours bool) ([]Target, error) {
	if ours {
		return list(func(pid int) bool { return pid > 1 && pid != tgid })
	}
	v, err := viewOf(tid)
	if err != nil {
		return nil, err
	}
	return list(func(pid int) bool { return pid != tgid && v.number(pid) > 1 })
}

// ProcessGroup lists the processes of a process group.
func ProcessGroup(pgrp int) ([]Target, error) {
	buf := make([]byte, 1024)
	return list(func(pid int) bool {
		st, err := readStat(pid, buf)
		return err == nil && st.pgrp == pgrp
	})
}

// OwnGroup lists the processes of the process group of tid.
func OwnGroup(tid int) ([]Target, error) {
	st, err := readStat(tid, make([]byte, 1024))
	if err != nil {
		return nil, err
	}
	return ProcessGroup(st.pgrp)
}

func list(want func(pid int) bool) ([]Target, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	var targets []Target
	for _, pid := range pids {
		if want(pid) {
			targets = append(targets, Target{PID: pid})
		}
	}
	return targets, nil
}
