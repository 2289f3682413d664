// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// largeFile is what open adds on machines of 64 bits: O_LARGEFILE, which Go has
// as 0 there.
const largeFile = 0o100000

func openAt(dirfd int, path string, flags, mode int) (int, error) {
	b := append([]byte(path), 0)
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dirfd), addr(b), uintptr(flags), uintptr(mode), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// opens makes an act that opens a name in its folder.
func opens(name string, flags, mode int) func(string, int) error {
	return func(dir string, _ int) error {
		_, err := openAt(unix.AT_FDCWD, dir+"/"+name, flags, mode)
		return err
	}
}

// opensExactly makes an act that opens a path.
func opensExactly(path string, flags int) func(string, int) error {
	return func(string, int) error {
		_, err := openAt(unix.AT_FDCWD, path, flags, 0o644)
		return err
	}
}

// withFile prepares a file f.
func withFile(s *scene) { s.write("f", "some content\n", 0o644) }

// opensF wants that f has been opened with flags.
func opensF(flags uint32) func(*scene) []record {
	return func(s *scene) []record { return []record{opened(s.file("f", flags|largeFile))} }
}

// makesAndOpens wants that a file has been made and opened.
func makesAndOpens(name string, flags, asked, mode uint32) func(*scene) []record {
	return func(s *scene) []record {
		return []record{
			s.created(tsem.InodeCreate, name, unix.S_IFREG|asked, 1),
			opened(s.newFile(name, flags|largeFile, mode, 1)),
		}
	}
}

func openHow(dirfd int, path string, how *unix.OpenHow) error {
	_, err := unix.Openat2(dirfd, path, how)
	return err
}

// within makes an act that opens a path below a descriptor under restrictions.
func within(path string, flags, mode, resolve uint64) func(string, int) error {
	return func(_ string, fd int) error {
		return openHow(fd, path, &unix.OpenHow{Flags: flags, Mode: mode, Resolve: resolve})
	}
}

// resolveCached is RESOLVE_CACHED.
const resolveCached = 0x20

// openFolder opens the folder of an act.
func openFolder(dir string) (int, error) { return unix.Open(dir, unix.O_PATH, 0) }

