// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

func looked(mark byte, mode uint32) Event {
	return Event{tsem.PtraceAccessCheck, &tsem.AccessCheckCell{Child: marked(mark), Mode: mode}}
}

const (
	readsFiles  = accessRead | accessByFile
	readsItself = accessRead | accessByItself
	attaches    = accessAttach | accessByItself
)

func TestPtrace(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, it := c.child(0xcd, nil)
	p := uint64(pid)
	c.want(c.derive("ptrace", unix.PTRACE_ATTACH, p), looked(0xcd, 18))
	c.want(c.derive("ptrace", unix.PTRACE_SEIZE, p, 0, 0), looked(0xcd, 18))
	c.want(c.derive("ptrace", unix.PTRACE_SEIZE, p, 1, 0))
	c.want(c.derive("ptrace", unix.PTRACE_SEIZE, p, 0, 1<<30))
	c.want(c.derive("ptrace", unix.PTRACE_ATTACH, uint64(c.task.TID))) // itself
	c.want(c.derive("ptrace", unix.PTRACE_ATTACH, 1<<22+1))
	c.want(c.derive("ptrace", unix.PTRACE_CONT, p))

	traceme := &Call{Task: it, Row: c.rows["ptrace"]}
	c.register(os.Getpid(), 0xee)
	c.want(c.d.Derive(traceme).Events, Event{tsem.PtraceTraceme, &tsem.TracemeCell{Source: marked(0xee)}})

	c.task.Status.COE.UID, c.task.Status.COE.CapEff = 4242, 0
	c.want(c.derive("ptrace", unix.PTRACE_ATTACH, p))
}

// Yama refuses to attach who is not above, unless told otherwise.
func TestYama(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, it := c.child(0xcd, nil)
	other, sibling := c.child(0xce, nil)
	scope := 1
	c.d.shared.Yama.scope = func() int { return scope }
	as := func(who *task.Task, name string, args ...uint64) []Event {
		t.Helper()
		call := &Call{Task: who, Row: c.rows[name]}
		copy(call.Args[:], args)
		return c.d.Derive(call).Events
	}
	attach := func(who *task.Task, pid int) []Event { return as(who, "ptrace", unix.PTRACE_ATTACH, uint64(pid)) }
	allow := func(tracer uint64) int { return len(as(it, "prctl", unix.PR_SET_PTRACER, tracer)) }

	c.want(attach(c.task, pid), looked(0xcd, attaches))
	sibling.Status.COE.CapEff = it.Status.COE.CapEff
	if sibling.Status.COE.CapEff&(1<<unix.CAP_SYS_PTRACE) != 0 {
		c.want(attach(sibling, pid), looked(0xcd, attaches))
		sibling.Status.COE.CapEff &^= 1 << unix.CAP_SYS_PTRACE
	}
	ordinary := details(t, pid).Permitted == 0
	if ordinary { // else the sibling, without the capability, has less than the task
		c.want(attach(sibling, pid))
		c.want(as(sibling, "kcmp", uint64(pid), uint64(other), 0), looked(0xcd, readsItself))
	}
	y, details := c.d.shared.Yama, details(t, pid)
	for _, step := range []struct {
		tracer    uint64
		events    int
		forbidden bool
	}{
		{0, 1, true}, {negative(-1), 1, false}, {0, 1, true}, {uint64(other), 1, false}, {1<<22 + 1, 0, false},
		{uint64(c.task.TGID), 1, false}, {uint64(pid), 1, true},
	} {
		if n := allow(step.tracer); n != step.events {
			t.Errorf("PR_SET_PTRACER %d: %d events", int32(step.tracer), n)
		}
		if got := y.refuses(c.d, &Call{Task: sibling}, &details); got != step.forbidden {
			t.Errorf("PR_SET_PTRACER %d: refused %v", int32(step.tracer), got)
		}
	}
	c.register(os.Getpid(), 0xee)
	for n, want := range map[int]int{0: 1, 1: 1, 2: 1, 3: 0} {
		scope = n
		if n == 2 && ordinary {
			want = 0
		}
		if got := len(as(it, "ptrace", unix.PTRACE_TRACEME)); got != want {
			t.Errorf("ptrace_scope %d: traceme has %d events", n, got)
		}
		if got := len(attach(c.task, pid)); got != want {
			t.Errorf("ptrace_scope %d: attach has %d events", n, got)
		}
	}
}

