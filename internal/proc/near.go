// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// near tells whether path is a single name in the directory it begins at.
func near(path []byte) bool {
	return bytes.IndexByte(path, '/') < 0 && string(path) != ".."
}

// errElsewise means that a look-up must be made in the general way.
var errElsewise = errors.New("not that simple")

// lookupNear is Lookup for a single name. The name can be asked for by way of
// the links of procfs to the directory, and its path is put together from that
// of the directory: two calls, and nothing is opened. What is not as simple as
// it looks (a symbolic link to follow, a directory that has been removed, a task
// with other rights than ours) is errElsewise.
func (l *Lens) lookupNear(t *task.Task, dirfd int32, name []byte, follow bool, o *Object) error {
	if _, same := l.access(t); !same || l.place(t).idmap != nil {
		return errElsewise
	}
	o.Missing, o.Gone = "", false
	at := kernel.AppendProcPath(o.at[:0], t.TID, "cwd")
	if dirfd != unix.AT_FDCWD {
		if dirfd < 0 {
			return unix.EBADF
		}
		at = strconv.AppendInt(kernel.AppendProcPath(o.at[:0], t.TID, "fd/"), int64(dirfd), 10)
	}
	n := len(at)
	at = append(append(append(at, '/'), name...), 0)
	o.at, o.atLink = at, false
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if err := kernel.Stat(unix.AT_FDCWD, at, flags, statMask, &o.Stat); err != nil {
		o.Close()
		return err
	}
	if follow && o.IsSymlink() {
		o.Close()
		return errElsewise
	}
	l.path = append(append(l.path[:0], at[:n]...), 0)
	l.readPath(o, l.path)
	if o.Missing != "" || o.Gone || len(o.Path) == 0 || o.Path[0] != '/' {
		o.Close()
		return errElsewise
	}
	if string(name) != "." {
		o.Path = Join(o.Path, nil, name)
	}
	o.Mount = l.World.mounts.find(l, t, o)
	return nil
}
