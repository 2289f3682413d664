// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// Exec is an exec that has begun. Whether it succeeds shows later: the kernel
// tells nobody. It has succeeded when the address space of its beginning is
// gone, or the task has another.
type Exec struct {
	TaskID   tsem.Digest     // identity of the task if the exec succeeds
	Comm     []byte          // its name then
	Mappings []tsem.MmapCell // what the kernel maps of the program and its interpreter
	Likely   bool            // everything that was checked lets it succeed

	answered bool    // its call has been let go: until then the task waits, or is killed
	mem      int     // descriptor of /proc/TID/mem, -1 if refused
	before   imaging // of the task
	after    imaging // what was found now that gone was asked, if it had to look
}

// Decision is an exec that has succeeded.
type Decision struct {
	Task *Task
	Exec *Exec
}

// BeginExec notes that t is about to exec. It replaces an exec of t that is
// still open, which has then failed.
func (r *Registry) BeginExec(t *Task, e *Exec) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.mem, _ = unix.Open(kernel.ProcPath(t.TID, "mem"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	e.before = r.imageOf(t)
	if t.Exec != nil {
		r.drop(t)
	}
	t.Exec = e
	t.group.execs = append(t.group.execs, t)
}

// Answer lets the call of exec e go on, which t has begun, and tells whether it
// does: a signal may have taken t out of it, and killed it. let must not wait.
func (r *Registry) Answer(t *Task, e *Exec, let func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.answered = let() // nobody can see the one without the other
	if !e.answered && t.Exec == e {
		r.drop(t)
		r.leaveIfOver(t.group)
	}
	return e.answered
}

// maxBorn is how many tasks that have not acted are kept in mind before those
// that are gone are looked for.
const maxBorn = 4096

// tidy keeps up with the kernel's messages, and forgets tasks that were made
// and died without an act.
func (r *Registry) tidy() {
	r.listen()
	if len(r.born) < maxBorn {
		return
	}
	for tid := range r.born {
		if !alive(tid) {
			delete(r.born, tid)
		}
	}
}

// Undecided decides the execs for which no system call of their tasks is
// needed: those whose address space has gone, or whose task has died. It calls
// f for each, as Current does.
func (r *Registry) Undecided(f func(*Decision)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	r.tidy()
	for _, g := range r.groups {
		if len(g.execs) == 0 {
			continue
		}
		if len(g.tasks) == 0 && !alive(g.tgid) {
			r.settleDead(g)
			continue
		}
		for _, t := range g.execs {
			if t.Exec.gone(t) && finished(g.tgid) {
				r.won(g, t)
				break
			}
		}
	}
	r.handOut(f)
}

// settleDead decides the execs of a group that has died: the last one that
// could succeed did.
func (r *Registry) settleDead(g *group) {
	for _, t := range g.execs {
		if !t.Exec.answered {
			return // whoever is about to answer finds out
		}
	}
	for len(g.execs) > 0 {
		t := g.execs[0]
		e := r.drop(t)
		if e.Likely && len(g.execs) == 0 {
			r.succeed(t, e, g.tgid)
			r.ready = append(r.ready, &Decision{Task: t, Exec: e})
		}
	}
	r.leave(g)
}

// takeover decides the execs of a group whose leader's number makes a call:
// an exec from another thread carries on under it. t is the task known by
// that number, or nil.
func (r *Registry) takeover(g *group, t *Task) *Task {
	for _, x := range g.execs {
		if x != t && x.Exec.gone(x) {
			return r.won(g, x)
		}
	}
	if t == nil && len(g.tasks) == 0 {
		return r.won(g, g.execs[0])
	}
	return t
}

// won applies the exec of t, which has succeeded: it is alone in its group and
// has the leader's number.
func (r *Registry) won(g *group, t *Task) *Task {
	e := t.Exec
	for len(g.execs) > 0 {
		r.drop(g.execs[0])
	}
	for _, m := range g.tasks {
		if m != t {
			r.forget(m)
			m.dead.Store(true)
		}
	}
	t.dead.Store(false) // the number that it began under may have died
	if t.TID != g.tgid || r.tasks[t.TID] != t {
		if t.watch >= 0 {
			closeFD(t.watch)
			t.watch = -1
		}
		delete(r.tasks, t.TID)
		delete(g.tasks, t.TID)
		t.TID = g.tgid
		r.tasks[t.TID] = t
		g.tasks[t.TID] = t
		r.join(g)
		t.group = g
		r.watchTask(t)
	}
	r.succeed(t, e, g.tgid)
	r.ready = append(r.ready, &Decision{Task: t, Exec: e})
	return t
}

// decide tells how the exec of t ended, which makes its next call.
func (r *Registry) decide(t *Task) {
	e := t.Exec
	if !e.gone(t) {
		r.drop(t)
		return
	}
	r.won(t.group, t)
	t.image = e.after
}

// succeed gives t the identity of its new program.
func (r *Registry) succeed(t *Task, e *Exec, tid int) {
	r.ttd++
	t.TaskID = e.TaskID
	t.TTD = r.ttd
	t.TID = tid
	t.shares = 0
	t.executed = true
	t.image = imaging{}
	t.Status.CommLen = copy(t.Status.Comm[:15], e.Comm)
	t.StatusStale = true
}

// drop takes the undecided exec off t.
func (r *Registry) drop(t *Task) *Exec {
	e := t.Exec
	t.Exec = nil
	execs := t.group.execs
	for i, x := range execs {
		if x == t {
			t.group.execs = append(execs[:i], execs[i+1:]...)
			break
		}
	}
	if e.mem >= 0 {
		closeFD(e.mem)
		e.mem = -1
	}
	return e
}

// gone tells whether the address space in which e began is no longer t's.
func (e *Exec) gone(t *Task) bool {
	e.after = imaging{} // that of an earlier look may be of the program before
	if !e.answered {
		return false // it goes with a task that is killed, too
	}
	if e.mem >= 0 {
		var b [1]byte
		// The kernel reads nothing, without an error, from an address space
		// that nobody uses any more. In one that lives the address is not
		// mapped, nor can it be: EIO.
		const nowhere = 1<<63 - 4096
		n, err := unix.Pread(e.mem, b[:], nowhere)
		if n == 0 && err == nil {
			return true
		}
		if t.shares == 0 {
			// Another task may have it, or somebody just look into it.
			e.after = imageOf(t.TID, make([]byte, 1024))
			return e.before.known && e.after.known && e.after.image != e.before.image
		}
		// Made by vfork: the address space lives on in the other task.
		if same, err := kernel.SameMemory(t.TID, t.shares); err == nil {
			return !same && e.differs(t)
		}
	}
	return e.differs(t)
}

// finished tells whether an exec of process pid, whose old address space is
// gone, is over: the kernel fills in the auxiliary vector last.
func finished(pid int) bool {
	b, err := kernel.ReadProc(pid, "auxv", make([]byte, 16))
	return err != nil || len(b) < 8 || binary.NativeEndian.Uint64(b) != 0
}

// differs compares the auxiliary vector: its addresses are new in each address
// space.
func (e *Exec) differs(t *Task) bool {
	var buf [1024]byte
	e.after = imageOf(t.TID, buf[:])
	if !e.after.known || !e.before.known {
		return e.Likely
	}
	return e.after.image != e.before.image
}

func alive(pid int) bool {
	return unix.Kill(pid, 0) != unix.ESRCH
}
