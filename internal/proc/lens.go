// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package proc looks at a stopped task from outside: it reads the task's
// memory, resolves paths as the task would, and describes the files behind
// paths and descriptors as the kernel's hooks see them.
//
// A Lens belongs to one locked thread. It looks with the task's own right to
// files wherever that decides the outcome: the thread takes over the task's
// ids and capabilities for the length of a call (see kernel.Assume). What
// lenses learn of mounts and file contents they share in a World.
package proc

import (
	"bytes"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// World is what all lenses of a run share. It is safe for concurrent use.
type World struct {
	Digests *Digests
	mounts  mounts
	mntns   uint64 // our own mount namespace
	userns  uint64 // our own user namespace
	pidns   uint64 // our own pid namespace
	rootID  fileID // our own root directory
	// The settings fs.protected_regular and fs.protected_hardlinks, as they
	// were at the start.
	protectedRegular   int
	protectedHardlinks bool
	// moving counts the calls under way that may change the root or a
	// namespace of some task. Meanwhile nothing is remembered of roots.
	moving atomic.Int64
	era    atomic.Uint64
}

// NewWorld looks at the calling process, which tasks are compared with.
func NewWorld(alg *tsem.Algorithm) (*World, error) {
	w := &World{Digests: newDigests(alg)}
	w.mounts.init()
	w.protectedRegular = setting("/proc/sys/fs/protected_regular")
	w.protectedHardlinks = setting("/proc/sys/fs/protected_hardlinks") != 0
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &st); err != nil {
		return nil, err
	}
	w.mntns = st.Ino
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return nil, err
	}
	w.userns = st.Ino
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return nil, err
	}
	w.pidns = st.Ino
	if err := unix.Stat("/", &st); err != nil {
		return nil, err
	}
	w.rootID = fileID{dev: st.Dev, ino: st.Ino}
	return w, nil
}

// Moving tells that a task begins a call that may change its root directory
// or a namespace; Moved that the call is over.
func (w *World) Moving() { w.moving.Add(1) }

// Moved ends what Moving began.
func (w *World) Moved() {
	w.era.Add(1)
	w.moving.Add(-1)
	w.mounts.forgetPlaces()
}

type fileID struct{ dev, ino uint64 }

// Lens is one thread's view.
type Lens struct {
	World *World
	// Followed, if set, is asked before a link of procfs that leads straight
	// to an object is passed on behalf of a task. path is that of the link, st
	// tells its device. An error ends the look-up.
	Followed func(t *task.Task, path []byte, st *unix.Statx_t) error

	own     kernel.Access
	capable bool // may take over other ids
	scratch [4096 + 64]byte
	path    []byte
	fdinfos fdinfos
}

// NewLens makes the lens of the calling thread, which must stay locked.
func (w *World) NewLens() (*Lens, error) {
	l := &Lens{World: w}
	var st task.Status
	if err := st.ReadStatus(unix.Gettid(), make([]byte, 8192)); err != nil {
		return nil, err
	}
	l.own = access(&st)
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	l.capable = st.COE.CapEff&need == need
	return l, nil
}

func access(st *task.Status) kernel.Access {
	return kernel.Access{FSUID: st.COE.FSUID, FSGID: st.COE.FSGID, Groups: st.Groups, CapEff: st.COE.CapEff}
}

// as calls f with the right to files that t has. Where this thread cannot
// take it over (we are not root) our own is used, which is then that of most
// tasks. The capabilities of a task in a user namespace of its own do not count
// in ours.
func (l *Lens) as(t *task.Task, f func() error) error {
	a, same := l.access(t)
	if same {
		return f()
	}
	if err := kernel.Assume(&l.own, &a); err != nil {
		kernel.Assume(&a, &l.own)
		return f()
	}
	err := f()
	kernel.Assume(&a, &l.own)
	return err
}

// access is the right to files that t has. same: it is that of this thread, or
// this thread cannot take it over.
func (l *Lens) access(t *task.Task) (a kernel.Access, same bool) {
	if !l.capable {
		return l.own, true
	}
	a = access(&t.Status)
	if l.place(t).idmap != nil {
		a.CapEff = 0
	}
	return a, a.FSUID == l.own.FSUID && a.FSGID == l.own.FSGID &&
		a.CapEff&kernel.FileCaps == l.own.CapEff&kernel.FileCaps && slices.Equal(a.Groups, l.own.Groups)
}

