// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package task knows who is who in a context: it gives each task its number
// and identity, and keeps the ancestry, for sources that have no kernel to
// tell them.
//
// The rules are those of TSEM: a new task inherits the identity of the one
// that made it, and an exec gives it a new one that is derived from the
// parent's and from the program. A registry is told what tasks are about to
// do (they wait meanwhile) and finds out the rest from /proc.
//
// A Registry is safe for concurrent use. A Task's own fields may be used only
// by whoever handles that task's system call and holds Handling, but for those
// of Identity, which others read through the registry.
package task

import (
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"quixote-export/tsem"
)

// Identity is what TSEM knows a task by.
type Identity struct {
	TaskID, PTaskID tsem.Digest
	TTD, PTTD       uint64
}

// Task is one process or thread of the context.
type Task struct {
	TID, TGID int
	TNum      uint64
	Identity
	// Handling is held while a call of the task is handled. A task makes one
	// call at a time, but a signal can take it out of one that is still being
	// looked at, and the next may come to another thread.
	Handling    sync.Mutex
	Status      Status
	StatusStale bool        // credentials or name may have changed since Status was read
	Moving      atomic.Bool // a call that may change its root or namespaces is under way
	Exec        *Exec
	Root        any // what the path resolver remembers of the task's root and namespaces

	group  *group
	watch  int    // pidfd, or -1
	start  uint64 // start time, where there is no pidfd
	shares int    // a task that may share the address space by vfork, or 0
	dead   atomic.Bool
	status statusFile

	executed bool    // it has made no call since an exec that has succeeded
	image    imaging // of its program, once it has been looked at
}

// ReadStatus reads the status of t again.
func (t *Task) ReadStatus(buf []byte) error {
	b, err := t.status.read(t.TID, buf)
	if err != nil {
		return err
	}
	if err := t.Status.parse(b); err != nil {
		return err
	}
	t.StatusStale = false
	return nil
}

// Dead tells that t has died. It may be asked by anybody.
func (t *Task) Dead() bool { return t.dead.Load() }

// group is one thread group.
type group struct {
	tgid, ppid int
	tasks      map[int]*Task
	execs      []*Task // tasks with an exec that is not decided
}

// birth is a task that has been made, but has not acted yet.
type birth struct {
	Identity
	maker int // the thread group that made it
}

// Registry is the tasks of one context.
type Registry struct {
	mu     sync.Mutex
	n      int // digest size in bytes
	tasks  map[int]*Task
	groups map[int]*group
	born   map[int]birth
	tnum   uint64
	ttd    uint64
	dead   []*Task // the last ones that died, oldest first
	deaths *deaths
	images images
	forks  *forks      // nil where the kernel does not tell who makes whom
	ready  []*Decision // not yet handed out
	died   func(*Task)
	roll   roll
	buf    []byte
}

// maxDead is how many dead tasks are remembered, for children of which nothing
// else tells whose they are.
const maxDead = 64

// New makes the registry of a context whose digests have size bytes.
func New(size int, log *slog.Logger) (*Registry, error) {
	d, err := newDeaths()
	if err != nil {
		return nil, err
	}
	r := &Registry{
		n:      size,
		tasks:  make(map[int]*Task),
		groups: make(map[int]*group),
		born:   make(map[int]birth),
		deaths: d,
		images: images{known: make(map[image]Identity)},
		buf:    make([]byte, 8192),
	}
	r.forks, err = newForks()
	if err != nil {
		log.Debug("parents are told by /proc alone", "error", err)
	} else {
		d.also(r.forks.fd)
	}
	return r, nil
}

// OnDeath has f called for each task that dies, with the registry held: f must
// not ask it anything. It is set before the first task is there.
func (r *Registry) OnDeath(f func(*Task)) { r.died = f }

// Close gives up the registry's descriptors.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tasks {
		r.forget(t)
	}
	if r.forks != nil {
		r.forks.close()
	}
	return r.deaths.close()
}

// Known is the task of that number as far as it is known, nil if it is not. It
// may be one that has gone.
func (r *Registry) Known(tid int) *Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tasks[tid]
}

// Current returns the task that makes a system call now, and registers it if
// it is new. It calls f for each exec of which it shows now that it has
// succeeded, before any of these tasks can be asked for: f must not wait.
func (r *Registry) Current(tid int, f func(*Decision)) (t *Task, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	t = r.tasks[tid]
	if t != nil && t.watch < 0 && r.reused(t) {
		r.die(t)
		t = nil
	}
	if g := r.groups[tid]; g != nil && len(g.execs) > 0 {
		t = r.takeover(g, t)
	}
	if t == nil {
		t, err = r.adopt(tid)
	} else if t.Exec != nil {
		r.decide(t)
	}
	if err == nil && t.executed {
		r.picture(t)
	}
	r.handOut(f)
	return t, err
}

// handOut calls f for each exec that has been decided.
func (r *Registry) handOut(f func(*Decision)) {
	for _, d := range r.ready {
		f(d)
	}
	r.ready = nil
}

