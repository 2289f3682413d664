// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// credential makes a thread change its credentials by a call on three words.
func credential(calls ...[4]uintptr) func(string) (int, error) {
	return func(string) (int, error) {
		for _, c := range calls {
			if _, _, errno := unix.RawSyscall(c[0], c[1], c[2], c[3]); errno != 0 {
				return -1, errno
			}
		}
		return -1, nil
	}
}

// without drops capabilities from the effective set of the calling thread.
func without(drop uint64) func(string) (int, error) {
	return func(string) (int, error) {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			return -1, err
		}
		data[0].Effective &^= uint32(drop)
		data[1].Effective &^= uint32(drop >> 32)
		_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data[0])), 0)
		return -1, zero(errno)
	}
}

// forEverybody prepares a file f in a folder that everybody may change.
func forEverybody(s *scene) {
	s.write("f", "for everybody", 0o666)
	s.do(os.Chmod(s.dir, 0o777))
}

// inGroups makes a thread a member of n groups from first on, and nobody.
func inGroups(first, n uint32) func(string) (int, error) {
	return func(dir string) (int, error) {
		groups := make([]uint32, n)
		for i := range groups {
			groups[i] = first + uint32(i)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(n), uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
			return -1, errno
		}
		return asNobody(dir)
	}
}

// forGroup prepares a file f that the members of a group may read.
func forGroup(gid int) func(*scene) {
	return func(s *scene) {
		s.write("f", "for a group", 0o640)
		s.do(os.Chown(s.path("f"), 0, gid))
	}
}

