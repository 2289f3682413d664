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
	defer unix.Close(ns)
	own, err := inode(kernel.ProcPath(t.TID, "ns/user"))
	if err != nil {
		return has
	}
	owner, err := unix.IoctlRetInt(ns, nsGetUserNS)
	for err == nil {
		var st unix.Stat_t
		if unix.Fstat(owner, &st) == nil && st.Ino == own {
			unix.Close(owner)
			return has
		}
		// Who made a namespace, and is in the one above it, may do all there.
		parent, e := unix.IoctlRetInt(owner, nsGetParent)
		if e == nil && unix.Fstat(parent, &st) == nil && st.Ino == own {
			uid, e := unix.IoctlGetUint32(owner, nsGetOwnerUID)
			if e == nil && uid == t.Status.COE.EUID {
				has = true
			}
		}
		unix.Close(owner)
		owner, err = parent, e
	}
	return false // the owner is no descendant of the task's own namespace
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Ino, err
}

// SameUsers tells whether t lives in our own user namespace.
func (l *Lens) SameUsers(t *task.Task) bool { return l.place(t).idmap == nil }