// Lookup returns the identity of task tid, thread or thread group leader; ok
// is false when it is not a task of the context.
func (r *Registry) Lookup(tid int) (id Identity, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	t := r.tasks[tid]
	if t == nil {
		if t = r.unreaped(tid); t != nil {
			return t.Identity, true
		}
		if t, _ = r.adoptKnown(tid); t == nil {
			return Identity{}, false
		}
	}
	if t.Exec != nil && t.Exec.gone(t) && finished(t.group.tgid) {
		t = r.won(t.group, t) // it is another program, though it has not acted since
	}
	return t.Identity, true
}

// unreaped returns the task tid that has died lately, if nobody has waited for
// it yet: its number is still its own.
func (r *Registry) unreaped(tid int) *Task {
	if _, again := r.born[tid]; again {
		return nil
	}
	for i := len(r.dead) - 1; i >= 0; i-- {
		if t := r.dead[i]; t.TID == tid {
			if st, err := readStat(tid, r.buf); err == nil && st.zombie {
				return t
			}
			break
		}
	}
	return nil
}

// listen notes who has made whom since it was last asked.
func (r *Registry) listen() {
	if r.forks == nil {
		return
	}
	for {
		k, ok := r.forks.next()
		if !ok {
			return
		}
		maker := k.parentGroup
		if k.child != k.childGroup {
			maker = k.childGroup // a thread
		}
		if id, ok := r.makerIdentity(maker); ok {
			r.born[k.child] = birth{heir(id), maker}
		} else {
			delete(r.born, k.child) // the number of one that is gone
		}
	}
}

// makerIdentity is the identity of a thread group, whether or not it has acted.
func (r *Registry) makerIdentity(tgid int) (Identity, bool) {
	if g := r.groups[tgid]; g != nil {
		// An exec that has succeeded, but has not been seen to, comes first.
		for _, t := range g.execs {
			if t.Exec.gone(t) {
				r.won(g, t)
				break
			}
		}
		if m := g.any(); m != nil {
			return m.Identity, true
		}
	}
	b, ok := r.born[tgid]
	return b.Identity, ok
}

// heir is what a new task inherits.
func heir(maker Identity) Identity {
	return Identity{TaskID: maker.TaskID, PTaskID: maker.TaskID, TTD: maker.TTD, PTTD: maker.TTD}
}

// adopt registers the task tid, which has just made itself known, below the
// task that made it. The dead have been buried and births heard of.
func (r *Registry) adopt(tid int) (*Task, error) {
	t := &Task{TID: tid, watch: -1}
	if err := t.ReadStatus(r.buf); err != nil {
		return nil, err
	}
	t.TGID = t.Status.TGID
	r.inherit(t)
	r.enter(t)
	return t, nil
}

// adoptKnown registers tid only if it belongs to the context: it has made no
// call yet, but somebody names it.
func (r *Registry) adoptKnown(tid int) (*Task, error) {
	t := &Task{TID: tid, watch: -1}
	if err := t.Status.ReadStatus(tid, r.buf); err != nil {
		return nil, err
	}
	t.TGID = t.Status.TGID
	if _, ok := r.born[tid]; !ok && r.groups[t.TGID] == nil && r.groups[t.Status.PPID] == nil {
		return nil, os.ErrNotExist
	}
	r.inherit(t)
	r.enter(t)
	return t, nil
}

// enter puts t into the maps and has its end watched.
func (r *Registry) enter(t *Task) {
	r.tnum++
	t.TNum = r.tnum
	g := r.groups[t.TGID]
	if g == nil {
		g = &group{tgid: t.TGID, ppid: t.Status.PPID, tasks: make(map[int]*Task)}
		r.join(g)
	}
	t.group = g
	g.tasks[t.TID] = t
	r.tasks[t.TID] = t
	r.watchTask(t)
}

func (r *Registry) watchTask(t *Task) {
	t.watch = r.deaths.watch(t.TID)
	if t.watch < 0 {
		if st, err := readStat(t.TID, r.buf); err == nil {
			t.start = st.start
		}
	}
}

// inherit gives a new task the identity of its maker.
func (r *Registry) inherit(t *Task) {
	if b, ok := r.born[t.TID]; ok {
		delete(r.born, t.TID)
		t.Identity = b.Identity
		if id, ok := r.byImage(t, &b); ok {
			t.Identity = heir(id)
		}
		r.share(t, b.maker)
		return
	}
	// The parent is not known itself where it has made no call: some shells
	// make a task only to have it make others.
	r.share(t, t.Status.PPID)
	if id, ok := r.byImage(t, nil); ok {
		t.Identity = heir(id)
	} else if m := r.maker(t); m != nil {
		t.Identity = heir(m.Identity)
	} else {
		r.begin(t)
	}
}

// share notes that a new process and its maker may have one address space:
// vfork lends it until the child executes a program.
func (r *Registry) share(t *Task, maker int) {
	if t.TGID == maker {
		return
	}
	t.shares = maker
	if g := r.groups[maker]; g != nil {
		if m := g.any(); m != nil && m.shares == 0 {
			m.shares = t.TID
		}
	}
}

