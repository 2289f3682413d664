// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// inFolder makes an act of a call with one path.
func inFolder(name string, call func(path string) error) func(string, int) error {
	return func(dir string, _ int) error { return call(dir + "/" + name) }
}

// withFolder prepares a folder d with a file in it.
func withFolder(s *scene) {
	s.do(os.Mkdir(s.path("d"), 0o755))
	s.write("d/f", "in the folder", 0o644)
}

func mkdirAs(mode uint32) func(string) error {
	return func(path string) error { return unix.Mkdirat(unix.AT_FDCWD, path, mode) }
}

func removed(kind tsem.Type, s *scene, name string) []record {
	s.t.Helper()
	return []record{{kind, &tsem.RemoveCell{Dir: s.inode(""), Dentry: s.dentry(name)}}}
}

func unlinkAt(path string) error { return unix.Unlinkat(unix.AT_FDCWD, path, 0) }

func rmdirAt(path string) error { return unix.Unlinkat(unix.AT_FDCWD, path, unix.AT_REMOVEDIR) }

func made(name string, asked uint32) func(*scene) []record {
	return func(s *scene) []record { return []record{s.created(tsem.InodeMkdir, name, asked, 1)} }
}

var makeActs = []act{
	{name: "mkdir", do: inFolder("d", mkdirAs(0o777)), want: made("d", 0o777)},
	{name: "mkdir with a slash behind", do: inFolder("d/", mkdirAs(0o700)), want: made("d", 0o700)},
	{name: "mkdir with all bits", do: inFolder("d", mkdirAs(0o7777)), want: made("d", 0o1777)},
	{name: "mkdir on an existing file", prepare: withFile, do: inFolder("f", mkdirAs(0o777)), errno: unix.EEXIST, want: none},
	{name: "mkdir of .", do: inFolder(".", mkdirAs(0o777)), errno: unix.EEXIST, want: none},
	{name: "mkdir in an absent folder", do: inFolder("a/b", mkdirAs(0o777)), errno: unix.ENOENT, want: none},
	{name: "mkdir on a dangling link", prepare: func(s *scene) { s.do(os.Symlink("n", s.path("l"))) },
		do: inFolder("l", mkdirAs(0o777)), errno: unix.EEXIST, want: none},
	{name: "mkdir and a file in it", do: func(dir string, _ int) error {
		if err := mkdirAs(0o755)(dir + "/d"); err != nil {
			return err
		}
		return opens("d/n", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, -1)
	}, want: func(s *scene) []record {
		create := s.newName("d/n")
		s.own(&create.Path, 1)
		return []record{
			s.created(tsem.InodeMkdir, "d", 0o755, 1),
			{tsem.InodeCreate, &tsem.CreateCell{Dir: s.newInode(unix.S_IFDIR | 0o755), Dentry: create, Mode: unix.S_IFREG | 0o644}},
			opened(s.newFile("d/n", largeFile|unix.O_CREAT|unix.O_WRONLY, 0o644, 1)),
		}
	}},

	{name: "fifo", do: inFolder("p", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFIFO|0o666, 0) }),
		want: node("p", unix.S_IFIFO|0o666, 0, 0)},
	{name: "fifo with a device number", do: inFolder("p", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFIFO|0o600, 0x123) }),
		want: node("p", unix.S_IFIFO|0o600, 0, 0)},
	{name: "character device", do: inFolder("c", func(p string) error {
		return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFCHR|0o600, int(unix.Mkdev(0x123, 0x45678)))
	}), want: node("c", unix.S_IFCHR|0o600, 0x123, 0x45678)},
	{name: "block device", do: inFolder("b", func(p string) error {
		return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFBLK|0o640, int(unix.Mkdev(7, 200)))
	}), want: node("b", unix.S_IFBLK|0o640, 7, 200)},
	{name: "socket", do: inFolder("s", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFSOCK|0o666, 0) }),
		want: node("s", unix.S_IFSOCK|0o666, 0, 0)},
	{name: "regular file", do: inFolder("r", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFREG|0o666, 0) }),
		want: func(s *scene) []record { return []record{s.created(tsem.InodeCreate, "r", unix.S_IFREG|0o666, 1)} }},
	{name: "file of no type", do: inFolder("r", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, 0o666, 0) }),
		want: func(s *scene) []record { return []record{s.created(tsem.InodeCreate, "r", unix.S_IFREG|0o666, 1)} }},
	{name: "folder by mknod", do: inFolder("d", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFDIR|0o755, 0) }),
		errno: unix.EPERM, want: none},
	{name: "node of a strange type", do: inFolder("d", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, 0o030755, 0) }),
		errno: unix.EINVAL, want: none},
	{name: "fifo on an existing file", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFIFO, 0) }),
		errno: unix.EEXIST, want: none},

	{name: "symlink", do: inFolder("l", func(p string) error { return unix.Symlinkat("/x", unix.AT_FDCWD, p) }), want: linked("l", "/x")},
	{name: "symlink with a long target", do: inFolder("l", func(p string) error { return unix.Symlinkat(strings.Repeat("x", 4000), unix.AT_FDCWD, p) }),
		want: linked("l", strings.Repeat("x", 4000))},
	{name: "symlink to nothing", do: inFolder("l", func(p string) error { return unix.Symlinkat("", unix.AT_FDCWD, p) }), errno: unix.ENOENT, want: none},
	{name: "symlink on an existing file", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Symlinkat("/x", unix.AT_FDCWD, p) }),
		errno: unix.EEXIST, want: none},
	{name: "symlink relative to a descriptor", before: func(dir string) (int, error) { return unix.Open(dir, unix.O_PATH, 0) },
		do: func(_ string, fd int) error { return unix.Symlinkat("..", fd, "l") }, want: linked("l", "..")},

	{name: "link", prepare: withFile, do: links("f", "g", 0), want: linkFG("f")},
	{name: "link through a link", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink("f", s.path("l")))
	}, do: links("l", "g", unix.AT_SYMLINK_FOLLOW), want: linkFG("f")},
	{name: "link of a link", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Symlink("f", s.path("l")))
	}, do: links("l", "g", 0), want: linkFG("l")},
	{name: "link of an open file", prepare: withFile,
		before: func(dir string) (int, error) { return unix.Open(dir+"/f", unix.O_RDONLY, 0) },
		do: func(dir string, fd int) error {
			return unix.Linkat(fd, "", unix.AT_FDCWD, dir+"/g", unix.AT_EMPTY_PATH)
		}, want: linkFG("f")},
	{name: "link of a folder", prepare: withFolder, do: links("d", "g", 0), errno: unix.EPERM, want: none},
	{name: "link on an existing file", prepare: withFile, do: links("f", "f", 0), errno: unix.EEXIST, want: none},
	{name: "link of an absent file", do: links("f", "g", 0), errno: unix.ENOENT, want: none},
	{name: "link to another file system", prepare: withFile, do: func(dir string, _ int) error {
		return unix.Linkat(unix.AT_FDCWD, dir+"/f", unix.AT_FDCWD, "/dev/quixote-test", 0)
	}, errno: unix.EXDEV, want: none},
	{name: "link of an own file", do: func(dir string, _ int) error {
		if err := opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, -1); err != nil {
			return err
		}
		return links("n", "m", 0)(dir, -1)
	}, want: func(s *scene) []record {
		old := tsem.Dentry{HasInode: true, Inode: s.newInode(unix.S_IFREG | 0o644), Path: s.relative("n")}
		s.own(&old.Path, 1)
		return append(makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)(s),
			record{tsem.InodeLink, &tsem.LinkCell{Old: old, Dir: s.inode(""), New: s.newName("m")}})
	}},
}