var openActs = []act{
	{name: "existing", prepare: withFile, do: opens("f", unix.O_RDONLY, 0), want: opensF(0)},
	{name: "write", prepare: withFile, do: opens("f", unix.O_WRONLY, 0), want: opensF(unix.O_WRONLY)},
	{name: "read and write", prepare: withFile, do: opens("f", unix.O_RDWR, 0), want: opensF(unix.O_RDWR)},
	{name: "access mode 3", prepare: withFile, do: opens("f", 3, 0), want: opensF(3)},
	{name: "append", prepare: withFile, do: opens("f", unix.O_WRONLY|unix.O_APPEND, 0), want: opensF(unix.O_WRONLY | unix.O_APPEND)},
	{name: "close on exec", prepare: withFile, do: opens("f", unix.O_CLOEXEC, 0), want: opensF(0)},
	{name: "unknown flags", prepare: withFile, do: opens("f", 0x40000000|0x4, 0), want: opensF(0)},
	{name: "sync alone", prepare: withFile, do: opens("f", 0x100000, 0), want: opensF(unix.O_SYNC)},
	{name: "sync", prepare: withFile, do: opens("f", unix.O_SYNC, 0), want: opensF(unix.O_SYNC)},
	{name: "dsync", prepare: withFile, do: opens("f", unix.O_DSYNC, 0), want: opensF(unix.O_DSYNC)},
	{name: "many flags", prepare: withFile,
		do:   opens("f", unix.O_NONBLOCK|unix.O_NOATIME|unix.O_NOCTTY|unix.O_NOFOLLOW, 0),
		want: opensF(unix.O_NONBLOCK | unix.O_NOATIME | unix.O_NOCTTY | unix.O_NOFOLLOW)},
	{name: "empty", prepare: func(s *scene) { s.write("f", "", 0o644) }, do: opens("f", 0, 0), want: opensF(0)},
	{name: "mode 0", root: true, prepare: func(s *scene) { s.write("f", "x", 0) }, do: opens("f", 0, 0), want: opensF(0)},
	{name: "setuid", root: true, prepare: func(s *scene) { s.write("f", "x", 0o755|os.ModeSetuid) }, do: opens("f", 0, 0), want: opensF(0)},

	{name: "new", do: opens("n", unix.O_CREAT|unix.O_WRONLY, 0o666), want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o666, 0o644)},
	{name: "new and exclusive", do: opens("n", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600),
		want: makesAndOpens("n", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600, 0o600)},
	{name: "new and truncated", do: opens("n", unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, 0o644),
		want: makesAndOpens("n", unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY, 0o644, 0o644)},
	{name: "new for reading", do: opens("n", unix.O_CREAT, 0o400), want: makesAndOpens("n", unix.O_CREAT, 0o400, 0o400)},
	{name: "new and executable, with all bits", do: opens("n", unix.O_CREAT|unix.O_WRONLY, 0o7777),
		want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o7777, 0o7755)},
	{name: "new twice", do: func(dir string, _ int) error {
		if err := opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, 0); err != nil {
			return err
		}
		return opens("m", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, 0)
	}, want: func(s *scene) []record {
		return []record{
			s.created(tsem.InodeCreate, "n", unix.S_IFREG|0o644, 1),
			opened(s.newFile("n", largeFile|unix.O_CREAT|unix.O_WRONLY, 0o644, 1)),
			s.created(tsem.InodeCreate, "m", unix.S_IFREG|0o644, 2),
			opened(s.newFile("m", largeFile|unix.O_CREAT|unix.O_WRONLY, 0o644, 2)),
		}
	}},
	{name: "new and again", do: func(dir string, _ int) error {
		if err := opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, 0); err != nil {
			return err
		}
		return opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, 0)
	}, want: func(s *scene) []record {
		return append(makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)(s),
			opened(s.newFile("n", largeFile|unix.O_CREAT|unix.O_WRONLY, 0o644, 1)))
	}},
	{name: "in a setgid folder", root: true, prepare: func(s *scene) {
		s.do(os.Chown(s.dir, -1, 1234))
		s.do(os.Chmod(s.dir, 0o755|os.ModeSetgid))
	}, do: opens("n", unix.O_CREAT|unix.O_WRONLY, 0o664), want: func(s *scene) []record {
		want := makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o664, 0o644)(s)
		want[1].cell.(*tsem.FileCell).File.Inode.GID = 1234
		return want
	}},
	{name: "O_CREAT on an existing file", prepare: withFile, do: opens("f", unix.O_CREAT|unix.O_RDWR, 0o600), want: opensF(unix.O_CREAT | unix.O_RDWR)},
	{name: "O_EXCL on an existing file", prepare: withFile, do: opens("f", unix.O_CREAT|unix.O_EXCL, 0o600), errno: unix.EEXIST, want: none},
	{name: "truncated", prepare: withFile, do: opens("f", unix.O_WRONLY|unix.O_TRUNC, 0), want: func(s *scene) []record {
		return []record{
			opened(s.file("f", largeFile|unix.O_WRONLY|unix.O_TRUNC)),
			{tsem.InodeSetattr, &tsem.SetattrCell{Dentry: s.dentry("f"), Valid: 1<<3 | 1<<5 | 1<<6 | 1<<13 | 1<<15}},
		}
	}},
	{name: "absent", do: opens("absent", 0, 0), errno: unix.ENOENT, want: none},
	{name: "in an absent folder", do: opens("absent/f", unix.O_CREAT, 0o644), errno: unix.ENOENT, want: none},
	{name: "below a file", prepare: withFile, do: opens("f/g", unix.O_CREAT, 0o644), errno: unix.ENOTDIR, want: none},
	{name: "with a slash behind", prepare: withFile, do: opens("f/", 0, 0), errno: unix.ENOTDIR, want: none},
	{name: "new with a slash behind", do: opens("n/", unix.O_CREAT, 0o644), errno: unix.EISDIR, want: none},
	{name: "O_PATH", prepare: withFile, do: opens("f", unix.O_PATH, 0), want: none},
	{name: "O_DIRECTORY on a file", prepare: withFile, do: opens("f", unix.O_DIRECTORY, 0), errno: unix.ENOTDIR, want: none},
	{name: "folder", do: opens("", unix.O_DIRECTORY, 0), want: none},
	{name: "folder for writing", do: opens("", unix.O_WRONLY, 0), errno: unix.EISDIR, want: none},
	{name: "fifo", root: true, prepare: func(s *scene) { s.do(unix.Mkfifo(s.path("p"), 0o644)) }, do: opens("p", unix.O_RDWR, 0), want: none},
	{name: "device", do: func(string, int) error { _, err := openAt(unix.AT_FDCWD, "/dev/null", unix.O_RDWR, 0); return err }, want: none},
	{name: "socket", root: true, prepare: func(s *scene) { s.do(unix.Mknod(s.path("s"), unix.S_IFSOCK|0o644, 0)) },
		do: opens("s", unix.O_RDWR, 0), errno: unix.ENXIO, want: none},
	{name: "name of 256 bytes", do: opens(fmt.Sprintf("%0256d", 0), unix.O_CREAT, 0o644), errno: unix.ENAMETOOLONG, want: none},
	{name: "empty path", do: func(string, int) error { _, err := openAt(unix.AT_FDCWD, "", 0, 0); return err }, errno: unix.ENOENT, want: none},
	{name: "address 1", do: func(string, int) error {
		_, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), 1, 0, 0, 0, 0)
		return errno
	}, errno: unix.EFAULT, want: none},

	{name: "through a link", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink("f", s.path("l")))
		s.do(os.Symlink(s.path("l"), s.path("k")))
	}, do: opens("k", 0, 0), want: opensF(0)},
	{name: "through a link to a folder", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink(".", s.path("l")))
	}, do: opens("l/../"+"l/f", 0, 0), errno: unix.ENOENT, want: none},
	{name: "through . and ..", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Mkdir(s.path("d"), 0o755))
	}, do: opens("./d/.././/d/../f", 0, 0), want: opensF(0)},
	{name: "dangling link with O_CREAT", prepare: func(s *scene) { s.do(os.Symlink("n", s.path("l"))) },
		do: opens("l", unix.O_CREAT|unix.O_WRONLY, 0o644), want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)},
	{name: "two dangling links with O_CREAT", prepare: func(s *scene) {
		s.do(os.Mkdir(s.path("d"), 0o755))
		s.do(os.Symlink("../n", s.path("d/k")))
		s.do(os.Symlink("d/k", s.path("l")))
	}, do: opens("l", unix.O_CREAT|unix.O_WRONLY, 0o644), want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)},
	{name: "dangling link with O_EXCL", prepare: func(s *scene) { s.do(os.Symlink("n", s.path("l"))) },
		do: opens("l", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644), errno: unix.EEXIST, want: none},
	{name: "dangling link", prepare: func(s *scene) { s.do(os.Symlink("n", s.path("l"))) },
		do: opens("l", 0, 0), errno: unix.ENOENT, want: none},
	{name: "link with O_NOFOLLOW", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink("f", s.path("l")))
	}, do: opens("l", unix.O_NOFOLLOW, 0), errno: unix.ELOOP, want: none},
	{name: "dangling link with O_CREAT and O_NOFOLLOW", prepare: func(s *scene) { s.do(os.Symlink("n", s.path("l"))) },
		do: opens("l", unix.O_CREAT|unix.O_NOFOLLOW|unix.O_WRONLY, 0o644), errno: unix.ELOOP, want: none},
	{name: "link in a circle", prepare: func(s *scene) { s.do(os.Symlink("l", s.path("l"))) },
		do: opens("l", unix.O_CREAT, 0o644), errno: unix.ELOOP, want: none},

	{name: "relative to a descriptor", prepare: withFile,
		before: func(dir string) (int, error) { return unix.Open(dir, unix.O_PATH, 0) },
		do:     func(_ string, fd int) error { _, err := openAt(fd, "f", 0, 0); return err }, want: opensF(0)},
	{name: "new, relative to a descriptor",
		before: func(dir string) (int, error) { return unix.Open(dir, unix.O_PATH, 0) },
		do:     func(_ string, fd int) error { _, err := openAt(fd, "n", unix.O_CREAT|unix.O_RDWR, 0o644); return err },
		want:   makesAndOpens("n", unix.O_CREAT|unix.O_RDWR, 0o644, 0o644)},
	{name: "relative to a file", prepare: withFile,
		before: func(dir string) (int, error) { return unix.Open(dir+"/f", unix.O_PATH, 0) },
		do:     func(_ string, fd int) error { _, err := openAt(fd, "f", 0, 0); return err }, errno: unix.ENOTDIR, want: none},
	{name: "relative to no descriptor", do: func(string, int) error { _, err := openAt(999, "f", 0, 0); return err }, errno: unix.EBADF, want: none},
	{name: "relative to the working directory", prepare: withFile,
		before: func(dir string) (int, error) {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return -1, err
			}
			return -1, unix.Chdir(dir)
		},
		do: func(string, int) error { _, err := openAt(unix.AT_FDCWD, "f", 0, 0); return err }, want: opensF(0)},
	{name: "with a umask of its own",
		before: func(string) (int, error) {
			err := unix.Unshare(unix.CLONE_FS)
			syscall.Umask(0o077)
			return -1, err
		},
		do: opens("n", unix.O_CREAT|unix.O_RDWR, 0o666), want: makesAndOpens("n", unix.O_CREAT|unix.O_RDWR, 0o666, 0o600)},

	{name: "/proc/self/fd", prepare: withFile,
		before: func(dir string) (int, error) { return unix.Open(dir+"/f", unix.O_RDONLY, 0) },
		do: func(_ string, fd int) error {
			_, err := openAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR, 0)
			return err
		}, want: opensF(unix.O_RDWR)},
	{name: "/dev/fd", prepare: withFile,
		before: func(dir string) (int, error) { return unix.Open(dir+"/f", unix.O_RDONLY, 0) },
		do: func(_ string, fd int) error {
			_, err := openAt(unix.AT_FDCWD, fmt.Sprintf("/dev/fd/%d", fd), 0, 0)
			return err
		}, want: opensF(0)},
	{name: "/proc/thread-self/cwd", prepare: withFile,
		before: func(dir string) (int, error) {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return -1, err
			}
			return -1, unix.Chdir(dir)
		},
		do: func(string, int) error {
			_, err := openAt(unix.AT_FDCWD, "/proc/thread-self/cwd/f", 0, 0)
			return err
		}, want: opensF(0)},
	{name: "a removed file by its descriptor", prepare: withFile,
		before: func(dir string) (int, error) {
			fd, err := unix.Open(dir+"/f", unix.O_RDONLY, 0)
			if err == nil {
				err = unix.Unlink(dir + "/f")
			}
			return fd, err
		},
		do: func(_ string, fd int) error {
			_, err := openAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), 0, 0)
			return err
		}, want: opensF(0)},
	{name: "/proc/self/exe", do: opensExactly("/proc/self/exe", 0), want: ownProgram(0)},
	{name: "a file of proc", do: opensExactly("/proc/version", 0), want: func(s *scene) []record {
		in := tsem.Inode{Mode: unix.S_IFREG | 0o444, Magic: unix.PROC_SUPER_MAGIC, SID: []byte("proc")}
		return []record{opened(tsem.File{Flags: largeFile, Inode: in, Digest: zDigest,
			Path: tsem.Path{Type: tsem.PathRoot, Pathname: []byte("nodev:/")}})}
	}},

	{name: "openat2", prepare: withFile, do: func(dir string, _ int) error {
		return openHow(unix.AT_FDCWD, dir+"/f", &unix.OpenHow{Flags: unix.O_RDWR | unix.O_CLOEXEC})
	}, want: opensF(unix.O_RDWR)},
	{name: "openat2 of a new file", do: func(dir string, _ int) error {
		return openHow(unix.AT_FDCWD, dir+"/n", &unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o640})
	}, want: makesAndOpens("n", unix.O_RDWR|unix.O_CREAT, 0o640, 0o640)},
	{name: "openat2 with an unknown flag", prepare: withFile, do: func(dir string, _ int) error {
		return openHow(unix.AT_FDCWD, dir+"/f", &unix.OpenHow{Flags: 4})
	}, errno: unix.EINVAL, want: none},
	{name: "openat2 with a mode for nothing", prepare: withFile, do: func(dir string, _ int) error {
		return openHow(unix.AT_FDCWD, dir+"/f", &unix.OpenHow{Mode: 0o644})
	}, errno: unix.EINVAL, want: none},
	{name: "openat2 with unknown restrictions", prepare: withFile, before: openFolder, do: within("f", 0, 0, 0x40), errno: unix.EINVAL, want: none},
	{name: "openat2 without links", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink("f", s.path("l")))
	}, before: openFolder, do: within("l", 0, 0, unix.RESOLVE_NO_SYMLINKS), errno: unix.ELOOP, want: none},
	{name: "openat2 without links, and there is none", prepare: withFile, before: openFolder, do: within("./f", 0, 0, unix.RESOLVE_NO_SYMLINKS), want: opensF(0)},
	{name: "openat2 without links of proc", before: openFolder, do: within("/proc/self/exe", 0, 0, unix.RESOLVE_NO_MAGICLINKS), errno: unix.ELOOP, want: none},
	{name: "openat2 beneath", prepare: withFile, before: openFolder, do: within("../0/f", 0, 0, unix.RESOLVE_BENEATH), errno: unix.EXDEV, want: none},
	{name: "openat2 beneath, from the root", prepare: withFile, before: openFolder, do: func(dir string, fd int) error {
		return within(dir+"/f", 0, 0, unix.RESOLVE_BENEATH)("", fd)
	}, errno: unix.EXDEV, want: none},
	{name: "openat2 beneath, and back", prepare: withFolder, before: openFolder, do: within("d/../d/f", 0, 0, unix.RESOLVE_BENEATH), want: func(s *scene) []record {
		return []record{opened(s.file("d/f", largeFile))}
	}},
	{name: "openat2 of a new file outside", before: openFolder, do: within("../n", unix.O_CREAT|unix.O_WRONLY, 0o644, unix.RESOLVE_BENEATH), errno: unix.EXDEV, want: none},
	{name: "openat2 of a new file beneath", before: openFolder, do: within("n", unix.O_CREAT|unix.O_WRONLY, 0o644, unix.RESOLVE_BENEATH),
		want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)},
	{name: "openat2 in a root", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink("/f", s.path("l")))
	}, before: openFolder, do: within("/../l", 0, 0, unix.RESOLVE_IN_ROOT), want: opensF(0)},
	{name: "openat2 of a new file in a root", prepare: func(s *scene) { s.do(os.Symlink("/../n", s.path("l"))) }, before: openFolder,
		do:   within("l", unix.O_CREAT|unix.O_WRONLY, 0o644, unix.RESOLVE_IN_ROOT),
		want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)},
	{name: "openat2 on another file system", before: openFolder, do: within("/proc/version", 0, 0, unix.RESOLVE_NO_XDEV), errno: unix.EXDEV, want: none},
	{name: "openat2 of what is in memory", prepare: withFile, before: func(dir string) (int, error) {
		if _, err := os.Stat(dir + "/f"); err != nil {
			return -1, err
		}
		return openFolder(dir)
	}, do: within("f", 0, 0, resolveCached), want: opensF(0)},
	{name: "openat2 of what is in memory, to be made", before: openFolder, do: within("n", unix.O_CREAT, 0o644, resolveCached), errno: unix.EAGAIN, want: none},

	{name: "O_TMPFILE", do: opens("", unix.O_TMPFILE|unix.O_RDWR, 0o600), want: func(s *scene) []record {
		f := tsem.File{Flags: largeFile | unix.O_TMPFILE | unix.O_RDWR, Inode: s.newInode(unix.S_IFREG | 0o600), Path: s.absolute(""), Digest: zDigest}
		f.Path.Pathname, f.Path.Missing = nil, "unnamed"
		return []record{opened(f)}
	}},
	{name: "O_TMPFILE for reading", do: opens("", unix.O_TMPFILE, 0o600), errno: unix.EINVAL, want: none},
	{name: "O_TMPFILE in a file", prepare: withFile, do: opens("f", unix.O_TMPFILE|unix.O_RDWR, 0o600), errno: unix.ENOTDIR, want: none},
	{name: "immutable", root: true, prepare: func(s *scene) {
		withFile(s)
		immutable(s, "f")
	}, do: opens("f", unix.O_WRONLY, 0), errno: unix.EPERM, want: none},
}

// immutable makes a file that cannot be changed; some file systems have none.
func immutable(s *scene, name string) {
	s.t.Helper()
	set := func(flags int) error {
		fd, err := unix.Open(s.path(name), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(0x10); err != nil {
		s.t.Skipf("needs a file system with immutable files: %v", err)
	}
	s.t.Cleanup(func() { set(0) })
}

func TestFileOpen(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "open", options{})
}

func TestFileOpenAsNobody(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "open", options{uid: nobody})
}
