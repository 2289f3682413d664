// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// place is where a task stands: its root directory and its namespaces, as far
// as they differ from ours.
type place struct {
	era     uint64
	ttd     uint64 // the task's when it was looked at
	ours    bool   // our root directory in our mount namespace
	mntns   uint64
	kind    tsem.PathType
	idmap   *idmap // nil in our own user namespace
	pids    bool   // our own pid namespace
	unknown bool   // could not be read: taken for ours
}

// place returns where t stands, from memory while nothing can have changed.
func (l *Lens) place(t *task.Task) *place {
	w := l.World
	if p, ok := t.Root.(*place); ok && p.era == w.era.Load() && w.moving.Load() == 0 {
		// The maps of a user namespace are written after it is made.
		if p.idmap == nil || p.ttd == t.TTD {
			return p
		}
	}
	era := w.era.Load()
	still := w.moving.Load() == 0
	p := l.look(t)
	p.era, p.ttd = era, t.TTD
	if still && !p.unknown {
		t.Root = p
	} else {
		t.Root = nil
	}
	return p
}

func (l *Lens) look(t *task.Task) *place {
	w := l.World
	p := &place{ours: true, mntns: w.mntns, kind: tsem.PathRoot, pids: true}
	var st unix.Stat_t
	if unix.Stat(kernel.ProcPath(t.TID, "ns/mnt"), &st) != nil {
		p.unknown = true
		return p
	}
	p.mntns = st.Ino
	if p.mntns != w.mntns {
		p.ours, p.kind = false, tsem.PathNamespace
	} else if unix.Stat(kernel.ProcPath(t.TID, "root"), &st) == nil && (fileID{st.Dev, st.Ino}) != w.rootID {
		p.ours, p.kind = false, tsem.PathChroot
	}
	if unix.Stat(kernel.ProcPath(t.TID, "ns/user"), &st) == nil && st.Ino != w.userns {
		p.idmap = readIDMap(t.TID)
	}
	switch {
	case t.Status.Depth != 0:
		p.pids = t.Status.Depth == 1
	case unix.Stat(kernel.ProcPath(t.TID, "ns/pid"), &st) == nil:
		p.pids = st.Ino == w.pidns
	}
	return p
}

// SamePIDs tells whether t numbers tasks as we do.
func (l *Lens) SamePIDs(t *task.Task) bool { return l.place(t).pids }

// noID is what an id without a mapping is written as.
const noID = 0xffffffff

// idmap translates ids as we see them to those of a task's user namespace.
type idmap struct{ uids, gids extents }

type extents []struct{ inside, outside, count uint32 }

func readIDMap(tid int) *idmap {
	var m idmap
	buf := make([]byte, 16384)
	if b, err := kernel.ReadProc(tid, "uid_map", buf); err == nil {
		m.uids = parseExtents(b)
	}
	if b, err := kernel.ReadProc(tid, "gid_map", buf); err == nil {
		m.gids = parseExtents(b)
	}
	return &m
}

func parseExtents(b []byte) (e extents) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 {
			continue
		}
		var n [3]uint32
		for i := range n {
			v, _ := strconv.ParseUint(string(f[i]), 10, 32)
			n[i] = uint32(v)
		}
		e = append(e, struct{ inside, outside, count uint32 }{n[0], n[1], n[2]})
	}
	return e
}

func (e extents) to(id uint32) uint32 {
	for _, x := range e {
		if id >= x.outside && id-x.outside < x.count {
			return x.inside + (id - x.outside)
		}
	}
	return noID
}

// PathType tells how paths of t are to be understood.
func (l *Lens) PathType(t *task.Task) tsem.PathType { return l.place(t).kind }

// UID translates a user id to the user namespace of t.
func (l *Lens) UID(t *task.Task, id uint32) uint32 {
	if m := l.place(t).idmap; m != nil {
		return m.uids.to(id)
	}
	return id
}

// GID translates a group id to the user namespace of t.
func (l *Lens) GID(t *task.Task, id uint32) uint32 {
	if m := l.place(t).idmap; m != nil {
		return m.gids.to(id)
	}
	return id
}

// Root opens the root directory of t.
func (l *Lens) root(t *task.Task) (int, error) {
	return unix.Open(kernel.ProcPath(t.TID, "root"), unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
}

// base opens the directory from which a relative path of t begins.
func (l *Lens) base(t *task.Task, dirfd int32) (int, error) {
	if dirfd == unix.AT_FDCWD {
		return unix.Open(kernel.ProcPath(t.TID, "cwd"), unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return l.openFD(t, dirfd)
}

// openFD opens what descriptor fd of t stands for, without its rights to read
// or write. EBADF: there is none.
func (l *Lens) openFD(t *task.Task, fd int32) (int, error) {
	if fd < 0 {
		return -1, unix.EBADF
	}
	b := kernel.AppendProcPath(l.path[:0], t.TID, "fd/")
	b = strconv.AppendInt(b, int64(fd), 10)
	b = append(b, 0)
	l.path = b
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	n, err := kernel.Open(unix.AT_FDCWD, b, &how)
	if err == unix.ENOENT {
		err = unix.EBADF
	}
	return n, err
}