// The last call of each is the act's own: opening f, or making n.
var credentialActs = []act{
	{name: "real, effective, saved", prepare: forEverybody, before: credential([4]uintptr{unix.SYS_SETRESUID, 11, 12, 13}), do: opens("f", 0, 0), want: opensF(0),
		coe: func(_ *scene, c *tsem.COE) { c.UID, c.EUID, c.SUID, c.FSUID, c.CapEff = 11, 12, 13, 12, 0 }},
	{name: "groups", prepare: forEverybody, before: credential([4]uintptr{unix.SYS_SETRESGID, 21, 22, 23}), do: opens("f", 0, 0), want: opensF(0),
		coe: func(_ *scene, c *tsem.COE) { c.GID, c.EGID, c.SGID, c.FSGID = 21, 22, 23, 22 }},
	{name: "three thousand groups", prepare: forGroup(2_000_002_999), before: inGroups(2_000_000_000, 3000), do: opens("f", 0, 0), want: opensF(0), coe: nobodyCOE},
	{name: "as many groups as there can be", prepare: forGroup(2_000_065_535), before: inGroups(2_000_000_000, 65536), do: opens("f", 0, 0), want: opensF(0), coe: nobodyCOE},
	{name: "none of as many groups as there can be", prepare: forGroup(1), before: inGroups(2_000_000_000, 65536), do: opens("f", 0, 0), errno: unix.EACCES, want: none},
	{name: "file system ids", prepare: forEverybody,
		before: credential([4]uintptr{unix.SYS_SETFSGID, 32}, [4]uintptr{unix.SYS_SETFSUID, 31}), do: opens("f", 0, 0), want: opensF(0),
		coe: func(_ *scene, c *tsem.COE) {
			c.FSUID, c.FSGID = 31, 32
			c.CapEff &^= 0x10800021f // CAP_FS_MASK
		}},
	{name: "and back", prepare: forEverybody,
		before: credential([4]uintptr{unix.SYS_SETRESUID, uintptr(noID), 12, uintptr(noID)}, [4]uintptr{unix.SYS_SETRESUID, uintptr(noID), 0, uintptr(noID)}),
		do:     opens("f", 0, 0), want: opensF(0)},
	{name: "without a capability", prepare: withFile, before: without(1 << unix.CAP_NET_RAW), do: opens("f", 0, 0), want: opensF(0),
		coe: func(_ *scene, c *tsem.COE) { c.CapEff &^= 1 << unix.CAP_NET_RAW }},
	{name: "a closed file without the capability to open it", prepare: func(s *scene) { s.write("f", "x", 0) }, before: without(1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH),
		do: opens("f", 0, 0), errno: unix.EACCES, want: none},
	{name: "a closed file with the capability to read it", prepare: func(s *scene) { s.write("f", "x", 0) }, before: without(1 << unix.CAP_DAC_OVERRIDE),
		do: opens("f", 0, 0), want: opensF(0), coe: func(_ *scene, c *tsem.COE) { c.CapEff &^= 1 << unix.CAP_DAC_OVERRIDE }},
	{name: "a file of somebody else", prepare: func(s *scene) { s.write("f", "x", 0o600) }, before: asNobody, do: opens("f", 0, 0), errno: unix.EACCES, want: none},
	{name: "for writing", prepare: func(s *scene) { s.write("f", "x", 0o644) }, before: asNobody, do: opens("f", unix.O_RDWR, 0), errno: unix.EACCES, want: none},
	{name: "O_NOATIME on a file of somebody else", prepare: withFile, before: asNobody, do: opens("f", unix.O_NOATIME, 0), errno: unix.EPERM, want: none},
	{name: "new in a closed folder", before: asNobody, do: opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644), errno: unix.EACCES, want: none},
	{name: "new in an open folder", prepare: forEverybody,
		before: credential([4]uintptr{unix.SYS_SETRESGID, 42, 42, 42}, [4]uintptr{unix.SYS_SETRESUID, 41, 41, 41}),
		do:     opens("n", unix.O_CREAT|unix.O_WRONLY, 0o644), want: func(s *scene) []record {
			want := makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644)(s)
			in := &want[1].cell.(*tsem.FileCell).File.Inode
			in.UID, in.GID = 41, 42
			return want
		}, coe: func(_ *scene, c *tsem.COE) {
			*c = tsem.COE{UID: 41, EUID: 41, SUID: 41, FSUID: 41, GID: 42, EGID: 42, SGID: 42, FSGID: 42}
		}},
	{name: "below a closed folder", prepare: func(s *scene) {
		withFolder(s)
		s.do(os.Chmod(s.path("d"), 0o700))
	}, before: asNobody, do: opens("d/f", 0, 0), errno: unix.EACCES, want: none},
	{name: "stat below a closed folder", prepare: func(s *scene) {
		withFolder(s)
		s.do(os.Chmod(s.path("d"), 0o700))
	}, before: asNobody, do: statAt("d/f", 0), errno: unix.EACCES, want: none},
	{name: "stat of a closed file", prepare: func(s *scene) { s.write("f", "x", 0) }, before: asNobody, do: statAt("f", 0), want: looked("f"), coe: nobodyCOE},
	{name: "unlink in a closed folder", prepare: withFile, before: asNobody, do: inFolder("f", unlinkAt), errno: unix.EACCES, want: none},
	{name: "unlink in a sticky folder", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Chmod(s.dir, 0o777|os.ModeSticky))
	}, before: asNobody, do: inFolder("f", unlinkAt), errno: unix.EPERM, want: none},
	{name: "unlink in an open folder", prepare: forEverybody, before: asNobody, do: inFolder("f", unlinkAt),
		want: func(s *scene) []record { return removed(tsem.InodeUnlink, s, "f") }, coe: nobodyCOE},
	{name: "rename out of a closed folder", prepare: func(s *scene) {
		withFolder(s)
		s.do(os.Chmod(s.dir, 0o777))
	}, before: asNobody, do: renames("d/f", "f", 0), errno: unix.EACCES, want: none},
	{name: "rename of a folder of somebody else", prepare: func(s *scene) {
		withFolder(s)
		s.do(os.Mkdir(s.path("e"), 0o777))
		s.do(os.Chmod(s.path("e"), 0o777))
		s.do(os.Chmod(s.dir, 0o777))
	}, before: asNobody, do: renames("d", "e/d", 0), errno: unix.EACCES, want: none},
	{name: "link to a file of somebody else", prepare: func(s *scene) {
		withFile(s)
		s.do(os.Chmod(s.dir, 0o777))
		b, err := os.ReadFile("/proc/sys/fs/protected_hardlinks")
		if err != nil || b[0] != '1' {
			s.t.Skip("needs fs.protected_hardlinks")
		}
	}, before: asNobody, do: links("f", "g", 0), errno: unix.EPERM, want: none},
	{name: "device without the capability", prepare: forEverybody, before: asNobody, do: inFolder("c", func(p string) error {
		return unix.Mknodat(unix.AT_FDCWD, p, unix.S_IFCHR|0o600, 0x105)
	}), errno: unix.EPERM, want: none},
	{name: "chmod of a file of somebody else", prepare: withFile, before: asNobody, do: inFolder("f", func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0, 0) }),
		errno: unix.EPERM, want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG}), coe: nobodyCOE},
	{name: "truncate without the capability to keep set-id bits", prepare: func(s *scene) {
		s.write("f", "set id", 0o777|os.ModeSetuid|os.ModeSetgid)
	}, before: asNobody, do: inFolder("f", func(p string) error { return unix.Truncate(p, 2) }),
		want: changed("f", tsem.SetattrCell{Valid: validSize | validForce | validKillSUID | validKillSGID | validMode, Size: 2, Mode: unix.S_IFREG | 0o777}), coe: nobodyCOE},
}

func TestCredentials(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "credential", options{})
}

// What holds of names and files holds on a tmpfs, and where a folder is mounted
// on another: names are then those of the file system, files those of the tree.
func TestFileSystems(t *testing.T) {
	needRoot(t)
	t.Parallel()
	mount := func(t *testing.T, source, kind string, flags uintptr) string {
		point := openDir(t)
		if err := unix.Mount(source, point, kind, flags, ""); err != nil {
			t.Skipf("needs mounts: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
		if err := os.Chmod(point, 0o755); err != nil {
			t.Fatal(err)
		}
		return point
	}
	for _, table := range []string{"open", "make", "remove", "setattr", "getattr"} {
		t.Run("tmpfs "+table, func(t *testing.T) {
			t.Parallel()
			point := mount(t, "tmpfs", "tmpfs", 0)
			performedIn(t, table, point, options{}, func(s *scene) { s.point, s.root = point, "/" })
		})
	}
	for _, table := range []string{"make", "remove", "setattr"} {
		t.Run("bind "+table, func(t *testing.T) {
			t.Parallel()
			source := openDir(t)
			point := mount(t, source, "", unix.MS_BIND)
			performedIn(t, table, point, options{}, func(s *scene) { s.point, s.root = point, source })
		})
	}
}
