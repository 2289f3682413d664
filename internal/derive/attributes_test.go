// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

func (c *caller) setattr(path string, cell tsem.SetattrCell) Event {
	c.Helper()
	cell.Dentry = c.dentryAt(path)
	return Event{tsem.InodeSetattr, &cell}
}

func TestChmod(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/f"
	c.write(file, "x")
	c.want(c.derive("fchmodat", at1, c.text(file), 0o4711), c.setattr(file, tsem.SetattrCell{Valid: 65, Mode: 0o104711}))
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.want(c.derive("fchmod", uint64(f.Fd()), 0o600), c.setattr(file, tsem.SetattrCell{Valid: 65, Mode: 0o100600}))
	c.want(c.derive("fchmodat2", uint64(f.Fd()), c.text(""), 0o600, unix.AT_EMPTY_PATH), c.setattr(file, tsem.SetattrCell{Valid: 65, Mode: 0o100600}))
	c.want(c.derive("fchmodat", at1, c.text(dir+"/none"), 0o600))
	c.want(c.derive("fchmod", 9999, 0o600))
	if err := os.Symlink("f", dir+"/l"); err != nil {
		t.Fatal(err)
	}
	c.want(c.derive("fchmodat2", at1, c.text(dir+"/l"), 0o600, unix.AT_SYMLINK_NOFOLLOW))
}

func TestChown(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/f"
	c.write(file, "x")
	same := uint64(1<<32 - 1)
	c.want(c.derive("fchownat", at1, c.text(file), 3, 4, 0), c.setattr(file, tsem.SetattrCell{Valid: 2118, UID: 3, GID: 4}))
	c.want(c.derive("fchownat", at1, c.text(file), same, 4, 0), c.setattr(file, tsem.SetattrCell{Valid: 2116, GID: 4}))
	c.want(c.derive("fchownat", at1, c.text(dir), 3, same, 0), c.setattr(dir, tsem.SetattrCell{Valid: 66, UID: 3}))
	if err := unix.Chmod(file, 0o6755); err != nil {
		t.Fatal(err)
	}
	c.want(c.derive("fchownat", at1, c.text(file), 3, 4, 0),
		c.setattr(file, tsem.SetattrCell{Valid: 2118 | 1 | 4096, Mode: 0o100755, UID: 3, GID: 4}))
	if err := os.Symlink("none", dir+"/l"); err != nil {
		t.Fatal(err)
	}
	c.want(c.derive("fchownat", at1, c.text(dir+"/l"), 3, 4, unix.AT_SYMLINK_NOFOLLOW),
		c.setattr(dir+"/l", tsem.SetattrCell{Valid: 2118, UID: 3, GID: 4}))
	c.want(c.derive("fchownat", at1, c.text(dir+"/l"), 3, 4, 0))
}

func TestTruncate(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/f"
	c.write(file, "content")
	c.want(c.derive("truncate", c.text(file), 3), c.setattr(file, tsem.SetattrCell{Valid: 8, Size: 3}))
	c.want(c.derive("truncate", c.text(file), 1<<63))
	c.want(c.derive("truncate", c.text(dir), 3))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.want(c.derive("ftruncate", uint64(f.Fd()), 5), c.setattr(file, tsem.SetattrCell{Valid: 8296, Size: 5}))
	r, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.want(c.derive("ftruncate", uint64(r.Fd()), 5)) // not open for writing
}

