// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// IPC knows which task made each System V IPC object, and who waits for
// messages. An object has no id yet when the call that makes it is seen; it is
// looked for by its key afterwards, or among those that have none.
type IPC struct {
	mu      sync.Mutex
	size    int // of a digest, in bytes
	owners  map[ipcID]tsem.Digest
	pending []pendingIPC
	waiting []receiver // for messages, the longest waiting first
	limit   int        // how many are known when those that are gone are looked for
}

type ipcID struct {
	ns   uint64
	kind kernel.IPCKind
	id   int32
}

type pendingIPC struct {
	maker  *task.Task
	owner  tsem.Digest
	ns     uint64
	kind   kernel.IPCKind
	key    int32   // 0: none
	before []int32 // of those without a key, the ones that were there
}

// ipcObject is an object, and the namespace it is in.
type ipcObject struct {
	kernel.IPCObject
	ns   uint64
	kind kernel.IPCKind
}

const fewObjects = 4096

func newIPC(size int) *IPC {
	return &IPC{size: size, owners: make(map[ipcID]tsem.Digest), limit: fewObjects}
}

// begin notes that t is about to make an object in the namespace ns, in which
// this thread is.
func (r *IPC) begin(t *task.Task, ns uint64, kind kernel.IPCKind, key int32) {
	p := pendingIPC{maker: t, owner: t.TaskID, ns: ns, kind: kind, key: key}
	if key == 0 {
		p.before = proc.PrivateIPC(kind)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = append(r.pending, p)
}

// Settle finds what t has made: it is about to make another call.
func (r *IPC) Settle(l *proc.Lens, t *task.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrived(t)
	if !slices.ContainsFunc(r.pending, func(p pendingIPC) bool { return p.maker == t }) {
		return
	}
	if l.InIPC(t, func(ns uint64) error { r.settle(ns, t); return nil }) != nil {
		r.drop(t)
	}
}

// Undo takes back what t has begun: its call was not made.
func (r *IPC) Undo(t *task.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrived(t)
	r.drop(t)
}

func (r *IPC) drop(t *task.Task) {
	r.pending = slices.DeleteFunc(r.pending, func(p pendingIPC) bool { return p.maker == t })
}

// settle looks for the pending objects of the namespace ns, in which this
// thread is; those of done are given up if they do not exist.
func (r *IPC) settle(ns uint64, done *task.Task) {
	kept := r.pending[:0]
	for _, p := range r.pending {
		if p.ns == ns && r.take(&p) || p.maker == done {
			continue
		}
		kept = append(kept, p)
	}
	r.pending = kept
	if len(r.owners) <= r.limit {
		return
	}
	for at := range r.owners {
		if o, err := kernel.StatIPC(at.kind, at.id); at.ns == ns && (err != nil || o.ID != at.id) {
			delete(r.owners, at)
		}
	}
	r.limit = max(2*len(r.owners), fewObjects)
}

func (r *IPC) take(p *pendingIPC) bool {
	if p.key != 0 {
		id, err := kernel.FindIPC(p.kind, p.key)
		if err == nil {
			r.owners[ipcID{p.ns, p.kind, id}] = p.owner
		}
		return err == nil
	}
	for _, id := range proc.PrivateIPC(p.kind) {
		at := ipcID{p.ns, p.kind, id}
		if !slices.Contains(p.before, id) && r.owners[at] == nil {
			r.owners[at] = p.owner
			return true
		}
	}
	return false
}

// owner is the identity of the task that made o, zero bytes if it was not made
// in the context. This thread must be in the namespace of o.
func (r *IPC) owner(o *ipcObject) tsem.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := ipcID{o.ns, o.kind, o.ID}
	if r.owners[at] == nil && len(r.pending) > 0 {
		r.settle(o.ns, nil)
	}
	if owner := r.owners[at]; owner != nil {
		return owner
	}
	return make(tsem.Digest, r.size)
}

// ipcAt finds the object with an id. EINVAL: there is none.
func ipcAt(ns uint64, kind kernel.IPCKind, id int32) (*ipcObject, error) {
	o, err := ipcIn(ns, kind, id)
	if err == nil && o.ID != id {
		err = unix.EINVAL
	}
	return o, err
}

// ipcIn finds the object in a slot of the kernel's table.
func ipcIn(ns uint64, kind kernel.IPCKind, slot int32) (*ipcObject, error) {
	if slot < 0 {
		return nil, unix.EINVAL
	}
	o, err := kernel.StatIPC(kind, slot)
	return &ipcObject{o, ns, kind}, err
}

