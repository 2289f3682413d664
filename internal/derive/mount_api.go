// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"path"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Mounts knows what the newer mount calls prepare in descriptors from which it
// cannot be read back.
type Mounts struct {
	mu      sync.Mutex
	picked  map[descriptor]tsem.RemountCell // by fspick, to be changed by fsconfig
	clones  map[proc.InodeID][]byte         // the names of detached clones
	pending []pendingPick
}

// descriptor is one descriptor of one process.
type descriptor struct {
	tgid int
	fd   int32
}

type pendingPick struct {
	maker *task.Task
	at    descriptor
	cell  tsem.RemountCell
}

// maxDetached bounds what is remembered of prepared mounts.
const maxDetached = 1024

func newMounts() *Mounts {
	return &Mounts{picked: make(map[descriptor]tsem.RemountCell), clones: make(map[proc.InodeID][]byte)}
}

// Begin notes that t is about to pick a file system.
func (m *Mounts) Begin(t *task.Task, cell *tsem.RemountCell) {
	at := descriptor{t.TGID, lowestFree(descriptors(t.TID), 1)[0]}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = append(m.pending, pendingPick{t, at, *cell})
}

// Settle notes where the pick of t has come: it is about to make another call.
func (m *Mounts) Settle(t *task.Task) {
	m.take(t, func(p *pendingPick) {
		if len(m.picked) >= maxDetached {
			clear(m.picked)
		}
		m.picked[p.at] = p.cell
	})
}

// Undo forgets the pick of t: its call was not made.
func (m *Mounts) Undo(t *task.Task) { m.take(t, func(*pendingPick) {}) }

func (m *Mounts) take(t *task.Task, f func(*pendingPick)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.pending[:0]
	for _, p := range m.pending {
		if p.maker == t {
			f(&p)
		} else {
			kept = append(kept, p)
		}
	}
	m.pending = kept
}

// find returns what descriptor fd of process tgid was picked for.
func (m *Mounts) find(tgid int, fd int32) (cell tsem.RemountCell, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cell, ok = m.picked[descriptor{tgid, fd}]
	return cell, ok
}

// cloned notes the name that o, which is cloned, has in its directory.
func (m *Mounts) cloned(o *proc.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.clones) >= maxDetached {
		clear(m.clones)
	}
	name := []byte("/")
	if !o.IsSuperRoot() {
		name = bytes.Clone([]byte(path.Base(string(o.Path))))
	}
	m.clones[o.ID()] = name
}

func (m *Mounts) cloneName(o *proc.Object) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clones[o.ID()]
}

// Flags of the newer mount calls, from linux/mount.h.
const (
	openTreeClone     = 1
	moveFromFollow    = 0x1
	moveFromEmpty     = 0x4
	moveToFollow      = 0x10
	moveToEmpty       = 0x40
	moveSetGroup      = 0x100
	moveBeneath       = 0x200
	moveKnown         = 0x377
	pickNoFollow      = 2
	pickEmpty         = 8
	pickKnown         = 0xf
	configReconfigure = 7
)

// moveMount is move_mount.
func moveMount(d *Deriver, c *Call) error {
	err := d.movingMount(c)
	moves(d, c)
	return err
}

func (d *Deriver) movingMount(c *Call) error {
	flags := uint32(c.Args[4])
	switch {
	case !d.mayMount(c):
		return unix.EPERM
	case flags&^moveKnown != 0, flags&moveSetGroup != 0 && flags&moveBeneath != 0:
		return unix.EINVAL
	}
	from, to := &d.objects[0], &d.objects[1]
	if err := d.target(c, 0, 1, atEmpty(flags, moveFromEmpty), flags&moveFromFollow != 0, from); err != nil {
		return err
	}
	if err := d.target(c, 2, 3, atEmpty(flags, moveToEmpty), flags&moveToFollow != 0, to); err != nil {
		return err
	}
	cell := &tsem.PathPairCell{First: d.location(c, from), Second: d.location(c, to)}
	if !from.Mount.Listed() && from.IsMountRoot() {
		// A detached mount has no place: its root's own name counts.
		if name := d.shared.Mounts.cloneName(from); name != nil {
			cell.First.Pathname = name
		}
	}
	d.emit(tsem.MoveMount, cell)
	return nil
}

// atEmpty turns a flag that allows an empty path into the common one.
func atEmpty(flags, empty uint32) int32 {
	if flags&empty != 0 {
		return unix.AT_EMPTY_PATH
	}
	return 0
}

// openTree is open_tree. It has no event; the name of what it clones counts
// when that is mounted.
func openTree(d *Deriver, c *Call) error {
	flags := c.arg(2)
	if flags&openTreeClone == 0 {
		return nil
	}
	o := &d.objects[0]
	if err := d.target(c, 0, 1, flags&unix.AT_EMPTY_PATH, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o); err != nil {
		return err
	}
	d.shared.Mounts.cloned(o)
	return nil
}

// fspick is fspick. It has no event; what it picks may be changed by fsconfig,
// whose descriptor does not show it.
func fspick(d *Deriver, c *Call) error {
	flags := uint32(c.Args[2])
	if !d.mayMount(c) || flags&^pickKnown != 0 {
		return unix.EPERM
	}
	o := &d.objects[0]
	if err := d.target(c, 0, 1, atEmpty(flags, pickEmpty), flags&pickNoFollow == 0, o); err != nil {
		return err
	}
	if !o.IsMountRoot() {
		return unix.EINVAL
	}
	cell, err := d.remount(c, o)
	if err != nil {
		return err
	}
	for _, text := range []*[]byte{&cell.Dentry.Path.Pathname, &cell.Dentry.Path.Abspath} {
		*text = bytes.Clone(*text)
	}
	d.shared.Mounts.Begin(c.Task, cell)
	return nil
}

// fsconfig is fsconfig: the command that changes a mounted file system is a
// remount.
func fsconfig(d *Deriver, c *Call) error {
	if uint32(c.Args[1]) != configReconfigure {
		return nil
	}
	if c.Args[2] != 0 || c.Args[3] != 0 || c.Args[4] != 0 {
		return unix.EINVAL
	}
	cell, ok := d.shared.Mounts.find(c.Task.TGID, c.arg(0))
	o := &d.objects[0]
	if !ok || d.lens.Descriptor(c.Task, c.arg(0), o) != nil || string(o.Path) != "anon_inode:[fscontext]" {
		return unix.EBADF
	}
	d.emit(tsem.SBRemount, &cell)
	return nil
}
