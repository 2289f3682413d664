// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// mounter is a caller in a mount namespace of its own, and a folder there.
func mounter(t *testing.T) (*caller, string) {
	c := newCaller(t)
	c.needRoot()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "a/sub"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.within(func() { err = unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS) })
	if err != nil {
		t.Skipf("no mount namespace can be made: %v", err)
	}
	c.mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE)
	c.task.Root = nil // it has gone to another place
	return c, dir
}

// mount mounts for the task, unseen.
func (c *caller) mount(source, target, fstype string, flags uintptr) {
	c.Helper()
	var err error
	c.within(func() { err = unix.Mount(source, target, fstype, flags, "") })
	if err != nil {
		c.Fatal(err)
	}
}

// at is path as the kernel knows it, in both forms.
func (c *caller) at(path string) (tsem.Path, tsem.Dentry) {
	c.Helper()
	var st unix.Statx_t
	var err error
	c.within(func() {
		err = unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st)
	})
	if err != nil {
		c.Fatal(err)
	}
	var o proc.Object
	if err := c.d.lens.Lookup(c.task, unix.AT_FDCWD, []byte(path), false, &o); err != nil {
		c.Fatal(err)
	}
	defer o.Close()
	dev := tsem.Dev{Major: st.Dev_major, Minor: st.Dev_minor}
	p := tsem.Path{HasDev: true, Dev: dev, Type: tsem.PathNamespace, Pathname: []byte(path)}
	e := tsem.Dentry{HasInode: true, Path: p, Inode: tsem.Inode{
		UID: st.Uid, GID: st.Gid, Mode: uint32(st.Mode), Magic: o.Mount.Magic, SID: o.Mount.SID, UUID: o.Mount.UUID,
	}}
	return p, e
}

func TestMount(t *testing.T) {
	c, dir := mounter(t)
	a, b := dir+"/a", dir+"/b"

	// A new file system.
	path, _ := c.at(a)
	got, _ := c.do(unix.SYS_MOUNT, "mount", c.text("source"), c.text(a), c.text("tmpfs"), unix.MS_MGC_VAL|unix.MS_NODEV, c.text("size=1m"))
	c.want(got, Event{tsem.SBMount, &tsem.MountCell{
		DevName: []byte("source"), Path: path, Type: []byte("tmpfs"), Flags: unix.MS_NODEV,
	}})

	// It is changed: two hooks.
	path, root := c.at(a)
	root.Path.Pathname = []byte("/")
	got, _ = c.do(unix.SYS_MOUNT, "mount", c.text("none"), c.text(a), 0, unix.MS_REMOUNT, c.text("size=2m"))
	c.want(got,
		Event{tsem.SBMount, &tsem.MountCell{DevName: []byte("none"), Path: path, Flags: unix.MS_REMOUNT}},
		Event{tsem.SBRemount, &tsem.RemountCell{Dentry: root, FSType: []byte("tmpfs"), Flags: 1887502336}})

	// Its mount is changed, bound elsewhere, made private, moved: one.
	for _, test := range []struct {
		source, target string
		flags          uint64
	}{
		{"", a, unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID},
		{a, b, unix.MS_BIND},
		{"", b, unix.MS_PRIVATE},
		{b, dir, unix.MS_MOVE},
	} {
		path, _ := c.at(test.target)
		cell := &tsem.MountCell{Path: path, Flags: test.flags}
		source := uint64(0)
		if test.source != "" {
			source, cell.DevName = c.text(test.source), []byte(test.source)
		}
		c.want(c.derive("mount", source, c.text(test.target), 0, test.flags, 0), Event{tsem.SBMount, cell})
	}

	// What the kernel turns back before the hook.
	c.want(c.derive("mount", 0, c.text(dir+"/none"), 0, unix.MS_BIND, 0))
	c.want(c.derive("mount", 0, c.text(a), 0, unix.MS_NOUSER, 0))
	c.want(c.derive("mount", 0, c.text(a), 1, 0, 0))

	// A folder is no mount: the second hook is not reached.
	path, _ = c.at(dir)
	c.want(c.derive("mount", 0, c.text(dir), 0, unix.MS_REMOUNT, 0),
		Event{tsem.SBMount, &tsem.MountCell{Path: path, Flags: unix.MS_REMOUNT}})
}