// begin gives t no past: identities depend on the workload alone.
func (r *Registry) begin(t *Task) {
	t.Identity = Identity{TaskID: make(tsem.Digest, r.n), PTaskID: make(tsem.Digest, r.n)}
}

// Root registers a task that comes into the context from outside: the first
// one, or one that a container runtime puts into a running container.
func (r *Registry) Root(tid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	if old := r.tasks[tid]; old != nil {
		r.die(old)
	}
	t := &Task{TID: tid, watch: -1}
	if t.ReadStatus(r.buf) != nil {
		return
	}
	t.TGID = t.Status.TGID
	r.begin(t)
	r.enter(t)
}

// maker finds the task that made t where the kernel has not told: by its group
// or parent, or, when the parent has died, among those that died last.
func (r *Registry) maker(t *Task) *Task {
	if g := r.groups[t.TGID]; g != nil && t.TID != t.TGID {
		return g.any()
	}
	if g := r.groups[t.Status.PPID]; g != nil {
		return g.any()
	}
	if len(r.dead) > 0 && len(r.tasks) > 0 {
		return r.dead[len(r.dead)-1]
	}
	return nil
}

// any is the thread of the group with the lowest number. In its task identity
// all are alike.
func (g *group) any() (m *Task) {
	for _, t := range g.tasks {
		if m == nil || t.TID < m.TID {
			m = t
		}
	}
	return m
}

// Leaving tells that t is about to take a new identity: then its children that
// have not made themselves known must be found while they still inherit the
// old one.
func (r *Registry) Leaving(t *Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.forks != nil {
		r.listen()
		return
	}
	pids, err := processes()
	if err != nil {
		return
	}
	for _, pid := range pids {
		if r.tasks[pid] != nil || r.groups[pid] != nil {
			continue
		}
		if st, err := readStat(pid, r.buf); err == nil && st.ppid == t.TGID {
			r.adoptKnown(pid)
		}
	}
}

// Processes lists the thread groups that are alive. It waits for nobody.
func (r *Registry) Processes() []int { return r.roll.alive() }

// join and leave keep the groups, and the roll of them.
func (r *Registry) join(g *group) {
	r.groups[g.tgid] = g
	r.roll.set(g.tgid, true)
}

// leaveIfOver forgets g when nothing of it is left.
func (r *Registry) leaveIfOver(g *group) {
	if len(g.tasks) == 0 && len(g.execs) == 0 && r.groups[g.tgid] == g {
		r.leave(g)
	}
}

func (r *Registry) leave(g *group) {
	delete(r.groups, g.tgid)
	r.roll.set(g.tgid, false)
}

// Disown puts another Task in the place of t and returns it: whoever handles
// the call of t does not come back. It is t in all but storage.
func (r *Registry) Disown(t *Task) *Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &Task{
		TID: t.TID, TGID: t.TGID, TNum: t.TNum, Identity: t.Identity, StatusStale: true,
		Exec: t.Exec, group: t.group, watch: t.watch, start: t.start, shares: t.shares,
		executed: t.executed, image: t.image,
	}
	n.Moving.Store(t.Moving.Swap(false))
	if r.tasks[t.TID] == t {
		r.tasks[t.TID] = n
		t.group.tasks[t.TID] = n
		for i, x := range t.group.execs {
			if x == t {
				t.group.execs[i] = n
			}
		}
	}
	t.watch = -1
	t.Exec = nil
	t.status.close()
	t.dead.Store(true)
	return n
}

// bury removes the tasks that have died. What they have made, and whom the
// kernel has told of otherwise, is noted before.
func (r *Registry) bury() {
	for heard := false; ; heard = true {
		tid, fd, ok := r.deaths.next()
		if !ok {
			return
		}
		if !heard {
			r.listen()
		}
		if t := r.tasks[tid]; t != nil && t.watch == fd {
			r.die(t)
		}
	}
}

// die removes one task. An exec that its death leaves undecided stays with
// the group: the task may live on under the number of its group's leader.
func (r *Registry) die(t *Task) {
	r.forget(t)
	t.dead.Store(true)
	if r.died != nil {
		r.died(t)
	}
	if r.dead = append(r.dead, t); len(r.dead) > maxDead {
		r.dead = r.dead[1:]
	}
}

func (r *Registry) forget(t *Task) {
	t.status.close()
	if t.watch >= 0 {
		closeFD(t.watch)
		t.watch = -1
	}
	if r.tasks[t.TID] == t {
		delete(r.tasks, t.TID)
	}
	g := t.group
	if g.tasks[t.TID] == t {
		delete(g.tasks, t.TID)
	}
	r.leaveIfOver(g)
}

// reused tells whether t's number belongs to another task by now.
func (r *Registry) reused(t *Task) bool {
	st, err := readStat(t.TID, r.buf)
	return err != nil || st.start != t.start
}