func TestLookingIntoMemory(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, _ := c.child(0xcd, nil)
	p := uint64(pid)
	order := binary.NativeEndian
	one := c.bytes(order.AppendUint64(order.AppendUint64(nil, 4096), 8))
	none := c.bytes(make([]byte, 16))
	for _, name := range []string{"process_vm_readv", "process_vm_writev"} {
		c.want(c.derive(name, p, one, 1, one, 1, 0), looked(0xcd, attaches))
		c.want(c.derive(name, p, one, 1, one, 1, 1))
		c.want(c.derive(name, p, none, 1, one, 1, 0))
		c.want(c.derive(name, p, one, 1, none, 1, 0))
		c.want(c.derive(name, p, one, 1, 8, 1, 0))
		c.want(c.derive(name, uint64(c.task.TID), one, 1, one, 1, 0))
	}
	c.want(c.derive("kcmp", p, uint64(c.task.TID), 0, 0, 0), looked(0xcd, readsItself))
	c.want(c.derive("kcmp", p, p, 0, 0, 0), looked(0xcd, readsItself), looked(0xcd, readsItself))
	c.want(c.derive("kcmp", p, 1<<22+1, 0, 0, 0))
	for _, name := range []string{"get_robust_list", "move_pages", "migrate_pages"} {
		c.want(c.derive(name, p), looked(0xcd, readsItself))
		c.want(c.derive(name, 0))
	}

	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	c.want(c.derive("process_madvise", uint64(pidfd), one, 1, 0, 0), looked(0xcd, readsFiles))
	events := c.derive("pidfd_getfd", uint64(pidfd), 0, 0)
	if len(events) != 2 {
		t.Fatalf("pidfd_getfd: %s", list(events))
	}
	c.want(events[:1], looked(0xcd, attaches))
}

// perf_event_open asks for those who may not watch the whole system.
func TestPerfEventOpen(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, _ := c.child(0xcd, nil)
	attr := func(kind uint32, bits uint64) uint64 {
		b := make([]byte, 128)
		binary.NativeEndian.PutUint32(b, kind)
		binary.NativeEndian.PutUint32(b[4:], 128)
		binary.NativeEndian.PutUint64(b[40:], bits)
		return c.bytes(b)
	}
	open := func(kind uint32, bits uint64, pid int, flags uint64) []Event {
		return c.derive("perf_event_open", attr(kind, bits), negative(int32(pid)), negative(-1), negative(-1), flags)
	}
	if c.task.Status.COE.CapEff&(1<<unix.CAP_PERFMON) != 0 {
		c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, pid, 0))
	}
	c.task.Status.COE.CapEff &^= 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_ADMIN
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, pid, 0), looked(0xcd, readsItself))
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel|perfSigtrap, pid, 0), looked(0xcd, attaches))
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, c.task.TID, 0))
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, 0, 0))
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, -1, 0))
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, 1<<22+1, 0))
	c.want(open(unix.PERF_TYPE_SOFTWARE, perfNoKernel, pid, 1<<10))
	c.want(open(987654, perfNoKernel, pid, 0))
	if perfParanoid() > 1 {
		c.want(open(unix.PERF_TYPE_SOFTWARE, 0, pid, 0))
	}
	c.want(c.derive("perf_event_open", 8, uint64(pid), 0, 0, 0))
}

