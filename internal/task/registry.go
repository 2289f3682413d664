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
// by whoever handles that task's system call, but for those of Identity, which
// others read through the registry.
package task

import (
	"os"
	"sort"
	"sync"

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
	Status      Status
	StatusStale bool // credentials or name may have changed since Status was read
	Moving      bool // a call that may change its root or namespaces is under way
	Exec        *Exec
	Root        any // what the path resolver remembers of the task's root and namespaces

	group    *group
	watch    int    // pidfd, or -1
	start    uint64 // start time, where there is no pidfd
	cloning  int    // clone calls begun whose child is not known yet
	sibling  bool   // one of them asked for CLONE_PARENT
	shares   int    // a task that may share the address space by vfork, or 0
	released bool
}

// group is one thread group.
type group struct {
	tgid, ppid int
	tasks      map[int]*Task
	execs      []*Task // tasks with an exec that is not decided
}

// Registry is the tasks of one context.
type Registry struct {
	mu     sync.Mutex
	n      int // digest size in bytes
	tasks  map[int]*Task
	groups map[int]*group
	tnum   uint64
	ttd    uint64
	widows []*Task // dead tasks that left children nobody has seen
	deaths *deaths
	buf    []byte
}

// New makes the registry of a context whose digests have size bytes.
func New(size int) (*Registry, error) {
	d, err := newDeaths()
	if err != nil {
		return nil, err
	}
	return &Registry{
		n:      size,
		tasks:  make(map[int]*Task),
		groups: make(map[int]*group),
		deaths: d,
		buf:    make([]byte, 8192),
	}, nil
}

// Close gives up the registry's descriptors.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tasks {
		r.forget(t)
	}
	return r.deaths.close()
}

// Current returns the task that makes a system call now, and registers it if
// it is new. decided is an exec that this call shows to have succeeded or
// failed; the caller records its mappings.
func (r *Registry) Current(tid int) (t *Task, decided *Decision, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	t = r.tasks[tid]
	if t != nil && t.watch < 0 && r.reused(t) {
		r.die(t)
		t = nil
	}
	if g := r.groups[tid]; g != nil && len(g.execs) > 0 {
		if t2, d := r.takeover(g, t); d != nil {
			return t2, d, nil
		}
	}
	if t == nil {
		t, err = r.adopt(tid)
		return t, nil, err
	}
	if t.Exec != nil {
		return t, r.decide(t), nil
	}
	return t, nil, nil
}

// Lookup returns the identity of task tid, thread or thread group leader; ok
// is false when it is not a task of the context.
func (r *Registry) Lookup(tid int) (id Identity, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	t := r.tasks[tid]
	if t == nil {
		if t, _ = r.adoptKnown(tid); t == nil {
			return Identity{}, false
		}
	}
	return t.Identity, true
}

// adopt registers the task tid, which has just made itself known, below the
// task that made it.
func (r *Registry) adopt(tid int) (*Task, error) {
	t := &Task{TID: tid, watch: -1}
	if err := t.Status.ReadStatus(tid, r.buf); err != nil {
		return nil, err
	}
	t.TGID = t.Status.TGID
	r.inherit(t)
	r.enter(t)
	return t, nil
}

