// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
)

// Yama is the security module of that name, which stands before ours: it says
// who may attach to whom beyond what credentials allow, and who it refuses
// comes to no further hook. The exceptions that tasks of the context have made
// for themselves are known, those of others are not.
type Yama struct {
	scope func() int // of its setting ptrace_scope; 0 where there is no Yama

	mu      sync.Mutex
	tracers map[int]exception // by the process that may be traced
}

// exception tells who may trace a process: those that descend from one.
type exception struct {
	start   uint64 // of the process that has made it, since numbers come back
	anybody bool
	by      process
}

// process is a process, told apart from others with the same number.
type process struct {
	pid   int
	start uint64
}

// Values of ptrace_scope, from security/yama.
const (
	scopeRelated = 1 // only descendants
	scopeCapable = 2
	scopeNobody  = 3

	// fewExceptions is how many are kept before those of the dead are looked for.
	fewExceptions = 256

	maxDepth = 4096 // of ancestry
)

func newYama() *Yama { return &Yama{scope: ptraceScope, tracers: make(map[int]exception)} }

func ptraceScope() int {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// refuses tells whether Yama keeps the caller from attaching to a task.
func (y *Yama) refuses(d *Deriver, c *Call, it *task.Details) bool {
	scope := y.scope()
	switch {
	case scope >= scopeNobody:
		return true
	case scope <= 0, d.lens.CapableTo(c.Task, it.TID, unix.CAP_SYS_PTRACE):
		return false
	case scope == scopeCapable:
		return true
	}
	return !descends(it.TID, process{pid: c.Task.TGID}) && !y.excepted(c, it)
}

// refusesTraceme tells whether Yama keeps a task from being traced by its
// parent.
func (y *Yama) refusesTraceme(parent *task.Details) bool {
	switch scope := y.scope(); {
	case scope >= scopeNobody:
		return true
	case scope == scopeCapable:
		return parent.COE.CapEff&(1<<unix.CAP_SYS_PTRACE) == 0
	}
	return false
}

// excepted tells whether a task has allowed the caller to trace it: it is
// traced by the caller's process, or has said so with PR_SET_PTRACER.
func (y *Yama) excepted(c *Call, it *task.Details) bool {
	if it.Tracer != 0 {
		if tracer, err := task.ReadDetails(it.Tracer); err == nil && tracer.TGID == c.Task.TGID {
			return true
		}
	}
	y.mu.Lock()
	e, ok := y.tracers[it.TGID]
	y.mu.Unlock()
	if !ok || !(process{it.TGID, e.start}).lives() {
		return false
	}
	return e.anybody || e.by.lives() && descends(c.Task.TID, e.by)
}

// lives tells whether the process is still there.
func (p process) lives() bool {
	it, err := task.ReadDetails(p.pid)
	return err == nil && it.Start == p.start
}

// descends tells whether a task belongs to a process, or to one below it.
func descends(tid int, from process) bool {
	for range maxDepth {
		it, err := task.ReadDetails(tid)
		if err != nil {
			return false
		}
		if it.TGID == from.pid {
			return true
		}
		if tid = it.PPID; tid <= 0 {
			return false
		}
	}
	return false
}

// prctl is PR_SET_PTRACER; false: Yama refuses it.
func (y *Yama) prctl(d *Deriver, c *Call) bool {
	if y.scope() == 0 {
		return true // or there is no Yama, and whoever comes next does not know the option
	}
	own, err := task.ReadDetails(c.Task.TGID)
	if err != nil {
		return true
	}
	e := exception{start: own.Start}
	switch n := c.arg(1); n {
	case 0:
		y.mu.Lock()
		defer y.mu.Unlock()
		delete(y.tracers, own.TGID)
		return true
	case -1:
		e.anybody = true
	default:
		tracer, err := d.number(c, n)
		if err != nil {
			return false
		}
		if tracer, err = task.ReadDetails(tracer.TGID); err != nil {
			return false
		}
		e.by = process{tracer.TGID, tracer.Start}
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.tracers[own.TGID] = e
	if len(y.tracers) > fewExceptions {
		for pid, e := range y.tracers {
			if !(process{pid, e.start}).lives() {
				delete(y.tracers, pid)
			}
		}
	}
	return true
}
