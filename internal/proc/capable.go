// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// initialUserNS is the inode number of the first user namespace.
const initialUserNS = 0xeffffffd

// Questions to a namespace, from linux/nsfs.h.
const (
	nsGetUserNS   = 0xb701
	nsGetParent   = 0xb702
	nsGetOwnerUID = 0xb704
)

// Capable tells whether t has a capability over the whole system: one of the
// first user namespace.
func (l *Lens) Capable(t *task.Task, capability uint) bool {
	if t.Status.COE.CapEff&(1<<capability) == 0 {
		return false
	}
	if l.place(t).idmap == nil {
		return l.World.userns == initialUserNS
	}
	ino, err := inode(kernel.ProcPath(t.TID, "ns/user"))
	return err == nil && ino == initialUserNS
}

// CapableOver tells whether t has a capability over its own namespace of a
// kind ("mnt", "ipc", "net"): in the user namespace that owns it.
func (l *Lens) CapableOver(t *task.Task, kind string, capability uint) bool {
	has := t.Status.COE.CapEff&(1<<capability) != 0
	if has && l.World.userns == initialUserNS && l.place(t).idmap == nil {
		return true // all namespaces lie below the first
	}
	ns, err := unix.Open(kernel.ProcPath(t.TID, "ns/"+kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return has
	}
	owner, err := unix.IoctlRetInt(ns, nsGetUserNS)
	unix.Close(ns)
	if err != nil {
		return false // the owner is no descendant of our own namespace
	}
	return l.capableIn(t, owner, has)
}

// CapableTo tells whether t has a capability over task tid: in the user
// namespace of that task.
func (l *Lens) CapableTo(t *task.Task, tid int, capability uint) bool {
	has := t.Status.COE.CapEff&(1<<capability) != 0
	if has && l.World.userns == initialUserNS && l.place(t).idmap == nil {
		return true
	}
	ns, err := unix.Open(kernel.ProcPath(tid, "ns/user"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return has
	}
	return l.capableIn(t, ns, has)
}

// capableIn tells whether t has a capability in the user namespace that is
// open as ns, which it closes. has tells whether t has it in its own.
func (l *Lens) capableIn(t *task.Task, ns int, has bool) bool {
	own, err := inode(kernel.ProcPath(t.TID, "ns/user"))
	if err != nil {
		unix.Close(ns)
		return has
	}
	for err == nil {
		var st unix.Stat_t
		if unix.Fstat(ns, &st) == nil && st.Ino == own {
			unix.Close(ns)
			return has
		}
		// Who made a namespace, and is in the one above it, may do all there.
		parent, e := unix.IoctlRetInt(ns, nsGetParent)
		if e == nil && unix.Fstat(parent, &st) == nil && st.Ino == own {
			uid, e := unix.IoctlGetUint32(ns, nsGetOwnerUID)
			if e == nil && uid == t.Status.COE.EUID {
				has = true
			}
		}
		unix.Close(ns)
		ns, err = parent, e
	}
	return false // the namespace is no descendant of the task's own
}

// SameUserNamespace tells whether t and task tid live in one user namespace.
func (l *Lens) SameUserNamespace(t *task.Task, tid int) bool {
	a, err := inode(kernel.ProcPath(t.TID, "ns/user"))
	if err != nil {
		return l.place(t).idmap == nil
	}
	b, err := inode(kernel.ProcPath(tid, "ns/user"))
	return err != nil || a == b
}

// FromUID is the user id, as we see it, that t knows as id; false if it knows
// none by that number.
func (l *Lens) FromUID(t *task.Task, id uint32) (uint32, bool) {
	m := l.place(t).idmap
	if m == nil {
		return id, id != noID
	}
	for _, x := range m.uids {
		if id >= x.inside && id-x.inside < x.count {
			return x.outside + (id - x.inside), true
		}
	}
	return noID, false
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Ino, err
}

// SameUsers tells whether t lives in our own user namespace.
func (l *Lens) SameUsers(t *task.Task) bool { return l.place(t).idmap == nil }
