// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// Bits of ia_valid, from include/linux/fs.h.
const (
	validMode     = 1 << 0
	validUID      = 1 << 1
	validGID      = 1 << 2
	validSize     = 1 << 3
	validAtime    = 1 << 4
	validMtime    = 1 << 5
	validCtime    = 1 << 6
	validAtimeSet = 1 << 7
	validMtimeSet = 1 << 8
	validForce    = 1 << 9
	validKillSUID = 1 << 11
	validKillSGID = 1 << 12
	validFile     = 1 << 13
	validTimesSet = 1 << 16
	validTouch    = 1 << 17
)

// changed wants one change of the attributes of a name.
func changed(name string, cell tsem.SetattrCell) func(*scene) []record {
	return func(s *scene) []record {
		c := cell
		c.Dentry = s.dentry(name)
		return []record{{tsem.InodeSetattr, &c}}
	}
}

func openF(flags int) func(string) (int, error) {
	return func(dir string) (int, error) { return unix.Open(dir+"/f", flags, 0) }
}

func withLink(s *scene) {
	withFile(s)
	s.do(os.Symlink("f", s.path("l")))
}

func withSetID(s *scene) { s.write("f", "set id", 0o755|os.ModeSetuid|os.ModeSetgid) }

func chmod2(dirfd int, path string, mode, flags int) error {
	b := append([]byte(path), 0)
	_, _, errno := unix.Syscall6(unix.SYS_FCHMODAT2, uintptr(dirfd), addr(b), uintptr(mode), uintptr(flags), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func stamps(name string, a, m unix.Timespec, flags int) func(string, int) error {
	return func(dir string, _ int) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/"+name, []unix.Timespec{a, m}, flags)
	}
}

var (
	stampNow  = unix.Timespec{Nsec: unix.UTIME_NOW}
	stampOmit = unix.Timespec{Nsec: unix.UTIME_OMIT}
	stampSome = unix.Timespec{Sec: 1_000_000_000, Nsec: 5}
)

const noID = ^uint32(0)

var setattrActs = []act{
	{name: "chmod", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0o4711, 0) }),
		want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG | 0o4711})},
	{name: "chmod through a link", prepare: withLink, do: inFolder("l", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0, 0) }),
		want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG})},
	{name: "chmod of a folder", prepare: withFolder, do: inFolder("d", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0o1777, 0) }),
		want: changed("d", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFDIR | 0o1777})},
	{name: "fchmod", prepare: withFile, before: openF(unix.O_RDONLY), do: func(_ string, fd int) error { return unix.Fchmod(fd, 0o600) },
		want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG | 0o600})},
	{name: "fchmod of O_PATH", prepare: withFile, before: openF(unix.O_PATH), do: func(_ string, fd int) error { return unix.Fchmod(fd, 0o600) },
		errno: unix.EBADF, want: none},
	{name: "fchmodat2", prepare: withFile, do: inFolder("f", func(p string) error { return chmod2(unix.AT_FDCWD, p, 0o640, unix.AT_SYMLINK_NOFOLLOW) }),
		want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG | 0o640})},
	{name: "fchmodat2 of a descriptor", prepare: withFile, before: openF(unix.O_PATH), do: func(_ string, fd int) error { return chmod2(fd, "", 0o640, unix.AT_EMPTY_PATH) },
		want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG | 0o640})},
	{name: "fchmodat2 with a strange flag", prepare: withFile, do: inFolder("f", func(p string) error { return chmod2(unix.AT_FDCWD, p, 0o640, 1) }),
		errno: unix.EINVAL, want: none},
	{name: "chmod of what is absent", do: inFolder("f", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0, 0) }), errno: unix.ENOENT, want: none},
	{name: "chmod of what is immutable", prepare: func(s *scene) {
		withFile(s)
		immutable(s, "f")
	}, do: inFolder("f", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0, 0) }), errno: unix.EPERM, want: none},

	{name: "chown", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Fchownat(unix.AT_FDCWD, p, 12, 34, 0) }),
		want: changed("f", tsem.SetattrCell{Valid: validUID | validGID | validCtime | validKillSUID, UID: 12, GID: 34})},
	{name: "chown of nothing", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Fchownat(unix.AT_FDCWD, p, -1, -1, 0) }),
		want: changed("f", tsem.SetattrCell{Valid: validCtime | validKillSUID})},
	{name: "chown of the group", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Fchownat(unix.AT_FDCWD, p, -1, 34, 0) }),
		want: changed("f", tsem.SetattrCell{Valid: validGID | validCtime | validKillSUID, GID: 34})},
	{name: "chown of a setuid file", prepare: withSetID, do: inFolder("f", func(p string) error { return unix.Fchownat(unix.AT_FDCWD, p, 12, -1, 0) }),
		want: changed("f", tsem.SetattrCell{Valid: validUID | validCtime | validKillSUID | validKillSGID | validMode, UID: 12, Mode: unix.S_IFREG | 0o755})},
	{name: "chown of a folder", prepare: withFolder, do: inFolder("d", func(p string) error { return unix.Fchownat(unix.AT_FDCWD, p, 12, 34, 0) }),
		want: changed("d", tsem.SetattrCell{Valid: validUID | validGID | validCtime, UID: 12, GID: 34})},
	{name: "chown of a link", prepare: withLink, do: inFolder("l", func(p string) error { return unix.Fchownat(unix.AT_FDCWD, p, 12, 34, unix.AT_SYMLINK_NOFOLLOW) }),
		want: changed("l", tsem.SetattrCell{Valid: validUID | validGID | validCtime | validKillSUID, UID: 12, GID: 34})},
	{name: "fchown", prepare: withFile, before: openF(unix.O_RDONLY), do: func(_ string, fd int) error { return unix.Fchown(fd, 1, 2) },
		want: changed("f", tsem.SetattrCell{Valid: validUID | validGID | validCtime | validKillSUID, UID: 1, GID: 2})},
	{name: "chown of a descriptor", prepare: withFile, before: openF(unix.O_PATH), do: func(_ string, fd int) error { return unix.Fchownat(fd, "", 1, 2, unix.AT_EMPTY_PATH) },
		want: changed("f", tsem.SetattrCell{Valid: validUID | validGID | validCtime | validKillSUID, UID: 1, GID: 2})},

	{name: "truncate", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Truncate(p, 5) }),
		want: changed("f", tsem.SetattrCell{Valid: validSize, Size: 5})},
	{name: "truncate of a setuid file", prepare: withSetID, do: inFolder("f", func(p string) error { return unix.Truncate(p, 5) }),
		want: changed("f", tsem.SetattrCell{Valid: validSize, Size: 5})},
	{name: "truncate below zero", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Truncate(p, -1) }), errno: unix.EINVAL, want: none},
	{name: "truncate of a folder", prepare: withFolder, do: inFolder("d", func(p string) error { return unix.Truncate(p, 5) }), errno: unix.EISDIR, want: none},
	{name: "truncate of a fifo", prepare: func(s *scene) { s.do(unix.Mkfifo(s.path("p"), 0o600)) }, do: inFolder("p", func(p string) error { return unix.Truncate(p, 5) }), errno: unix.EINVAL, want: none},
	{name: "ftruncate", prepare: withFile, before: openF(unix.O_RDWR), do: func(_ string, fd int) error { return unix.Ftruncate(fd, 1<<33) },
		want: changed("f", tsem.SetattrCell{Valid: validSize | validMtime | validCtime | validFile, Size: 1 << 33})},
	{name: "ftruncate of what is open for reading", prepare: withFile, before: openF(unix.O_RDONLY), do: func(_ string, fd int) error { return unix.Ftruncate(fd, 1) },
		errno: unix.EINVAL, want: none},

	{name: "times of now", prepare: withFile, do: stamps("f", stampNow, stampNow, 0),
		want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validTouch})},
	{name: "times by default", prepare: withFile, do: inFolder("f", func(p string) error {
		b := append([]byte(p), 0)
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, ^uintptr(99), addr(b), 0, 0, 0, 0)
		return errno
	}), want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validTouch})},
	{name: "times given", prepare: withFile, do: stamps("f", stampSome, stampSome, 0),
		want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validAtimeSet | validMtimeSet | validTimesSet})},
	{name: "one time", prepare: withFile, do: stamps("f", stampOmit, stampSome, 0),
		want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validMtimeSet | validTimesSet})},
	{name: "one time of now", prepare: withFile, do: stamps("f", stampNow, stampOmit, 0),
		want: changed("f", tsem.SetattrCell{Valid: validCtime | validAtime | validTimesSet})},
	{name: "no times", prepare: withFile, do: stamps("f", stampOmit, stampOmit, 0), want: none},
	{name: "times of a link", prepare: withLink, do: stamps("l", stampSome, stampSome, unix.AT_SYMLINK_NOFOLLOW),
		want: changed("l", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validAtimeSet | validMtimeSet | validTimesSet})},
	{name: "times of a descriptor", prepare: withFile, before: openF(unix.O_RDONLY), do: func(_ string, fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, 0, 0, 0, 0)
		return errno
	}, want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validTouch})},
	{name: "times of what is absent", do: stamps("f", stampNow, stampNow, 0), errno: unix.ENOENT, want: none},
	{name: "times of a file of somebody else", prepare: withFile,
		before: func(string) (int, error) {
			_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 0, 1000, uintptr(noID))
			return -1, zero(errno)
		},
		do: stamps("f", stampNow, stampNow, 0), errno: unix.EACCES, want: none},
}

