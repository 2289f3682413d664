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
	FD    int // opened with O_PATH, -1 if none
	Stat  unix.Statx_t
	Mount *Mount
	Path  []byte // absolute, from the root of the mount tree
	Gone  bool   // the name has been removed
	// Missing is the word for a path that could not be read, or "".
	Missing string
}

// Close gives up the object's descriptor.
func (o *Object) Close() {
	if o.FD >= 0 {
		unix.Close(o.FD)
		o.FD = -1
	}
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
	if err := kernel.Stat(o.FD, emptyPath, unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, statMask, &o.Stat); err != nil {
		return err
	}
	if path != nil {
		o.Path = append(o.Path[:0], path...)
	} else {
		l.readPath(o)
	}
	o.Mount = l.World.mounts.find(l, t, o)
	return nil
}

// readPath asks the kernel for the path behind the object's descriptor.
func (l *Lens) readPath(o *Object) {
	const deleted = " (deleted)"
	var link [32]byte
	b := append(link[:0], "/proc/self/fd/"...)
	b = strconv.AppendInt(b, int64(o.FD), 10)
	b = append(b, 0)
	if cap(o.Path) < PathMax+64 {
		o.Path = make([]byte, 0, PathMax+64)
	}
	n, err := kernel.Readlink(unix.AT_FDCWD, b, o.Path[:cap(o.Path)])
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
		st.Ino == o.Stat.Ino && st.Dev_major == o.Stat.Dev_major && st.Dev_minor == o.Stat.Dev_minor {
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
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	path := "/proc/self/fd/" + strconv.Itoa(o.FD)
	fd, err := unix.Open(path, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Open(path, flags, 0)
	}
	return fd, err
}

// FDInfo is what /proc/TID/fdinfo tells of an open file.
type FDInfo struct {
	Flags uint32 // f_flags, without O_CLOEXEC
	PID   int    // for a pidfd: the process, in our pid namespace; else 0
}

// FDInfo reads what the kernel tells of descriptor fd of t.
func (l *Lens) FDInfo(t *task.Task, fd int32) (FDInfo, error) {
	var info FDInfo
	b, err := kernel.ReadProc(t.TID, "fdinfo/"+strconv.Itoa(int(fd)), l.scratch[:1024])
	if err != nil {
		return info, err
	}
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(name) {
		case "flags":
			v, _ := strconv.ParseUint(string(value), 8, 32)
			info.Flags = uint32(v) &^ unix.O_CLOEXEC
		case "Pid":
			info.PID, _ = strconv.Atoi(string(value))
		}
	}
	return info, nil
}
