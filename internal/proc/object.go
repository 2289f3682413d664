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

// Object is a file as the kernel's hooks see it: an inode and the path it was
// reached by. Its storage is used again by the next look-up into it.
type Object struct {
	Stat  unix.Statx_t
	Mount *Mount
	Path  []byte // absolute, from the root of the mount tree
	Gone  bool   // the name has been removed
	// Missing is the word for a path that could not be read, or "".
	Missing string

	fd     int // opened with O_PATH
	opened bool
	// at is a path, NUL byte included, by which this thread reaches the object
	// while the task waits, where it could be described without being opened:
	// what most objects are for needs no descriptor.
	at     []byte
	atLink bool // at ends in a link of procfs, which must be passed
}

// has makes fd the descriptor of o, which must have been closed, or be new.
func (o *Object) has(fd int) {
	o.fd, o.opened = fd, true
	o.at = o.at[:0]
}

// Close gives up the object's descriptor. It may be called again.
func (o *Object) Close() {
	if o.opened {
		unix.Close(o.fd)
		o.opened = false
	}
	o.at = o.at[:0]
}

// open returns the object's descriptor, which is made where there is none yet.
// ESTALE: what is found now is not what was described.
func (o *Object) open() (int, error) {
	if o.opened {
		return o.fd, nil
	}
	if len(o.at) == 0 {
		return -1, unix.EBADF
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC}
	if !o.atLink {
		how.Flags |= unix.O_NOFOLLOW
	}
	fd, err := kernel.Open(unix.AT_FDCWD, o.at, &how)
	if err != nil {
		return -1, err
	}
	var st unix.Statx_t
	if err := kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_INO, &st); err != nil || !sameInode(&st, &o.Stat) {
		unix.Close(fd)
		return -1, unix.ESTALE
	}
	o.fd, o.opened = fd, true
	return fd, nil
}

func sameInode(a, b *unix.Statx_t) bool {
	return a.Ino == b.Ino && a.Dev_major == b.Dev_major && a.Dev_minor == b.Dev_minor
}

// Dup returns a descriptor of the object, opened with O_PATH, for the caller
// to keep and to close.
func (o *Object) Dup() (int, error) {
	fd, err := o.open()
	if err != nil {
		return -1, err
	}
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

// IsDir and its sister tell the kind of the inode.
func (o *Object) IsDir() bool     { return o.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }
func (o *Object) IsRegular() bool { return o.Stat.Mode&unix.S_IFMT == unix.S_IFREG }
func (o *Object) IsSymlink() bool { return o.Stat.Mode&unix.S_IFMT == unix.S_IFLNK }

// ID tells the inode apart from every other that lives at the same time, and
// from most that lived before under its number.
func (o *Object) ID() InodeID {
	return InodeID{
		Dev:   uint64(o.Stat.Dev_major)<<32 | uint64(o.Stat.Dev_minor),
		Ino:   o.Stat.Ino,
		Birth: o.Stat.Btime.Sec*1e9 + int64(o.Stat.Btime.Nsec),
	}
}

// InodeID identifies an inode: device, number, time of birth (0 where the file
// system does not keep it).
type InodeID struct {
	Dev, Ino uint64
	Birth    int64
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME | unix.STATX_MNT_ID_UNIQUE

var emptyPath = []byte{0}

// describe fills in the rest of an object whose descriptor is open. path is
// the object's absolute path where the caller knows it.
func (l *Lens) describe(t *task.Task, o *Object, path []byte) error {
	o.Missing, o.Gone = "", false
	if err := kernel.Stat(o.fd, emptyPath, unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, statMask, &o.Stat); err != nil {
		return err
	}
	if path != nil {
		o.Path = append(o.Path[:0], path...)
	} else {
		l.path = ownLink(l.path[:0], o.fd)
		l.readPath(o, l.path)
	}
	o.Mount = l.World.mounts.find(l, t, o)
	return nil
}

// ownLink appends the link of procfs that leads to our own descriptor fd, NUL
// byte included.
func ownLink(b []byte, fd int) []byte {
	return append(strconv.AppendInt(append(b, "/proc/self/fd/"...), int64(fd), 10), 0)
}

// link is the path of that link for an object.
func (o *Object) link() (string, error) {
	fd, err := o.open()
	if err != nil {
		return "", err
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// readPath asks the kernel for the path behind link, a link of procfs that
// leads to the object.
func (l *Lens) readPath(o *Object, link []byte) {
	const deleted = " (deleted)"
	if cap(o.Path) < PathMax+64 {
		o.Path = make([]byte, 0, PathMax+64)
	}
	n, err := kernel.Readlink(unix.AT_FDCWD, link, o.Path[:cap(o.Path)])
	if err != nil {
		o.Path = o.Path[:0]
		o.Missing = "unreadable"
		return
	}
	o.Path = o.Path[:n]
	if !bytes.HasSuffix(o.Path, []byte(deleted)) {
		return
	}
	// A name may end in the same words as the kernel's remark.
	var st unix.Statx_t
	named := append(l.path[:0], o.Path...)
	l.path = append(named, 0)
	if kernel.Stat(unix.AT_FDCWD, l.path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st) == nil &&
		sameInode(&st, &o.Stat) {
		return
	}
	o.Path = o.Path[:len(o.Path)-len(deleted)]
	o.Gone = true
}

// Inode describes the object's inode, ids as we see them.
func (o *Object) Inode() tsem.Inode {
	in := tsem.Inode{
		UID: o.Stat.Uid, GID: o.Stat.Gid, Mode: uint32(o.Stat.Mode),
		Magic: o.Mount.Magic, SID: o.Mount.SID, UUID: o.Mount.UUID,
	}
	return in
}

// AbsolutePath is the path as PATH and FILE objects of TSEM have it.
func (o *Object) AbsolutePath(kind tsem.PathType) tsem.Path {
	p := tsem.Path{Type: kind, Missing: o.Missing}
	if o.Mount.HasDev {
		p.HasDev, p.Dev = true, o.Mount.Dev
		p.Pathname = o.Path
		return p
	}
	// A file without a device: the text before the colon of its invented
	// name, or nodev.
	p.Missing = ""
	p.Pathname = nodev
	if len(o.Path) > 0 && o.Path[0] != '/' {
		if i := bytes.IndexByte(o.Path, ':'); i >= 0 {
			p.Pathname = append(bytes.Clone(o.Path[:i]), ":/"...)
		}
	}
	return p
}

var nodev = []byte("nodev:/")

// RelativePath is the path from the root of the object's own file system, as
// DENTRY objects of TSEM have it. It is valid until the object's next use.
func (o *Object) RelativePath(kind tsem.PathType) tsem.Path {
	p := tsem.Path{Type: kind, Missing: o.Missing, HasDev: o.Mount.HasDev, Dev: o.Mount.Dev}
	p.Pathname = o.Mount.relative(o.Path)
	return p
}

// OpenRead opens the file behind the object for reading, with our own rights.
func (o *Object) OpenRead() (int, error) {
	path, err := o.link()
	if err != nil {
		return -1, err
	}
	return openForReading(path)
}

// openForReading opens a link of procfs to a file of ours.
func openForReading(path string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(path, flags, 0)
	}
	return fd, err
}