// zero is nil for the error number of a call that went well.
func zero(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// looked wants one look at the attributes of a name.
func looked(name string) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.InodeGetattr, &tsem.GetattrCell{Path: tsem.Dentry{HasInode: true, Inode: s.inode(name), Path: s.absolute(name)}}}}
	}
}

// lookedNowhere wants one look at an inode that has no place in the tree.
func lookedNowhere(mode, magic uint32, sid, path string) func(*scene) []record {
	return func(s *scene) []record {
		in := tsem.Inode{Mode: mode, Magic: magic, SID: []byte(sid)}
		return []record{{tsem.InodeGetattr, &tsem.GetattrCell{Path: tsem.Dentry{
			HasInode: true, Inode: in, Path: tsem.Path{Type: tsem.PathRoot, Pathname: []byte(path)},
		}}}}
	}
}

func statAt(name string, flags int) func(string, int) error {
	return func(dir string, _ int) error {
		var st unix.Stat_t
		return unix.Fstatat(unix.AT_FDCWD, dir+"/"+name, &st, flags)
	}
}

func fstat(_ string, fd int) error {
	var st unix.Stat_t
	return unix.Fstat(fd, &st)
}

func statx(dirfd int, path string, flags int) error {
	var st unix.Statx_t
	return unix.Statx(dirfd, path, flags, unix.STATX_BASIC_STATS, &st)
}