// adoptKnown registers tid only if its parent is in the context: it has made
// no call yet, but somebody names it.
func (r *Registry) adoptKnown(tid int) (*Task, error) {
	t := &Task{TID: tid, watch: -1}
	if err := t.Status.ReadStatus(tid, r.buf); err != nil {
		return nil, err
	}
	t.TGID = t.Status.TGID
	if r.groups[t.TGID] == nil && r.groups[t.Status.PPID] == nil {
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
		r.groups[t.TGID] = g
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
	m := r.maker(t)
	if m == nil {
		r.begin(t)
		return
	}
	t.Identity = Identity{TaskID: m.TaskID, PTaskID: m.TaskID, TTD: m.TTD, PTTD: m.TTD}
	t.shares = m.TID
	if t.TGID != m.TGID && m.shares == 0 {
		m.shares = t.TID
	}
	if m.cloning > 0 {
		m.cloning--
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
	if t.Status.ReadStatus(tid, r.buf) != nil {
		return
	}
	t.TGID = t.Status.TGID
	r.begin(t)
	r.enter(t)
}

// maker finds the task that made t. All threads of a group have the same
// task identity, so which of them it was matters little.
func (r *Registry) maker(t *Task) *Task {
	if g := r.groups[t.TGID]; g != nil && t.TID != t.TGID {
		return busiest(g)
	}
	g := r.groups[t.Status.PPID]
	if g != nil {
		if m := busiest(g); m != nil && m.cloning > 0 {
			return m
		}
	}
	// CLONE_PARENT: a child of the parent had asked for a sibling.
	for _, s := range r.groups {
		if s.ppid != t.Status.PPID {
			continue
		}
		for _, m := range s.tasks {
			if m.sibling && m.cloning > 0 {
				return m
			}
		}
	}
	if g != nil {
		return busiest(g)
	}
	// The parent died before the child was seen.
	if len(r.widows) > 0 {
		i := len(r.widows) - 1
		m := r.widows[i]
		if m.cloning <= 1 {
			r.widows = append(r.widows[:i], r.widows[i+1:]...)
		}
		return m
	}
	return nil
}

// busiest is the thread with most clones under way, or any.
func busiest(g *group) *Task {
	var m *Task
	for _, t := range g.tasks {
		if m == nil || t.cloning > m.cloning || t.cloning == m.cloning && t.TID < m.TID {
			m = t
		}
	}
	return m
}

// Cloning tells that t is about to make a task.
func (r *Registry) Cloning(t *Task, parent, vm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.cloning++
	t.sibling = t.sibling || parent
}

// Leaving tells that t is about to exit, or to exec: then its children that
// have not made themselves known must be found while /proc still tells whose
// they are, and before t's identity changes.
func (r *Registry) Leaving(t *Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	waiting := false
	for _, m := range t.group.tasks {
		waiting = waiting || m.cloning > 0
	}
	if !waiting {
		return
	}
	pids, err := processes()
	if err != nil {
		return
	}
	sort.Ints(pids)
	for _, pid := range pids {
		if r.tasks[pid] != nil || r.groups[pid] != nil {
			continue
		}
		if st, err := readStat(pid, r.buf); err == nil && st.ppid == t.TGID {
			r.adoptKnown(pid)
		}
	}
	// What is still missing was a clone that failed, or a child that is gone.
	for _, m := range t.group.tasks {
		m.cloning = 0
	}
}

// Processes lists the thread groups that are alive.
func (r *Registry) Processes() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bury()
	pids := make([]int, 0, len(r.groups))
	for pid := range r.groups {
		pids = append(pids, pid)
	}
	sort.Ints(pids)
	return pids
}

// bury removes the tasks that have died.
func (r *Registry) bury() {
	for {
		tid, fd, ok := r.deaths.next()
		if !ok {
			return
		}
		if t := r.tasks[tid]; t != nil && t.watch == fd {
			r.die(t)
		}
	}
}

// die removes one task. An exec that its death leaves undecided stays with
// the group: the task may live on under the number of its group's leader.
func (r *Registry) die(t *Task) {
	if t.cloning > 0 {
		r.widows = append(r.widows, t)
		if len(r.widows) > 64 {
			r.widows = r.widows[1:]
		}
	}
	r.forget(t)
}

func (r *Registry) forget(t *Task) {
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
	if len(g.tasks) == 0 && len(g.execs) == 0 && r.groups[g.tgid] == g {
		delete(r.groups, g.tgid)
	}
}

// reused tells whether t's number belongs to another task by now.
func (r *Registry) reused(t *Task) bool {
	st, err := readStat(t.TID, r.buf)
	return err != nil || st.start != t.start
}