// perm describes o in ids of the wanted user namespace.
func (d *Deriver) perm(c *Call, o *ipcObject) tsem.Perm {
	p := tsem.Perm{UID: o.UID, GID: o.GID, CUID: o.CUID, CGID: o.CGID, Mode: o.Mode, Owner: d.shared.IPC.owner(o)}
	if d.opts.Current {
		p.UID, p.CUID = d.lens.UID(c.Task, p.UID), d.lens.UID(c.Task, p.CUID)
		p.GID, p.CGID = d.lens.GID(c.Task, p.GID), d.lens.GID(c.Task, p.CGID)
	}
	return p
}

// What ipcPermitted is asked for, besides the flags of the calls that find
// objects.
const (
	ipcRead  = 0o444
	ipcWrite = 0o222
)

// ipcPermitted is the kernel's ipcperms: the mode of the object, the
// capability, then the hook.
func (d *Deriver) ipcPermitted(c *Call, o *ipcObject, flag int32) bool {
	granted := o.Mode
	switch coe := &c.Task.Status.COE; {
	case coe.EUID == o.CUID, coe.EUID == o.UID:
		granted >>= 6
	case member(c.Task, o.CGID), member(c.Task, o.GID):
		granted >>= 3
	}
	wanted := uint32(flag>>6 | flag>>3 | flag)
	if wanted&^granted&7 != 0 && !d.lens.CapableOver(c.Task, "ipc", unix.CAP_IPC_OWNER) {
		return false
	}
	// The hook takes a short.
	d.emit(tsem.IPCPermission, &tsem.IPCPermissionCell{Perm: d.perm(c, o), Flag: uint32(int16(flag))})
	return true
}

// member is the kernel's in_group_p.
func member(t *task.Task, gid uint32) bool {
	return t.Status.COE.FSGID == gid || slices.Contains(t.Status.Groups, gid)
}

// ipcOwned is the right to change or remove o.
func (d *Deriver) ipcOwned(c *Call, o *ipcObject) bool {
	euid := c.Task.Status.COE.EUID
	return euid == o.CUID || euid == o.UID || d.lens.CapableOver(c.Task, "ipc", unix.CAP_SYS_ADMIN)
}

// associate is the common part of shmget, semget and msgget: finding an object
// has two hooks, making one has none that is modelled. fits tells whether the
// object found is as large as asked.
func (d *Deriver) associate(c *Call, kind kernel.IPCKind, event tsem.Type, key, flags int32, fits func(*ipcObject) bool) error {
	const create, exclusive = 0o1000, 0o2000
	return d.lens.InIPC(c.Task, func(ns uint64) error {
		if key == 0 {
			d.shared.IPC.begin(c.Task, ns, kind, 0)
			return nil
		}
		id, err := kernel.FindIPC(kind, key)
		switch {
		case err == unix.ENOENT && flags&create != 0:
			d.shared.IPC.begin(c.Task, ns, kind, key)
			return nil
		case err != nil:
			return err
		case flags&create != 0 && flags&exclusive != 0:
			return unix.EEXIST
		}
		o, err := ipcAt(ns, kind, id)
		if err != nil {
			return err
		}
		if !fits(o) {
			return unix.EINVAL
		}
		if !d.ipcPermitted(c, o, flags) {
			return unix.EACCES
		}
		d.emit(event, &tsem.IPCCell{Perm: d.perm(c, o), Value: flags})
		return nil
	})
}

// Commands that the ctl calls of all kinds share.
const (
	ipcRemove = 0
	ipcSet    = 1
	ipcStat   = 2
	ipcInfo   = 3
)

// ctl is the common part of shmctl, semctl and msgctl: what has a meaning for
// every kind. stat and any are the kind's own commands to look at a slot.
// other handles the rest. The commands that ask for limits are about no
// object.
func (d *Deriver) ctl(c *Call, kind kernel.IPCKind, event tsem.Type, id, cmd, stat, any int32, buf uint64, other func(ns uint64) error) error {
	if id < 0 || cmd < 0 {
		return unix.EINVAL
	}
	return d.lens.InIPC(c.Task, func(ns uint64) error {
		var o *ipcObject
		var err error
		switch cmd {
		case stat, any:
			o, err = ipcIn(ns, kind, id)
		case ipcStat, ipcSet, ipcRemove:
			o, err = ipcAt(ns, kind, id)
		case ipcInfo:
			return nil
		default:
			return other(ns)
		}
		if err != nil {
			return err
		}
		switch cmd {
		case stat, ipcStat:
			if !d.ipcPermitted(c, o, ipcRead) {
				return unix.EACCES
			}
		case ipcSet:
			var b [16]byte
			if err := d.lens.Read(c.Task, buf, b[:]); err != nil {
				return err
			}
			fallthrough
		case ipcRemove:
			if !d.ipcOwned(c, o) {
				return unix.EPERM
			}
		}
		d.emit(event, &tsem.IPCCell{Perm: d.perm(c, o), Value: cmd})
		return nil
	})
}