// find is as for looking up names. A task that has capabilities in a user
// namespace of its own may look where they count: that is left to the check of
// what is found.
func (l *Lens) find(t *task.Task, f func() error) error {
	err := l.as(t, f)
	const search = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	if err == unix.EACCES && l.place(t).idmap != nil && t.Status.COE.CapEff&search != 0 {
		return f()
	}
	return err
}

// MayAccess tells whether t may use o in the ways of mode (R_OK, W_OK, X_OK):
// permission bits, access lists, capabilities, read-only mounts and immutable
// files all count.
func (l *Lens) MayAccess(t *task.Task, o *Object, mode uint32) bool {
	err := l.mayAccess(t, o, mode)
	if err == nil {
		return true
	}
	if err == unix.EROFS || err == unix.EPERM || !l.insider(t, o) {
		return false
	}
	// Capabilities count in the task's own user namespace, where we are not.
	caps := t.Status.COE.CapEff
	if caps&(1<<unix.CAP_DAC_OVERRIDE) != 0 {
		return mode&unix.X_OK == 0 || o.Stat.Mode&0o111 != 0 || o.IsDir()
	}
	return caps&(1<<unix.CAP_DAC_READ_SEARCH) != 0 && mode&unix.W_OK == 0 && (mode&unix.X_OK == 0 || o.IsDir())
}

func (l *Lens) mayAccess(t *task.Task, o *Object, mode uint32) error {
	if a, same := l.access(t); same {
		if l.World.userns == initialUserNS && mayRead(&a, o) && mode == unix.R_OK {
			return nil
		}
		return o.mayAccess(mode)
	}
	fd, err := o.open() // by ourselves: t need not get there by at
	if err != nil {
		return err
	}
	return l.as(t, func() error { return kernel.MayAccess(fd, emptyPath, unix.AT_EMPTY_PATH, mode) })
}

// mayRead tells whether reading o is beyond doubt, in the first user namespace:
// its owner may, before any access list is looked at, and so may who passes
// over permissions. False: ask the kernel, as always where a file system has
// rules of its own.
func mayRead(a *kernel.Access, o *Object) bool {
	switch o.Mount.Magic {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
	default:
		return false
	}
	const search = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	return o.IsRegular() && (a.CapEff&search != 0 || a.FSUID == o.Stat.Uid && o.Stat.Mode&0o400 != 0)
}

// mayAccess asks for this thread.
func (o *Object) mayAccess(mode uint32) error {
	switch {
	case o.opened:
		return kernel.MayAccess(o.fd, emptyPath, unix.AT_EMPTY_PATH, mode)
	case len(o.at) == 0:
		return unix.EBADF
	case o.atLink:
		return kernel.MayAccess(unix.AT_FDCWD, o.at, 0, mode)
	}
	return kernel.MayAccess(unix.AT_FDCWD, o.at, unix.AT_SYMLINK_NOFOLLOW, mode)
}

// insider tells whether t lives in a user namespace of its own in which the
// owner of o has a number.
func (l *Lens) insider(t *task.Task, o *Object) bool {
	p := l.place(t)
	return p.idmap != nil && p.idmap.uids.to(o.Stat.Uid) != noID && p.idmap.gids.to(o.Stat.Gid) != noID
}

// Read copies len(b) bytes from address addr of t; anything less is EFAULT.
func (l *Lens) Read(t *task.Task, addr uint64, b []byte) error {
	for len(b) > 0 {
		n, err := kernel.ReadMemory(t.TID, addr, b)
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.EFAULT
		}
		b = b[n:]
		addr += uint64(n)
	}
	return nil
}

// PathMax is the longest path the kernel takes, with its NUL byte.
const PathMax = 4096

// String reads the string at addr of t, at most max bytes with its NUL byte,
// and appends it without the NUL to b. ENAMETOOLONG: no NUL within max.
func (l *Lens) String(t *task.Task, b []byte, addr uint64, max int) ([]byte, error) {
	const page = 4096
	// Most strings are short: ask for little first, but never past the page,
	// since the next may not be there.
	step := 256
	for max > 0 {
		n := min(step, max, int(page-addr%page))
		chunk := l.scratch[:n]
		got, err := kernel.ReadMemory(t.TID, addr, chunk)
		if err != nil {
			return b, err
		}
		if got == 0 {
			return b, unix.EFAULT
		}
		chunk = chunk[:got]
		if i := bytes.IndexByte(chunk, 0); i >= 0 {
			return append(b, chunk[:i]...), nil
		}
		b = append(b, chunk...)
		addr += uint64(got)
		max -= got
		step = page
	}
	return b, unix.ENAMETOOLONG
}
