// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// scoped are the restrictions with which the directory that a look-up begins
// at cannot be left.
const scoped = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT

// ResolveCached is RESOLVE_CACHED of openat2: only what is in memory.
const ResolveCached = 0x20

// LookupWithin is Lookup under the restrictions of openat2, RESOLVE_ bits.
func (l *Lens) LookupWithin(t *task.Task, dirfd int32, path []byte, resolve uint64, follow bool, o *Object) error {
	if resolve == 0 {
		return l.Lookup(t, dirfd, path, follow, o)
	}
	o.Close()
	if len(path) == 0 {
		return unix.ENOENT
	}
	if resolve&ResolveCached != 0 {
		if err := l.cached(t, dirfd, path, resolve); err != nil {
			return err
		}
	}
	return l.walk(t, dirfd, path, resolve, follow, o)
}

// cached returns EAGAIN where the kernel does not have in memory what it needs
// to resolve path. It must be asked first: any other look-up fetches that.
func (l *Lens) cached(t *task.Task, dirfd int32, path []byte, resolve uint64) (err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: resolve}
	dir := unix.AT_FDCWD
	switch {
	case path[0] != '/' || resolve&scoped != 0:
		dir, err = l.base(t, dirfd)
	case !l.place(t).ours:
		dir, err = l.root(t)
		how.Resolve |= unix.RESOLVE_IN_ROOT
	}
	if err != nil {
		return err
	}
	if dir != unix.AT_FDCWD {
		defer unix.Close(dir)
	}
	l.path = append(append(l.path[:0], path...), 0)
	err = l.find(t, func() error {
		fd, err := kernel.Open(dir, l.path, &how)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})
	if err == unix.EAGAIN {
		return err
	}
	return nil // of other errors the walk knows better
}

// enter is set where a mount must not be left, and for that it looks.
func (w *walker) enter(fd int, err error) error {
	if err != nil || w.resolve&unix.RESOLVE_NO_XDEV == 0 {
		return w.set(fd, err)
	}
	if same, err := sameMount(w.cur, fd); err != nil || !same {
		unix.Close(fd)
		if err == nil {
			err = unix.EXDEV
		}
		return err
	}
	return w.set(fd, nil)
}

// mayJump tells whether an absolute symbolic link may be followed. Where the
// kernel has not had to look for the root it takes that for another mount.
func (w *walker) mayJump() error {
	switch {
	case w.resolve&unix.RESOLVE_BENEATH != 0:
		return unix.EXDEV
	case w.resolve&unix.RESOLVE_NO_XDEV != 0:
		if same, err := sameMount(w.cur, w.root); err != nil || !same || !w.rooted {
			return unix.EXDEV
		}
	}
	w.rooted = true
	return nil
}

func sameMount(a, b int) (bool, error) {
	var x, y unix.Statx_t
	if err := kernel.Stat(a, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &x); err != nil {
		return false, err
	}
	if err := kernel.Stat(b, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &y); err != nil {
		return false, err
	}
	return x.Mnt_id == y.Mnt_id, nil
}