var getattrActs = []act{
	{name: "fstatat", prepare: withFile, do: statAt("f", 0), want: looked("f")},
	{name: "through a link", prepare: withLink, do: statAt("l", 0), want: looked("f")},
	{name: "of a link", prepare: withLink, do: statAt("l", unix.AT_SYMLINK_NOFOLLOW), want: looked("l")},
	{name: "of a folder", prepare: withFolder, do: statAt("d/", 0), want: looked("d")},
	{name: "of a fifo", prepare: func(s *scene) { s.do(unix.Mkfifo(s.path("p"), 0o600)) }, do: statAt("p", 0), want: looked("p")},
	{name: "of what is absent", do: statAt("f", 0), errno: unix.ENOENT, want: none},
	{name: "with a strange flag", prepare: withFile, do: statAt("f", 1), errno: unix.EINVAL, want: none},
	{name: "fstat", prepare: withFile, before: openF(unix.O_RDONLY), do: fstat, want: looked("f")},
	{name: "fstat of O_PATH", prepare: withFile, before: openF(unix.O_PATH), do: fstat, want: looked("f")},
	{name: "fstat of nothing", do: fstat, errno: unix.EBADF, want: none},
	{name: "fstat of a pipe", before: func(string) (int, error) {
		var fds [2]int
		err := unix.Pipe(fds[:])
		return fds[0], err
	}, do: fstat, want: lookedNowhere(unix.S_IFIFO|0o600, unix.PIPEFS_MAGIC, "pipefs", "pipe:/")},
	{name: "fstat of a socket", before: func(string) (int, error) { return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0) },
		do: fstat, want: lookedNowhere(unix.S_IFSOCK|0o777, unix.SOCKFS_MAGIC, "sockfs", "socket:/")},
	{name: "fstat of an eventfd", before: func(string) (int, error) { return unix.Eventfd(0, 0) },
		do: fstat, want: none}, // the inode is the kernel's own
	{name: "of a descriptor", prepare: withFile, before: openF(unix.O_RDONLY), do: func(_ string, fd int) error {
		var st unix.Stat_t
		return unix.Fstatat(fd, "", &st, unix.AT_EMPTY_PATH)
	}, want: looked("f")},
	{name: "statx", prepare: withFile, do: func(dir string, _ int) error { return statx(unix.AT_FDCWD, dir+"/f", 0) }, want: looked("f")},
	{name: "statx of a descriptor", prepare: withFile, before: openF(unix.O_PATH), do: func(_ string, fd int) error { return statx(fd, "", unix.AT_EMPTY_PATH) }, want: looked("f")},
	{name: "statx relative to a descriptor", prepare: withFile, before: func(dir string) (int, error) { return unix.Open(dir, unix.O_PATH, 0) },
		do: func(_ string, fd int) error { return statx(fd, "f", unix.AT_STATX_DONT_SYNC) }, want: looked("f")},
	{name: "statx with a strange flag", prepare: withFile, do: func(dir string, _ int) error {
		return statx(unix.AT_FDCWD, dir+"/f", unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC)
	}, errno: unix.EINVAL, want: none},
	{name: "statx with a strange mask", prepare: withFile, do: func(dir string, _ int) error {
		var st unix.Statx_t
		return unix.Statx(unix.AT_FDCWD, dir+"/f", 0, 1<<31, &st)
	}, errno: unix.EINVAL, want: none},
	{name: "of the root", do: func(string, int) error { return statx(unix.AT_FDCWD, "/", 0) }, want: func(s *scene) []record {
		in, dev := inodeAt(s.t, "/")
		return []record{{tsem.InodeGetattr, &tsem.GetattrCell{Path: tsem.Dentry{
			HasInode: true, Inode: in, Path: tsem.Path{HasDev: true, Dev: dev, Type: tsem.PathRoot, Pathname: []byte("/")},
		}}}}
	}},
}

func TestInodeSetattr(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "setattr", options{})
}

func TestInodeGetattr(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "getattr", options{})
}
