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

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// procRootIno is the inode number of the root of every procfs.
const procRootIno = 1

// walk resolves path component by component, as t and not as we: with the
// task's root directory for absolute links and "..", and its own number for
// the links of procfs that mean the caller. resolve restricts it, see
// LookupWithin.
func (l *Lens) walk(t *task.Task, dirfd int32, path []byte, resolve uint64, follow bool, o *Object) error {
	o.Close()
	var root int
	var err error
	if resolve&scoped != 0 {
		root, err = l.base(t, dirfd)
	} else {
		root, err = l.root(t)
	}
	if err != nil {
		return err
	}
	defer unix.Close(root)
	var cur int
	switch {
	case path[0] == '/' && resolve&unix.RESOLVE_BENEATH != 0:
		return unix.EXDEV
	case path[0] == '/' || resolve&scoped != 0:
		cur, err = unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0)
	default:
		cur, err = l.base(t, dirfd)
	}
	if err != nil {
		return err
	}
	w := walker{l: l, t: t, root: root, cur: cur, resolve: resolve}
	w.rooted = path[0] == '/' || resolve&scoped != 0
	err = w.run(bytes.Clone(path), follow)
	if err != nil {
		unix.Close(w.cur)
		return err
	}
	o.has(w.cur)
	if err := l.describe(t, o, nil); err != nil {
		o.Close()
		return err
	}
	return nil
}

type walker struct {
	l         *Lens
	t         *task.Task
	root, cur int
	links     int
	resolve   uint64 // restrictions
	rooted    bool   // the kernel has had to look for the root by now
}

// run walks rest from the current directory.
func (w *walker) run(rest []byte, follow bool) error {
	for {
		slash := len(rest)
		rest = bytes.TrimLeft(rest, "/")
		if len(rest) == 0 {
			if slash > 0 {
				return w.needDir()
			}
			return nil
		}
		name, tail, more := bytes.Cut(rest, []byte("/"))
		if len(name) > unix.NAME_MAX {
			return unix.ENAMETOOLONG
		}
		last := !more
		switch string(name) {
		case ".":
			if err := w.needDir(); err != nil {
				return err
			}
		case "..":
			if err := w.up(); err != nil {
				return err
			}
		default:
			link, err := w.down(name, !last || follow)
			if err != nil {
				return err
			}
			if link != nil {
				if w.links++; w.links > maxLinks {
					return unix.ELOOP
				}
				if len(link) == 0 {
					return unix.ENOENT
				}
				if link[0] == '/' {
					if err := w.mayJump(); err != nil {
						return err
					}
					if err := w.set(unix.FcntlInt(uintptr(w.root), unix.F_DUPFD_CLOEXEC, 0)); err != nil {
						return err
					}
				}
				if more {
					link = append(append(link, '/'), tail...)
				}
				rest = link
				continue
			}
		}
		if last {
			return nil
		}
		rest = append([]byte("/"), tail...)
	}
}

func (w *walker) set(fd int, err error) error {
	if err != nil {
		return err
	}
	unix.Close(w.cur)
	w.cur = fd
	return nil
}

func (w *walker) needDir() error {
	var st unix.Statx_t
	if err := kernel.Stat(w.cur, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_TYPE, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

func (w *walker) up() error {
	w.rooted = true
	if same, err := sameDirectory(w.cur, w.root); err != nil || same {
		if same && w.resolve&unix.RESOLVE_BENEATH != 0 {
			return unix.EXDEV
		}
		return err
	}
	return w.enter(w.open([]byte(".."), unix.O_DIRECTORY))
}

func sameDirectory(a, b int) (bool, error) {
	const mask = unix.STATX_INO | unix.STATX_MNT_ID
	var x, y unix.Statx_t
	if err := kernel.Stat(a, emptyPath, unix.AT_EMPTY_PATH, mask, &x); err != nil {
		return false, err
	}
	if err := kernel.Stat(b, emptyPath, unix.AT_EMPTY_PATH, mask, &y); err != nil {
		return false, err
	}
	return x.Ino == y.Ino && x.Mnt_id == y.Mnt_id && x.Dev_major == y.Dev_major && x.Dev_minor == y.Dev_minor, nil
}

// open opens name in the current directory with the task's rights.
func (w *walker) open(name []byte, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags}
	path := append(bytes.Clone(name), 0)
	fd := -1
	err := w.l.find(w.t, func() (err error) {
		fd, err = kernel.Open(w.cur, path, &how)
		return err
	})
	return fd, err
}

// down goes to name. A symbolic link that is to be followed is returned as
// its text, except those of procfs that lead straight to an object.
func (w *walker) down(name []byte, follow bool) (link []byte, err error) {
	fd, err := w.open(name, unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	var st unix.Statx_t
	if err := kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_TYPE|unix.STATX_INO, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK || !follow {
		return nil, w.enter(fd, nil)
	}
	defer unix.Close(fd)
	if w.resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		return nil, unix.ELOOP
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return nil, err
	}
	if fs.Type == unix.PROC_SUPER_MAGIC {
		var dir unix.Statx_t
		if err := kernel.Stat(w.cur, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_INO, &dir); err != nil {
			return nil, err
		}
		switch {
		case dir.Ino != procRootIno:
			if w.links++; w.links > maxLinks {
				return nil, unix.ELOOP
			}
			if err := w.followed(fd); err != nil {
				return nil, err
			}
			switch {
			case w.resolve&unix.RESOLVE_NO_MAGICLINKS != 0:
				return nil, unix.ELOOP
			case w.resolve&scoped != 0:
				return nil, unix.EXDEV
			}
			return nil, w.enter(w.open(name, 0))
		case string(name) == "self":
			return strconv.AppendInt(nil, w.number(fd, w.t.TGID), 10), nil
		case string(name) == "thread-self":
			b := strconv.AppendInt(nil, w.number(fd, w.t.TGID), 10)
			return strconv.AppendInt(append(b, "/task/"...), w.number(fd, w.t.TID), 10), nil
		}
	}
	b := make([]byte, PathMax)
	n, err := kernel.Readlink(fd, emptyPath, b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// number is what task tid is called in the procfs of link, which means the
// caller. Where it leads nowhere for us, that procfs is of the task's own pid
// namespace.
func (w *walker) number(link, tid int) int64 {
	var b [64]byte
	if _, err := kernel.Readlink(link, emptyPath, b[:]); err == unix.ENOENT {
		tid = task.InnerNumber(tid)
	}
	return int64(tid)
}

// followed asks whether the link of procfs that is open as fd may be passed.
func (w *walker) followed(fd int) error {
	if w.l.Followed == nil {
		return nil
	}
	o := Object{fd: fd}
	if err := kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_INO, &o.Stat); err != nil {
		return err
	}
	w.l.readPath(&o, ownLink(nil, fd))
	return w.l.Followed(w.t, o.Path, &o.Stat)
}
