// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Superblock is a mounted file system as a whole.
type Superblock struct {
	Dev     tsem.Dev
	FSType  string
	Options []string // its own, not those of a mount
	point   string   // where its root directory hangs, "" if nowhere
}

// Superblock finds a file system among the mounts that t sees.
func (l *Lens) Superblock(t *task.Task, dev tsem.Dev) (sb Superblock, ok bool) {
	file, root := l.mountTable(t)
	table, err := os.ReadFile(file)
	if err != nil {
		return sb, false
	}
	number := devNumber(dev)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[2] != number {
			continue
		}
		sep := 6
		for sep < len(f) && f[sep] != "-" {
			sep++
		}
		if sep+3 >= len(f) {
			continue
		}
		if !ok {
			fstype, _, _ := strings.Cut(f[sep+1], ".") // without a subtype
			sb = Superblock{Dev: dev, FSType: fstype, Options: strings.Split(f[sep+3], ",")}
			ok = true
		}
		if unquote(f[3]) == "/" {
			sb.point = unquote(f[4])
			if root != "/" {
				sb.point = root + strings.TrimSuffix(sb.point, "/")
			}
			return sb, true
		}
	}
	return sb, ok
}

// mountTable is the file that lists the mounts of t, and the path of the
// directory that it takes for the root.
func (l *Lens) mountTable(t *task.Task) (file, root string) {
	if p := l.place(t); !p.ours && p.mntns != l.World.mntns {
		return kernel.ProcPath(t.TID, "mountinfo"), l.rootPath(t)
	}
	return "/proc/self/mountinfo", "/"
}

// Root opens the root directory of the file system. ENOENT: no mount shows it.
func (l *Lens) Root(t *task.Task, sb *Superblock, o *Object) error {
	o.Close()
	if sb.point == "" {
		return unix.ENOENT
	}
	path := sb.point
	if p := l.place(t); !p.ours && p.mntns != l.World.mntns {
		root := l.rootPath(t)
		path = kernel.ProcPath(t.TID, "root") + strings.TrimPrefix(sb.point, strings.TrimSuffix(root, "/"))
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	o.has(fd)
	err = l.describe(t, o, []byte(sb.point))
	if err == nil && (o.Stat.Dev_major != sb.Dev.Major || o.Stat.Dev_minor != sb.Dev.Minor) && o.Mount.Dev != sb.Dev {
		err = unix.ENOENT // something else is mounted over it
	}
	if err != nil {
		o.Close()
	}
	return err
}

// Bits of s_flags, from include/linux/fs.h.
const (
	sbReadOnly    = 1 << 0
	sbSynchronous = 1 << 4
	sbMandLock    = 1 << 6
	sbDirSync     = 1 << 7
	sbPosixACL    = 1 << 16
	sbIVersion    = 1 << 23
	sbLazyTime    = 1 << 25
	sbNoSec       = 1 << 28
	sbBorn        = 1 << 29
	sbActive      = 1 << 30
)

// innate are the bits that file systems of a type give themselves.
var innate = map[string]uint64{
	"ext2":     sbNoSec | sbIVersion | sbPosixACL,
	"ext3":     sbNoSec | sbIVersion | sbPosixACL,
	"ext4":     sbNoSec | sbIVersion | sbPosixACL,
	"xfs":      sbNoSec | sbIVersion | sbPosixACL,
	"btrfs":    sbNoSec | sbIVersion | sbPosixACL,
	"tmpfs":    sbNoSec | sbIVersion | sbPosixACL,
	"devtmpfs": sbNoSec | sbIVersion | sbPosixACL,
	"vfat":     sbNoSec,
	"squashfs": sbNoSec,
	"iso9660":  sbNoSec,
}

// Flags is the file system's s_flags, put together from what the kernel shows
// of it and from what its type is known to set. How it was mounted leaves
// traces that nothing shows: SB_SILENT, and SB_I_VERSION after a remount.
func (sb *Superblock) Flags() uint64 {
	flags := uint64(sbActive|sbBorn) | innate[sb.FSType]
	for _, option := range sb.Options {
		switch option {
		case "ro":
			flags |= sbReadOnly
		case "sync":
			flags |= sbSynchronous
		case "mand":
			flags |= sbMandLock
		case "dirsync":
			flags |= sbDirSync
		case "lazytime":
			flags |= sbLazyTime
		case "noacl":
			flags &^= sbPosixACL
		}
	}
	return flags
}

// Foreign tells whether the file system belongs to a user namespace other than
// ours: none of our own mounts is of it, and t lives in one of its own.
func (l *Lens) Foreign(t *task.Task, dev tsem.Dev) bool {
	if l.place(t).idmap == nil {
		return false
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && !strings.Contains(string(table), " "+devNumber(dev)+" ")
}

// Locked tells whether t, in a user namespace of its own, must leave the mount
// where it is: it came there from outside, as its place in our own tree shows.
func (l *Lens) Locked(t *task.Task, m *Mount) bool {
	p := l.place(t)
	if p.idmap == nil || p.mntns == l.World.mntns || !m.listed || m.point == "/" {
		return false
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	number := devNumber(m.Dev)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 4 && f[2] == number && unquote(f[3]) == m.root && unquote(f[4]) == m.point {
			return true
		}
	}
	return false
}

// Listed tells whether the mount is in the mount namespace in which it was
// looked for.
func (m *Mount) Listed() bool { return m.listed }

// IsMountRoot tells whether the object is the root of its mount.
func (o *Object) IsMountRoot() bool {
	return o.Stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// IsSuperRoot tells whether the object is the root directory of its whole file
// system.
func (o *Object) IsSuperRoot() bool {
	return o.IsMountRoot() && o.Mount.listed && o.Mount.root == "/"
}
