// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// Descriptor describes what descriptor fd of t is open on. EBADF: nothing.
func (l *Lens) Descriptor(t *task.Task, fd int32, o *Object) error {
	o.Close()
	if fd < 0 {
		return unix.EBADF
	}
	// No need to open it: what is behind the link of procfs can be described
	// through the link.
	o.at = strconv.AppendInt(kernel.AppendProcPath(o.at, t.TID, "fd/"), int64(fd), 10)
	o.at, o.atLink = append(o.at, 0), true
	return l.reached(t, o)
}

// reached fills in an object that at leads to, which is a link of procfs.
func (l *Lens) reached(t *task.Task, o *Object) error {
	o.Missing, o.Gone = "", false
	if err := kernel.Stat(unix.AT_FDCWD, o.at, unix.AT_NO_AUTOMOUNT, statMask, &o.Stat); err != nil {
		o.Close()
		if err == unix.ENOENT {
			err = unix.EBADF
		}
		return err
	}
	l.readPath(o, o.at)
	o.Mount = l.World.mounts.find(l, t, o)
	return nil
}

// Lookup resolves path, which begins at dirfd if it is relative, as t would.
// A symbolic link at its end is followed if follow. The error is what the
// kernel would tell t.
func (l *Lens) Lookup(t *task.Task, dirfd int32, path []byte, follow bool, o *Object) error {
	o.Close()
	if len(path) == 0 {
		return unix.ENOENT
	}
	if near(path) {
		if err := l.lookupNear(t, dirfd, path, follow, o); err != errElsewise {
			return err
		}
	}
	known, err := l.open(t, dirfd, path, follow, o)
	if err != nil {
		return err
	}
	if err := l.describe(t, o, known); err != nil {
		o.Close()
		return err
	}
	if o.Mount.Magic == unix.PROC_SUPER_MAGIC && !bytes.Equal(path, o.Path) {
		// The way into procfs may have led over a link that means the caller,
		// which would be us.
		o.Close()
		return l.walk(t, dirfd, path, 0, follow, o)
	}
	return nil
}

// open opens path. It returns the object's absolute path if that is already
// known, and leaves to walk what we would resolve in another way than t.
func (l *Lens) open(t *task.Task, dirfd int32, path []byte, follow bool, o *Object) (known []byte, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	p := l.place(t)
	dir := unix.AT_FDCWD
	if path[0] != '/' {
		if dir, err = l.base(t, dirfd); err != nil {
			return nil, err
		}
		defer unix.Close(dir)
	} else if !p.ours {
		if dir, err = l.root(t); err != nil {
			return nil, err
		}
		defer unix.Close(dir)
		how.Resolve |= unix.RESOLVE_IN_ROOT
	}
	if !p.ours && path[0] != '/' && bytes.Contains(path, []byte("..")) {
		return l.walkTo(t, dirfd, path, follow, o)
	}
	l.path = append(append(l.path[:0], path...), 0)
	fd := -1
	try := func() error {
		fd, err = kernel.Open(dir, l.path, &how)
		return err
	}
	err = l.find(t, try)
	if err == unix.ELOOP {
		// A link on the way: inside our own root the kernel may follow it,
		// but never one that means the caller.
		if !p.ours && path[0] != '/' {
			return l.walkTo(t, dirfd, path, follow, o)
		}
		how.Resolve &^= unix.RESOLVE_NO_SYMLINKS
		if err = l.find(t, try); err != nil {
			return l.walkTo(t, dirfd, path, follow, o)
		}
		o.has(fd)
		return nil, nil
	}
	if err == unix.EAGAIN {
		// Something was renamed while ".." was checked against the root.
		return l.walkTo(t, dirfd, path, follow, o)
	}
	if err != nil {
		return nil, err
	}
	o.has(fd)
	if p.ours && clean(path) {
		return path, nil
	}
	return nil, nil
}

// walkTo is walk for open: the object has been described, so its path is known.
func (l *Lens) walkTo(t *task.Task, dirfd int32, path []byte, follow bool, o *Object) ([]byte, error) {
	if err := l.walk(t, dirfd, path, 0, follow, o); err != nil {
		return nil, err
	}
	return bytes.Clone(o.Path), nil
}

// clean tells whether an absolute path is in its shortest form.
func clean(path []byte) bool {
	if path[0] != '/' {
		return false
	}
	if len(path) == 1 {
		return true
	}
	for rest := path[1:]; ; {
		name, tail, more := bytes.Cut(rest, []byte("/"))
		if len(name) == 0 || name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.') {
			return false
		}
		if !more {
			return true
		}
		rest = tail
	}
}

// Last is the final component of a path whose parent directory was found.
type Last struct {
	Name  []byte
	Slash bool // slashes followed it
}

// Parent resolves all of path but its last component into o. The component
// may be "." or ".."; it is empty when path is only slashes.
func (l *Lens) Parent(t *task.Task, dirfd int32, path []byte, o *Object) (Last, error) {
	return l.ParentWithin(t, dirfd, path, 0, o)
}

// ParentWithin is Parent under restrictions, as LookupWithin is Lookup.
func (l *Lens) ParentWithin(t *task.Task, dirfd int32, path []byte, resolve uint64, o *Object) (Last, error) {
	o.Close()
	if len(path) == 0 {
		return Last{}, unix.ENOENT
	}
	trimmed := bytes.TrimRight(path, "/")
	last := Last{Slash: len(trimmed) < len(path)}
	i := bytes.LastIndexByte(trimmed, '/')
	last.Name = trimmed[i+1:]
	dir := trimmed[:i+1]
	if len(dir) > 1 {
		dir = bytes.TrimRight(dir, "/")
		if len(dir) == 0 {
			dir = path[:1]
		}
	}
	if len(trimmed) == 0 {
		dir = path[:1]
	}
	if len(dir) == 0 {
		dir = here
	}
	if err := l.LookupWithin(t, dirfd, dir, resolve, true, o); err != nil {
		return last, err
	}
	if !o.IsDir() {
		o.Close()
		return last, unix.ENOTDIR
	}
	return last, nil
}

var here = []byte(".")

// Child finds name in the directory dir, without following it.
func (l *Lens) Child(t *task.Task, dir *Object, name []byte, o *Object) error {
	o.Close()
	in, err := dir.open()
	if err != nil {
		return err
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW}
	l.path = append(append(l.path[:0], name...), 0)
	fd := -1
	err = l.find(t, func() (err error) {
		fd, err = kernel.Open(in, l.path, &how)
		return err
	})
	if err != nil {
		return err
	}
	o.has(fd)
	o.Path = Join(o.Path[:0], dir.Path, name)
	path := o.Path
	if err := l.describe(t, o, path); err != nil {
		o.Close()
		return err
	}
	o.Missing = dir.Missing
	return nil
}

// Join appends dir, a slash if one is wanting, and name to b.
func Join(b, dir, name []byte) []byte {
	b = append(b, dir...)
	if len(b) == 0 || b[len(b)-1] != '/' {
		b = append(b, '/')
	}
	return append(b, name...)
}

// Readlink reads the target of the symbolic link o into b's storage.
func (l *Lens) Readlink(o *Object, b []byte) ([]byte, error) {
	if cap(b) < PathMax {
		b = make([]byte, 0, PathMax)
	}
	fd, err := o.open()
	if err != nil {
		return b[:0], err
	}
	n, err := kernel.Readlink(fd, emptyPath, b[:PathMax])
	return b[:max(n, 0)], err
}
