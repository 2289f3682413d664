// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"bytes"
	"sort"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// Details is what decides about acts on a task, whether or not it is of the
// context. Numbers are those of our own pid namespace.
type Details struct {
	TID, TGID, PPID int
	Tracer          int // 0: not traced
	Group, Session  int
	COE             tsem.COE
	Inheritable     uint64
	Permitted       uint64
	Bounding        uint64
	Ambient         uint64
	Memory          bool   // it has an address space: no kernel thread, not dead
	Flags           uint32 // PF_ bits
	Nice            int32
	Start           uint64 // clock ticks since boot
}

// Bits of Details.Flags, from include/linux/sched.h.
const (
	FlagNotExecuted = 0x00000040 // forked, and no program executed since
	FlagKernel      = 0x00200000 // a kernel thread
	FlagPinned      = 0x04000000 // its CPUs cannot be chosen
)

// ReadDetails reads the details of task tid. An error means that there is none.
func ReadDetails(tid int) (d Details, err error) {
	buf := make([]byte, 4096)
	b, err := kernel.ReadStatus(tid, buf)
	if err != nil {
		return d, err
	}
	var s Status
	if err := s.parse(b); err != nil {
		return d, err
	}
	d = Details{TID: tid, TGID: s.TGID, PPID: s.PPID, COE: s.COE}
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(":\t"))
		switch string(name) {
		case "TracerPid":
			d.Tracer = int(number(value, 10))
		case "VmSize":
			d.Memory = true
		case "CapInh":
			d.Inheritable = number(value, 16)
		case "CapPrm":
			d.Permitted = number(value, 16)
		case "CapBnd":
			d.Bounding = number(value, 16)
		case "CapAmb":
			d.Ambient = number(value, 16)
		}
	}
	b, err = kernel.ReadProc(tid, "stat", buf)
	if err != nil {
		return d, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return d, errStatus
	}
	d.Group, d.Session = int(number(f[2], 10)), int(number(f[3], 10))
	d.Flags = uint32(number(f[6], 10))
	d.Nice = int32(signed(f[16]))
	d.Start = number(f[19], 10)
	return d, nil
}

func signed(b []byte) int64 {
	if len(b) > 0 && b[0] == '-' {
		return -int64(number(b[1:], 10))
	}
	return int64(number(b, 10))
}

// Dumpable tells whether the task lets others of its user look into it. The
// kernel shows that in who owns its files in /proc; of tasks of root it does
// not show.
func (d *Details) Dumpable() bool {
	var st unix.Stat_t
	err := unix.Stat(kernel.ProcPath(d.TID, "stat"), &st)
	return err != nil || st.Uid == d.COE.EUID && st.Gid == d.COE.EGID
}

// GroupThreads lists the threads of the processes in a process group as the
// kernel goes through them: the latest process first.
func GroupThreads(pgrp int) (tids []int) {
	buf := make([]byte, 1024)
	pids, _ := processes()
	sort.Sort(sort.Reverse(sort.IntSlice(pids)))
	for _, pid := range pids {
		if st, err := readStat(pid, buf); err == nil && st.pgrp == pgrp {
			tids = append(tids, sortedThreads(pid)...)
		}
	}
	return tids
}

// AllThreads lists the threads of all processes, the oldest first.
func AllThreads() (tids []int) {
	pids, _ := processes()
	sort.Ints(pids)
	for _, pid := range pids {
		tids = append(tids, sortedThreads(pid)...)
	}
	return tids
}

func sortedThreads(pid int) []int {
	tids := threads(pid)
	sort.Ints(tids)
	return tids
}

// NumberInNamespace is what task tid is called in its own pid namespace.
func NumberInNamespace(tid int) int {
	n := numbers(tid)
	if len(n) == 0 {
		return 0
	}
	return n[len(n)-1]
}