func TestLookingThroughProc(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, _ := c.child(0xcd, nil)
	buf := c.bytes(make([]byte, 4096))
	at := func(format string, pid int) uint64 { return c.text(fmt.Sprintf(format, pid)) }
	open := func(name string, flags uint64) []Event {
		return c.derive("openat", negative(unix.AT_FDCWD), at("/proc/%d/"+name, pid), flags)
	}
	for name, mode := range map[string]uint32{
		"environ": 9, "maps": 9, "auxv": 9, "attr/current": 9, "mem": 10, "stat": 13, "wchan": 9,
		"io": 9, "syscall": 10, "personality": 10, "status": 0, "cmdline": 0, "comm": 0,
	} {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/%s", pid, name)); err != nil {
			continue // the kernel has no such file
		}
		events := open(name, unix.O_RDONLY)
		if mode == 0 {
			if len(events) != 1 {
				t.Errorf("%s: %s", name, list(events))
			}
			continue
		}
		if len(events) != 2 || events[0].Type != tsem.FileOpen {
			t.Errorf("%s: %s", name, list(events))
			continue
		}
		c.want(events[1:], looked(0xcd, mode))
	}
	if events := c.derive("openat", negative(unix.AT_FDCWD), c.text("/proc/self/environ"), unix.O_RDONLY); len(events) != 1 {
		t.Errorf("of itself: %s", list(events))
	}
	if events := open("fdinfo/0", unix.O_RDONLY); len(events) != 2 {
		t.Errorf("fdinfo: %s", list(events))
	} else {
		c.want(events[:1], looked(0xcd, 9))
	}
	c.want(open("fdinfo", unix.O_RDONLY|unix.O_DIRECTORY), looked(0xcd, 9))

	for _, name := range []string{"exe", "cwd", "root", "fd/0", "ns/pid"} {
		c.want(c.derive("readlinkat", negative(unix.AT_FDCWD), at("/proc/%d/"+name, pid), buf, 4096), looked(0xcd, 9))
		c.want(c.derive("readlinkat", negative(unix.AT_FDCWD), at("/proc/%d/"+name, c.task.TGID), buf, 4096))
		events := c.derive("newfstatat", negative(unix.AT_FDCWD), at("/proc/%d/"+name, pid), buf, 0)
		if len(events) != 2 || events[1].Type != tsem.InodeGetattr {
			t.Errorf("stat of %s: %s", name, list(events))
			continue
		}
		c.want(events[:1], looked(0xcd, 9))
	}
	c.want(c.derive("readlinkat", negative(unix.AT_FDCWD), at("/proc/%d/exe", pid), buf, 0))
	c.want(c.derive("readlinkat", negative(unix.AT_FDCWD), c.text("/proc/self"), buf, 4096))
}

// Where the kernel does not let a task pass, nothing that lies behind is told.
func TestDeniedByProc(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	pid, _ := c.child(0xcd, nil)
	c.task.Status.COE = tsem.COE{UID: 65534, EUID: 65534, SUID: 65534, FSUID: 65534}
	at := c.text(fmt.Sprintf("/proc/%d/exe", pid))
	c.want(c.derive("newfstatat", negative(unix.AT_FDCWD), at, 8, 0))
	c.want(c.derive("readlinkat", negative(unix.AT_FDCWD), at, 8, 4096))
}

func TestProcName(t *testing.T) {
	for path, want := range map[string]string{
		"/proc/12/stat":              "12 stat",
		"/jail/proc/12/task/13/exe":  "13 exe",
		"/proc/12/fd/3":              "12 fd/",
		"/proc/12/ns/pid":            "12 ns/",
		"/proc/12/attr/current":      "12 attr/",
		"/proc/12/attr/smack/x":      "",
		"/proc/12/task/13/fdinfo/14": "13 fdinfo/",
		"/proc/12/fdinfo/":           "12 fdinfo/",
		"/proc/stat":                 "",
		"/proc/12":                   "",
		"":                           "",
	} {
		got := ""
		if n, name, ok := procName([]byte(path)); ok {
			got = fmt.Sprint(n, " ", name)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