func TestUtimes(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/f"
	c.write(file, "x")
	times := func(a, m int64) uint64 {
		b := binary.NativeEndian.AppendUint64(nil, 1)
		b = binary.NativeEndian.AppendUint64(b, uint64(a))
		b = binary.NativeEndian.AppendUint64(b, 1)
		return c.bytes(binary.NativeEndian.AppendUint64(b, uint64(m)))
	}
	for _, test := range []struct {
		a, m  int64
		valid uint32
	}{
		{5, 6, 66032}, // as recorded of a kernel
		{unix.UTIME_NOW, unix.UTIME_NOW, 16 | 32 | 64 | 131072},
		{unix.UTIME_OMIT, 6, 32 | 64 | 256 | 65536},
		{5, unix.UTIME_OMIT, 16 | 64 | 128 | 65536},
		{unix.UTIME_NOW, 6, 16 | 32 | 64 | 256 | 65536},
	} {
		c.want(c.derive("utimensat", at1, c.text(file), times(test.a, test.m), 0), c.setattr(file, tsem.SetattrCell{Valid: test.valid}))
	}
	c.want(c.derive("utimensat", at1, c.text(file), 0, 0), c.setattr(file, tsem.SetattrCell{Valid: 16 | 32 | 64 | 131072}))
	c.want(c.derive("utimensat", at1, c.text(file), times(unix.UTIME_OMIT, unix.UTIME_OMIT), 0))
	c.want(c.derive("utimensat", at1, c.text(file), times(1e9, 0), 0))
	c.want(c.derive("utimensat", at1, c.text(dir+"/none"), 0, 0))
}

func TestGetattr(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/f"
	c.write(file, "x")
	if err := os.Symlink("f", dir+"/l"); err != nil {
		t.Fatal(err)
	}
	of := func(path string) Event {
		d := c.dentryAt(path)
		d.Path = c.pathAt(path) // absolute here
		return Event{tsem.InodeGetattr, &tsem.GetattrCell{Path: d}}
	}
	c.want(c.derive("newfstatat", at1, c.text(dir+"/l"), 0, 0), of(file))
	c.want(c.derive("newfstatat", at1, c.text(dir+"/l"), 0, unix.AT_SYMLINK_NOFOLLOW), of(dir+"/l"))
	c.want(c.derive("statx", at1, c.text(file), unix.AT_STATX_DONT_SYNC, 0xfff, 0), of(file))
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.want(c.derive("fstat", uint64(f.Fd()), 0), of(file))
	c.want(c.derive("newfstatat", uint64(f.Fd()), c.text(""), 0, unix.AT_EMPTY_PATH), of(file))
	c.want(c.derive("newfstatat", at1, c.text(dir+"/none"), 0, 0))
	c.want(c.derive("newfstatat", at1, c.text(file), 0, 1<<30))
	c.want(c.derive("fstat", 9999, 0))
}

func TestXattrs(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/f"
	c.write(file, "x")
	d := c.dentryAt(file)
	value := []byte("v\x00\xff")
	set := func(name string, size uint64, flags uint64) []Event {
		return c.derive("setxattr", c.text(file), c.text(name), c.bytes(value), size, flags)
	}
	c.want(set("user.k", 3, unix.XATTR_CREATE),
		Event{tsem.InodeSetxattr, &tsem.SetxattrCell{Dentry: d, Name: []byte("user.k"), Value: value, Flags: unix.XATTR_CREATE}})
	c.want(set("", 3, 0))
	c.want(set("user.k", 1<<20, 0))
	c.want(set("user.k", 3, 8))
	c.want(set("system.posix_acl_access", 3, 0)) // has a hook of its own
	c.want(c.derive("getxattr", c.text(file), c.text("security.selinux"), 0, 0),
		Event{tsem.InodeGetxattr, &tsem.XattrCell{Dentry: d, Name: []byte("security.selinux")}})
	c.want(c.derive("removexattr", c.text(file), c.text("user.k")),
		Event{tsem.InodeRemovexattr, &tsem.XattrCell{Dentry: d, Name: []byte("user.k")}})
	c.want(c.derive("listxattr", c.text(file), 0, 0), Event{tsem.InodeListxattr, &tsem.DentryCell{Dentry: d}})
	c.want(c.derive("listxattr", c.text(dir+"/none"), 0, 0))
	if err := os.Symlink("f", dir+"/l"); err != nil {
		t.Fatal(err)
	}
	c.want(c.derive("lsetxattr", c.text(dir+"/l"), c.text("user.k"), c.bytes(value), 3, 0)) // links have no user attributes
}