func TestUmount(t *testing.T) {
	c, dir := mounter(t)
	a, b := dir+"/a", dir+"/b"
	c.mount(a+"/sub", b, "", unix.MS_BIND)
	_, root := c.at(b)
	var o proc.Object
	if err := c.d.lens.Lookup(c.task, unix.AT_FDCWD, []byte(a+"/sub"), true, &o); err != nil {
		t.Fatal(err)
	}
	// The root of a bound folder is that folder, in its file system.
	root.Path.Pathname = append([]byte(nil), o.RelativePath(tsem.PathNamespace).Pathname...)
	o.Close()
	c.want(c.derive("umount2", c.text(a), 0)) // no mount
	c.want(c.derive("umount2", c.text(b), 64))
	got, _ := c.do(unix.SYS_UMOUNT2, "umount2", c.text(b), unix.MNT_DETACH)
	c.want(got, Event{tsem.SBUmount, &tsem.UmountCell{Mnt: root, Flags: unix.MNT_DETACH}})
	c.want(c.derive("umount2", c.text(b), 0))

	c.task.Status.COE.CapEff, c.task.StatusStale = 0, false
	c.want(c.derive("umount2", c.text("/proc"), 0))
}

func TestPivotRoot(t *testing.T) {
	c, dir := mounter(t)
	first, _ := c.at(dir + "/a")
	second, _ := c.at(dir + "/a/sub")
	c.want(c.derive("pivot_root", c.text(dir+"/a"), c.text(dir+"/a/sub")),
		Event{tsem.SBPivotroot, &tsem.PathPairCell{First: second, Second: first}})
	c.want(c.derive("pivot_root", c.text(dir+"/a"), c.text("/proc/version")))
}

func TestMoveMount(t *testing.T) {
	c, dir := mounter(t)
	a, b := dir+"/a", dir+"/b"
	c.mount("none", a, "tmpfs", 0)
	here := uint64(0xffffffffffffff9c) // AT_FDCWD
	from, _ := c.at(a)
	to, _ := c.at(b)
	got, _ := c.do(unix.SYS_MOVE_MOUNT, "move_mount", here, c.text(a), here, c.text(b), 0)
	c.want(got, Event{tsem.MoveMount, &tsem.PathPairCell{First: from, Second: to}})
	c.want(c.derive("move_mount", here, c.text(a), here, c.text(b), 0x80))

	// A detached clone has no place, only a name.
	_, tree := c.do(unix.SYS_OPEN_TREE, "open_tree", here, c.text(dir+"/a"), openTreeClone)
	defer unix.Close(tree)
	from, _ = c.at(dir + "/a")
	from.Pathname = []byte("a")
	to, _ = c.at(b)
	c.want(c.derive("move_mount", uint64(tree), c.text(""), here, c.text(b), moveFromEmpty),
		Event{tsem.MoveMount, &tsem.PathPairCell{First: from, Second: to}})
}

// fsconfig changes what fspick has picked.
func TestReconfigure(t *testing.T) {
	c, dir := mounter(t)
	c.mount("none", dir+"/a", "tmpfs", 0)
	_, root := c.at(dir + "/a")
	root.Path.Pathname = []byte("/")
	here := uint64(0xffffffffffffff9c)
	_, fd := c.do(unix.SYS_FSPICK, "fspick", here, c.text(dir+"/a"), 0)
	// Here the deriver shares the descriptors of the task, so that it is wrong
	// about which is free.
	expected := int(c.d.shared.Mounts.pending[0].at.fd)
	if fd != expected {
		if err := unix.Dup3(fd, expected, 0); err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	fd = expected
	defer unix.Close(fd)
	c.want(c.derive("fsconfig", uint64(fd), 0, c.text("ro"), 0, 0))
	c.want(c.derive("fsconfig", uint64(fd), configReconfigure, 0, 0, 0),
		Event{tsem.SBRemount, &tsem.RemountCell{Dentry: root, FSType: []byte("tmpfs"), Flags: 1887502336}})
}

func TestStatfs(t *testing.T) {
	c, dir := mounter(t)
	c.mount("none", dir+"/a", "tmpfs", 0)
	var fd int
	var err error
	c.within(func() {
		if err = unix.Mkdir(dir+"/a/x", 0o750); err == nil {
			fd, err = unix.Open(dir+"/a/x", unix.O_PATH|unix.O_CLOEXEC, 0)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, x := c.at(dir + "/a/x")
	x.Path.Pathname = []byte("/x")
	c.want(c.derive("statfs", c.text(dir+"/a/x"), 0), Event{tsem.SBStatfs, &tsem.DentryCell{Dentry: x}})
	c.want(c.derive("statfs", c.text(dir+"/none"), 0))
	c.want(c.derive("fstatfs", uint64(fd), 0), Event{tsem.SBStatfs, &tsem.DentryCell{Dentry: x}})

	_, root := c.at(dir + "/a")
	root.Path.Pathname = []byte("/")
	dev := uint64(root.Path.Dev.Major)<<8 | uint64(root.Path.Dev.Minor&0xff) | uint64(root.Path.Dev.Minor&^0xff)<<12
	c.want(c.derive("ustat", dev, 0), Event{tsem.SBStatfs, &tsem.DentryCell{Dentry: root}})
}
