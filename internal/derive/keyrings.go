// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"slices"
	"sync"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
)

// Keys knows the keyrings of threads and processes, into which nobody else can
// look. A task has them from its first use of them until its next exec; a task
// that is forked begins without.
type Keys struct {
	mu    sync.Mutex
	tasks map[int]*taskRings
}

// taskRings is the keyrings of one task, as long as it runs the same program.
type taskRings struct {
	tnum, ttd       uint64
	thread, process ring
}

// ring is a keyring of a task and the keys that were added to it.
type ring struct {
	exists bool
	perm   uint32 // its permissions, if they were changed
	keys   []proc.Key
}

// maxTasksWithKeys bounds how many tasks' keyrings are remembered.
const maxTasksWithKeys = 4096

func newKeys() *Keys { return &Keys{tasks: make(map[int]*taskRings)} }

func (k *Keys) of(t *task.Task) *taskRings {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.tasks[t.TID]
	if r == nil || r.tnum != t.TNum || r.ttd != t.TTD {
		if len(k.tasks) >= maxTasksWithKeys {
			clear(k.tasks)
		}
		r = &taskRings{tnum: t.TNum, ttd: t.TTD}
		k.tasks[t.TID] = r
	}
	return r
}

// ring is the keyring of t that goes by a special number. It belongs to
// whoever handles the task's call.
func (k *Keys) ring(t *task.Task, id int32) *ring {
	r := k.of(t)
	if id == threadKeyring {
		return &r.thread
	}
	return &r.process
}

// rings are the keyrings of t that exist, in the order in which the kernel
// searches them.
func (k *Keys) rings(t *task.Task) (all []*ring) {
	r := k.of(t)
	for _, one := range []*ring{&r.thread, &r.process} {
		if one.exists {
			all = append(all, one)
		}
	}
	return all
}

// holding are the keyrings of t that are searched until key is found; none if
// it is in none of them.
func (k *Keys) holding(t *task.Task, key *proc.Key) []*ring {
	all := k.rings(t)
	for i, r := range all {
		if r.has(key) {
			return all[:i+1]
		}
	}
	return nil
}

func (r *ring) find(key *proc.Key) (proc.Key, bool) {
	for _, k := range r.keys {
		if k.Type == key.Type && k.Desc == key.Desc {
			return k, true
		}
	}
	return proc.Key{}, false
}

func (r *ring) has(key *proc.Key) bool {
	_, ok := r.find(key)
	return ok
}

// remove takes key out of the ring.
func (r *ring) remove(key *proc.Key) {
	r.keys = slices.DeleteFunc(r.keys, func(k proc.Key) bool { return k.Type == key.Type && k.Desc == key.Desc })
}

// add puts key into the ring, in the place of one of the same name.
func (r *ring) add(key *proc.Key) {
	for i, k := range r.keys {
		if k.Type == key.Type && k.Desc == key.Desc {
			r.keys[i] = *key
			return
		}
	}
	r.keys = append(r.keys, *key)
}
