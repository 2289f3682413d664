// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// inRemoved has the actor stand in a folder that is gone.
func inRemoved(dir string) (int, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return -1, err
	}
	if err := os.Mkdir(dir+"/gone", 0o755); err != nil {
		return -1, err
	}
	if err := unix.Chdir(dir + "/gone"); err != nil {
		return -1, err
	}
	return -1, unix.Rmdir(dir + "/gone")
}

// withMount prepares a folder m on which a file system of its own is mounted.
func withMount(s *scene) {
	s.do(os.Mkdir(s.path("m"), 0o755))
	if err := unix.Mount("tmpfs", s.path("m"), "tmpfs", 0, ""); err != nil {
		s.t.Skipf("needs mounts: %v", err)
	}
	s.t.Cleanup(func() { unix.Unmount(filepath.Join(s.dir, "m"), unix.MNT_DETACH) })
	s.write("m/f", "mounted", 0o644)
}

// withReadOnly prepares a folder r with a file that can only be read.
func withReadOnly(s *scene) {
	s.do(os.Mkdir(s.path("r"), 0o755))
	s.write("r/f", "read me", 0o644)
	s.do(os.Mkdir(s.path("r/d"), 0o755))
	if err := unix.Mount(s.path("r"), s.path("r"), "", unix.MS_BIND, ""); err != nil {
		s.t.Skipf("needs mounts: %v", err)
	}
	s.t.Cleanup(func() { unix.Unmount(filepath.Join(s.dir, "r"), unix.MNT_DETACH) })
	s.do(unix.Mount("", s.path("r"), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
}

// ownProgram is the program that does the acts, opened with flags.
func ownProgram(flags uint32) func(*scene) []record {
	return func(s *scene) []record {
		path, _ := actorProgram()
		exe := &scene{t: s.t, dir: filepath.Dir(path)}
		exe.remember()
		return []record{opened(exe.file(actorName, flags|largeFile))}
	}
}

// edgeActs fail, or nearly so, for reasons of their own.
var edgeActs = []act{
	{name: "create in a removed folder", before: inRemoved, do: func(string, int) error {
		return unlessErr(openAt(unix.AT_FDCWD, "n", unix.O_CREAT|unix.O_WRONLY, 0o644))
	},
		errno: unix.ENOENT, want: none},
	{name: "mkdir in a removed folder", before: inRemoved, do: func(string, int) error { return mkdirAs(0o755)("n") }, errno: unix.ENOENT, want: none},
	{name: "symlink in a removed folder", before: inRemoved, do: func(string, int) error { return unix.Symlinkat("x", unix.AT_FDCWD, "n") }, errno: unix.ENOENT, want: none},
	{name: "mknod in a removed folder", before: inRemoved, do: func(string, int) error { return unix.Mknodat(unix.AT_FDCWD, "n", unix.S_IFIFO, 0) }, errno: unix.ENOENT, want: none},
	{name: "link in a removed folder", prepare: withFile, before: inRemoved, do: func(dir string, _ int) error {
		return unix.Linkat(unix.AT_FDCWD, dir+"/f", unix.AT_FDCWD, "n", 0)
	}, errno: unix.ENOENT, want: none},
	{name: "rename into a removed folder", prepare: withFile, before: inRemoved, do: func(dir string, _ int) error {
		return unix.Renameat2(unix.AT_FDCWD, dir+"/f", unix.AT_FDCWD, "n", 0)
	}, errno: unix.ENOENT, want: none},
	{name: "bind in a removed folder", before: func(dir string) (int, error) {
		if _, err := inRemoved(dir); err != nil {
			return -1, err
		}
		return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	}, do: boundTo(rawAddr(unix.AF_UNIX, 's', 0)), errno: unix.ENOENT,
		want: addressed(tsem.SocketBind, unix.AF_UNIX, unix.SOCK_STREAM, 0, tsem.Addr{Family: tsem.AddrUnix, Path: []byte("s")})},

	{name: "write to a program that runs", do: opensExactly("/proc/self/exe", unix.O_WRONLY), errno: unix.ETXTBSY, want: none},
	{name: "write to a program that runs, from its beginning", do: opensExactly("/proc/self/exe", unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC), errno: unix.ETXTBSY, want: none},
	{name: "neither read nor write a program that runs", do: opensExactly("/proc/self/exe", 3), want: ownProgram(3)},
	{name: "O_TRUNC for reading of a program that runs", do: opensExactly("/proc/self/exe", unix.O_TRUNC), errno: unix.ETXTBSY, want: ownProgram(unix.O_TRUNC)},
	{name: "truncate a program that runs", do: func(string, int) error { return unix.Truncate("/proc/self/exe", 0) }, errno: unix.ETXTBSY, want: none},
	{name: "write to a program that nobody runs", prepare: func(s *scene) { s.write("f", "x", 0o755) }, do: opens("f", unix.O_WRONLY, 0), want: opensF(unix.O_WRONLY)},
	{name: "an absolute path and no descriptor", prepare: withFile, do: func(dir string, _ int) error { return unlessErr(openAt(999, dir+"/f", 0, 0)) }, want: opensF(0)},
	{name: "O_CREAT and O_DIRECTORY", do: opens("n", unix.O_CREAT|unix.O_DIRECTORY, 0o644), errno: unix.EINVAL, want: none},
	{name: "O_CREAT and O_DIRECTORY on a folder", prepare: withFolder, do: opens("d", unix.O_CREAT|unix.O_DIRECTORY, 0o644), errno: unix.EINVAL, want: none},
	{name: "O_CREAT on a folder", prepare: withFolder, do: opens("d", unix.O_CREAT, 0o644), errno: unix.EISDIR, want: none},
	{name: "O_EXCL without O_CREAT", prepare: withFile, do: opens("f", unix.O_EXCL, 0), want: opensF(unix.O_EXCL)},
	{name: "O_TRUNC for reading", prepare: withFile, do: opens("f", unix.O_TRUNC, 0), want: func(s *scene) []record {
		return []record{
			opened(s.file("f", largeFile|unix.O_TRUNC)),
			{tsem.InodeSetattr, &tsem.SetattrCell{Dentry: s.dentry("f"), Valid: validSize | validMtime | validCtime | validFile | 1<<15}},
		}
	}},
	{name: "O_TRUNC of an empty file", prepare: func(s *scene) { s.write("f", "", 0o644) }, do: opens("f", unix.O_TRUNC|unix.O_WRONLY, 0), want: func(s *scene) []record {
		return []record{
			opened(s.file("f", largeFile|unix.O_TRUNC|unix.O_WRONLY)),
			{tsem.InodeSetattr, &tsem.SetattrCell{Dentry: s.dentry("f"), Valid: validSize | validMtime | validCtime | validFile | 1<<15}},
		}
	}},

	{name: "open for writing what can only be read", prepare: withReadOnly, do: opens("r/f", unix.O_WRONLY, 0), errno: unix.EROFS, want: none},
	{name: "create where it can only be read", prepare: withReadOnly, do: opens("r/n", unix.O_CREAT|unix.O_WRONLY, 0o644), errno: unix.EROFS, want: none},
	{name: "O_CREAT on what can only be read", prepare: withReadOnly, do: opens("r/f", unix.O_CREAT, 0o644), want: func(s *scene) []record {
		return []record{opened(s.file("r/f", largeFile|unix.O_CREAT))}
	}},
	{name: "mkdir where it can only be read", prepare: withReadOnly, do: inFolder("r/n", mkdirAs(0o755)), errno: unix.EROFS, want: none},
	{name: "unlink what can only be read", prepare: withReadOnly, do: inFolder("r/f", unlinkAt), errno: unix.EROFS, want: none},
	{name: "rmdir what can only be read", prepare: withReadOnly, do: inFolder("r/d", rmdirAt), errno: unix.EROFS, want: none},
	{name: "rename what can only be read", prepare: withReadOnly, do: renames("r/f", "r/g", 0), errno: unix.EROFS, want: none},
	{name: "link what can only be read", prepare: withReadOnly, do: links("r/f", "r/g", 0), errno: unix.EROFS, want: none},
	{name: "chmod what can only be read", prepare: withReadOnly, do: inFolder("r/f", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0, 0) }), errno: unix.EROFS, want: none},
	{name: "truncate what can only be read", prepare: withReadOnly, do: inFolder("r/f", func(p string) error { return unix.Truncate(p, 0) }), errno: unix.EROFS, want: none},
	{name: "times of what can only be read", prepare: withReadOnly, do: stamps("r/f", stampNow, stampNow, 0), errno: unix.EROFS, want: none},

	{name: "rename and leave a whiteout", prepare: withFile, do: renames("f", "g", unix.RENAME_WHITEOUT), want: renamed("f", "g")},
	{name: "rmdir of a mount point", prepare: withMount, do: inFolder("m", rmdirAt), errno: unix.EBUSY, want: none},
	{name: "rename out of a mount", prepare: withMount, do: renames("m/f", "f", 0), errno: unix.EXDEV, want: none},
	{name: "unlink in a mount", prepare: withMount, do: inFolder("m/f", unlinkAt), want: func(s *scene) []record {
		d := tsem.Dentry{HasInode: true, Inode: s.inode("m/f"), Path: tsem.Path{HasDev: true, Dev: s.devs[s.path("m")], Type: tsem.PathRoot, Pathname: []byte("/f")}}
		return []record{{tsem.InodeUnlink, &tsem.RemoveCell{Dir: s.inode("m"), Dentry: d}}}
	}},
	{name: "out of a mount by ..", prepare: func(s *scene) {
		withFile(s)
		withMount(s)
	}, do: opens("m/../f", 0, 0), want: opensF(0)},
	{name: "a file on which another is mounted", prepare: func(s *scene) {
		withTwo(s)
		if err := unix.Mount(s.path("f"), s.path("g"), "", unix.MS_BIND, ""); err != nil {
			s.t.Skipf("needs mounts: %v", err)
		}
		s.t.Cleanup(func() { unix.Unmount(filepath.Join(s.dir, "g"), unix.MNT_DETACH) })
	}, do: func(dir string, _ int) error {
		if err := opens("g", 0, 0)(dir, -1); err != nil {
			return err
		}
		return unix.Fchmodat(unix.AT_FDCWD, dir+"/g", 0o600, 0)
	}, want: func(s *scene) []record {
		return []record{
			opened(s.file("g", largeFile)),
			changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG | 0o600})(s)[0],
		}
	}},
	{name: "a mount point of a strange name", prepare: func(s *scene) {
		s.do(os.Mkdir(s.path("sp ace\nline\\tab\t#"), 0o755))
		if err := unix.Mount("tmpfs", s.path("sp ace\nline\\tab\t#"), "tmpfs", 0, ""); err != nil {
			s.t.Skipf("needs mounts: %v", err)
		}
		s.t.Cleanup(func() { unix.Unmount(filepath.Join(s.dir, "sp ace\nline\\tab\t#"), unix.MNT_DETACH) })
	}, do: inFolder("sp ace\nline\\tab\t#/d", mkdirAs(0o755)), want: func(s *scene) []record {
		p := tsem.Path{HasDev: true, Dev: s.devs[s.path("sp ace\nline\\tab\t#")], Type: tsem.PathRoot, Pathname: []byte("/d")}
		s.own(&p, 1)
		return []record{{tsem.InodeMkdir, &tsem.CreateCell{Dir: s.inode("sp ace\nline\\tab\t#"), Dentry: tsem.Dentry{Path: p}, Mode: 0o755}}}
	}},
	{name: "by the root of another task", prepare: withFile, do: func(dir string, _ int) error {
		return unlessErr(openAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/root%s/f", os.Getpid(), dir), 0, 0))
	}, want: opensF(0)},
}

func TestEdges(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "edge", options{})
}

// What holds of file systems holds of one that is put together from two.
func TestOverlay(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, table := range []string{"open", "make", "remove", "setattr", "getattr"} {
		t.Run(table, func(t *testing.T) {
			base := openDir(t)
			if err := unix.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil {
				t.Skipf("needs mounts: %v", err)
			}
			t.Cleanup(func() { unix.Unmount(base, unix.MNT_DETACH) })
			for _, name := range []string{"lower", "upper", "work", "point"} {
				if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			point := filepath.Join(base, "point")
			opts := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", base, base, base)
			if err := unix.Mount("overlay", point, "overlay", 0, opts); err != nil {
				t.Skipf("needs overlay file systems: %v", err)
			}
			t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
			performedIn(t, table, point, options{}, func(s *scene) { s.point, s.root = point, "/" })
		})
	}
}