func node(name string, mode uint32, major, minor uint32) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.InodeMknod, &tsem.MknodCell{
			Dir: s.inode(""), Dentry: s.newName(name), Mode: s.asked(mode), Dev: tsem.Dev{Major: major, Minor: minor},
		}}}
	}
}

func linked(name, target string) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.InodeSymlink, &tsem.SymlinkCell{Dir: s.inode(""), Dentry: s.newName(name), OldName: []byte(target)}}}
	}
}

func links(old, name string, flags int) func(string, int) error {
	return func(dir string, _ int) error {
		return unix.Linkat(unix.AT_FDCWD, dir+"/"+old, unix.AT_FDCWD, dir+"/"+name, flags)
	}
}

// linkFG wants a link g of a file.
func linkFG(old string) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.InodeLink, &tsem.LinkCell{Old: s.dentry(old), Dir: s.inode(""), New: s.newName("g")}}}
	}
}

var removeActs = []act{
	{name: "unlink", prepare: withFile, do: inFolder("f", unlinkAt), want: func(s *scene) []record { return removed(tsem.InodeUnlink, s, "f") }},
	{name: "unlink a link", prepare: func(s *scene) { s.do(os.Symlink("x", s.path("l"))) }, do: inFolder("l", unlinkAt),
		want: func(s *scene) []record { return removed(tsem.InodeUnlink, s, "l") }},
	{name: "unlink a fifo", prepare: func(s *scene) { s.do(unix.Mkfifo(s.path("p"), 0o600)) }, do: inFolder("p", unlinkAt),
		want: func(s *scene) []record { return removed(tsem.InodeUnlink, s, "p") }},
	{name: "unlink an open file", prepare: withFile,
		before: func(dir string) (int, error) { return unix.Open(dir+"/f", unix.O_RDONLY, 0) },
		do:     inFolder("f", unlinkAt), want: func(s *scene) []record { return removed(tsem.InodeUnlink, s, "f") }},
	{name: "unlink what is absent", do: inFolder("f", unlinkAt), errno: unix.ENOENT, want: none},
	{name: "unlink a folder", prepare: withFolder, do: inFolder("d", unlinkAt), errno: unix.EISDIR, want: none},
	{name: "unlink with a slash behind", prepare: withFile, do: inFolder("f/", unlinkAt), errno: unix.ENOTDIR, want: none},
	{name: "unlink with a strange flag", prepare: withFile, do: inFolder("f", func(p string) error { return unix.Unlinkat(unix.AT_FDCWD, p, 1) }),
		errno: unix.EINVAL, want: none},
	{name: "unlink what is immutable", prepare: func(s *scene) {
		withFile(s)
		immutable(s, "f")
	}, do: inFolder("f", unlinkAt), errno: unix.EPERM, want: none},
	{name: "unlink an own file", do: func(dir string, _ int) error {
		if err := opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644)(dir, -1); err != nil {
			return err
		}
		return unlinkAt(dir + "/n")
	}, want: func(s *scene) []record {
		d := tsem.Dentry{HasInode: true, Inode: s.newInode(unix.S_IFREG | 0o644), Path: s.relative("n")}
		s.own(&d.Path, 1)
		return append(makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)(s),
			record{tsem.InodeUnlink, &tsem.RemoveCell{Dir: s.inode(""), Dentry: d}})
	}},
	{name: "rmdir", prepare: func(s *scene) { s.do(os.Mkdir(s.path("d"), 0o700)) }, do: inFolder("d", rmdirAt),
		want: func(s *scene) []record { return removed(tsem.InodeRmdir, s, "d") }},
	{name: "rmdir with a slash behind", prepare: func(s *scene) { s.do(os.Mkdir(s.path("d"), 0o700)) }, do: inFolder("d/", rmdirAt),
		want: func(s *scene) []record { return removed(tsem.InodeRmdir, s, "d") }},
	{name: "rmdir of a full folder", prepare: withFolder, do: inFolder("d", rmdirAt), errno: unix.ENOTEMPTY,
		want: func(s *scene) []record { return removed(tsem.InodeRmdir, s, "d") }},
	{name: "rmdir of a file", prepare: withFile, do: inFolder("f", rmdirAt), errno: unix.ENOTDIR, want: none},
	{name: "rmdir of .", do: inFolder(".", rmdirAt), errno: unix.EINVAL, want: none},
	{name: "rmdir of ..", prepare: withFolder, do: inFolder("d/..", rmdirAt), errno: unix.ENOTEMPTY, want: none},
	{name: "rmdir of the root", do: func(string, int) error { return rmdirAt("/") }, errno: unix.EBUSY, want: none},
	{name: "rmdir of a mount point", do: func(string, int) error { return rmdirAt("/proc") }, errno: unix.EBUSY, want: none},

	{name: "rename", prepare: withFile, do: renames("f", "g", 0), want: renamed("f", "g")},
	{name: "rename over a file", prepare: withTwo, do: renames("f", "g", 0), want: renamedOver("f", "g")},
	{name: "rename into a folder", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Mkdir(s.path("d"), 0o755))
	}, do: renames("f", "d/g", 0), want: func(s *scene) []record {
		return []record{{tsem.InodeRename, &tsem.RenameCell{
			OldDir: s.inode(""), Old: s.dentry("f"), NewDir: s.inode("d"), New: s.newName("d/g"),
		}}}
	}},
	{name: "rename a folder", prepare: withFolder, do: renames("d/", "e/", 0), want: renamed("d", "e")},
	{name: "rename a folder over an empty one", prepare: func(s *scene) {
		withFolder(s)
		s.do(os.Mkdir(s.path("e"), 0o700))
	}, do: renames("d", "e", 0), want: renamedOver("d", "e")},
	{name: "rename a folder over a full one", prepare: func(s *scene) {
		withFolder(s)
		s.do(os.Mkdir(s.path("e"), 0o700))
		s.write("e/x", "x", 0o600)
	}, do: renames("d", "e", 0), errno: unix.ENOTEMPTY, want: renamedOver("d", "e")},
	{name: "rename a link", prepare: func(s *scene) { s.do(os.Symlink("x", s.path("l"))) }, do: renames("l", "m", 0), want: renamed("l", "m")},
	{name: "exchange", prepare: withTwo, do: renames("f", "g", unix.RENAME_EXCHANGE), want: func(s *scene) []record {
		return append(renamedOver("g", "f")(s), renamedOver("f", "g")(s)...)
	}},
	{name: "exchange with what is absent", prepare: withFile, do: renames("f", "g", unix.RENAME_EXCHANGE), errno: unix.ENOENT, want: none},
	{name: "do not replace", prepare: withFile, do: renames("f", "g", unix.RENAME_NOREPLACE), want: renamed("f", "g")},
	{name: "do not replace what is there", prepare: withTwo, do: renames("f", "g", unix.RENAME_NOREPLACE), errno: unix.EEXIST, want: none},
	{name: "rename into itself", prepare: withFolder, do: renames("d", "d/e", 0), errno: unix.EINVAL, want: none},
	{name: "rename over its own parent", prepare: withFolder, do: renames("d/f", "d", 0), errno: unix.ENOTEMPTY, want: none},
	{name: "rename to itself", prepare: withFile, do: renames("f", "f", 0), want: none},
	{name: "rename to a link of itself", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Link(s.path("f"), s.path("g")))
	}, do: renames("f", "g", 0), want: none},
	{name: "rename what is absent", do: renames("f", "g", 0), errno: unix.ENOENT, want: none},
	{name: "rename a file over a folder", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Mkdir(s.path("d"), 0o755))
	}, do: renames("f", "d", 0), errno: unix.EISDIR, want: none},
	{name: "rename a folder over a file", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Mkdir(s.path("d"), 0o755))
	}, do: renames("d", "f", 0), errno: unix.ENOTDIR, want: none},
	{name: "rename a file with a slash behind", prepare: withFile, do: renames("f", "g/", 0), errno: unix.ENOTDIR, want: none},
	{name: "rename to another file system", prepare: withFile, do: func(dir string, _ int) error {
		return unix.Renameat2(unix.AT_FDCWD, dir+"/f", unix.AT_FDCWD, "/dev/quixote-test", 0)
	}, errno: unix.EXDEV, want: none},
	{name: "rename .", do: renames(".", "g", 0), errno: unix.EBUSY, want: none},
	{name: "rename with strange flags", prepare: withFile, do: renames("f", "g", 0x80), errno: unix.EINVAL, want: none},
}

func withTwo(s *scene) {
	withFile(s)
	s.write("g", "another", 0o600)
}

func renames(old, name string, flags uint) func(string, int) error {
	return func(dir string, _ int) error {
		return unix.Renameat2(unix.AT_FDCWD, dir+"/"+old, unix.AT_FDCWD, dir+"/"+name, flags)
	}
}

func renamed(old, name string) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.InodeRename, &tsem.RenameCell{OldDir: s.inode(""), Old: s.dentry(old), NewDir: s.inode(""), New: s.newName(name)}}}
	}
}

func renamedOver(old, name string) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.InodeRename, &tsem.RenameCell{OldDir: s.inode(""), Old: s.dentry(old), NewDir: s.inode(""), New: s.dentry(name)}}}
	}
}

func TestNamesMade(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "make", options{})
}

func TestNamesRemoved(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "remove", options{})
}
