// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

func TestMkdirAndRmdir(t *testing.T) {
	c, dir := filer(t)
	if !hasACL(dir) {
		t.Skip("the file system keeps no access lists: the hook sees another mode")
	}
	folder, name := c.inodeAt(dir), c.nameAt(dir+"/d")
	name.Path = c.madeAs(name.Path, 1)
	got, _ := c.do(unix.SYS_MKDIRAT, "mkdirat", at1, c.text(dir+"/d/"), 0o1750)
	c.want(got, Event{tsem.InodeMkdir, &tsem.CreateCell{Dir: folder, Dentry: name, Mode: 0o1750}})
	c.want(c.derive("mkdirat", at1, c.text(dir+"/d"), 0o777))   // is there
	c.want(c.derive("mkdirat", at1, c.text(dir+"/x/y"), 0o777)) // has no folder
	gone := c.dentryAt(dir + "/d")
	gone.Path = c.madeAs(gone.Path, 1)
	c.want(c.derive("unlinkat", at1, c.text(dir+"/d"), 0)) // is a folder
	c.want(c.derive("unlinkat", at1, c.text(dir+"/d"), unix.AT_REMOVEDIR),
		Event{tsem.InodeRmdir, &tsem.RemoveCell{Dir: c.inodeAt(dir), Dentry: gone}})
	c.want(c.derive("unlinkat", at1, c.text(dir+"/d/."), unix.AT_REMOVEDIR))
}

func TestLink(t *testing.T) {
	c, dir := filer(t)
	c.write(dir+"/old", "x")
	want := Event{tsem.InodeLink, &tsem.LinkCell{Old: c.dentryAt(dir + "/old"), Dir: c.inodeAt(dir), New: c.nameAt(dir + "/new")}}
	c.want(c.derive("linkat", at1, c.text(dir+"/old"), at1, c.text(dir+"/new"), 0), want)
	c.want(c.derive("linkat", at1, c.text(dir+"/none"), at1, c.text(dir+"/new"), 0))
	c.want(c.derive("linkat", at1, c.text(dir+"/old"), at1, c.text(dir+"/old"), 0))
	c.want(c.derive("linkat", at1, c.text(dir), at1, c.text(dir+"/new"), 0))
	c.want(c.derive("linkat", at1, c.text("/proc/version"), at1, c.text(dir+"/new"), 0)) // another mount
}

func TestUnlink(t *testing.T) {
	c, dir := filer(t)
	c.write(dir+"/f", "x")
	c.want(c.derive("unlinkat", at1, c.text(dir+"/f"), 0),
		Event{tsem.InodeUnlink, &tsem.RemoveCell{Dir: c.inodeAt(dir), Dentry: c.dentryAt(dir + "/f")}})
	c.want(c.derive("unlinkat", at1, c.text(dir+"/f/"), 0))
	c.want(c.derive("unlinkat", at1, c.text(dir+"/none"), 0))
	c.want(c.derive("unlinkat", at1, c.text(dir+"/f"), 1))
	c.want(c.derive("unlinkat", at1, c.text(dir+"/f"), unix.AT_REMOVEDIR))
}

func TestSymlink(t *testing.T) {
	c, dir := filer(t)
	c.want(c.derive("symlinkat", c.text("to\nwhere"), at1, c.text(dir+"/s")),
		Event{tsem.InodeSymlink, &tsem.SymlinkCell{Dir: c.inodeAt(dir), Dentry: c.nameAt(dir + "/s"), OldName: []byte("to\nwhere")}})
	c.want(c.derive("symlinkat", c.text(""), at1, c.text(dir+"/s")))
	c.want(c.derive("symlinkat", c.text("x"), at1, c.text(dir)))
}

func TestMknod(t *testing.T) {
	c, dir := filer(t)
	if !hasACL(dir) {
		t.Skip("the file system keeps no access lists: the hook sees another mode")
	}
	node := func(mode uint32, major, minor uint32) Event {
		return Event{tsem.InodeMknod, &tsem.MknodCell{
			Dir: c.inodeAt(dir), Dentry: c.nameAt(dir + "/n"), Mode: mode, Dev: tsem.Dev{Major: major, Minor: minor},
		}}
	}
	c.want(c.derive("mknodat", at1, c.text(dir+"/n"), unix.S_IFIFO|0o640, 0), node(unix.S_IFIFO|0o640, 0, 0))
	c.want(c.derive("mknodat", at1, c.text(dir+"/n"), unix.S_IFSOCK|0o600, 5), node(unix.S_IFSOCK|0o600, 0, 0))
	name := c.nameAt(dir + "/n")
	name.Path = c.madeAs(name.Path, 1)
	c.want(c.derive("mknodat", at1, c.text(dir+"/n"), 0o640, 0),
		Event{tsem.InodeCreate, &tsem.CreateCell{Dir: c.inodeAt(dir), Dentry: name, Mode: unix.S_IFREG | 0o640}})
	c.want(c.derive("mknodat", at1, c.text(dir+"/n"), unix.S_IFDIR|0o640, 0))
	if c.task.Status.COE.CapEff&(1<<unix.CAP_MKNOD) != 0 {
		c.want(c.derive("mknodat", at1, c.text(dir+"/n"), unix.S_IFCHR|0o600, unix.Mkdev(300, 70000)), node(unix.S_IFCHR|0o600, 300, 70000))
	}
}

func TestRename(t *testing.T) {
	c, dir := filer(t)
	c.write(dir+"/a", "a")
	c.write(dir+"/b", "b")
	if err := os.MkdirAll(dir+"/d/e", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(dir+"/a", dir+"/same"); err != nil {
		t.Fatal(err)
	}
	call := func(from, to string, flags uint64) []Event {
		return c.derive("renameat2", at1, c.text(dir+from), at1, c.text(dir+to), flags)
	}
	to := func(from, to string, target tsem.Dentry) Event {
		return Event{tsem.InodeRename, &tsem.RenameCell{
			OldDir: c.inodeAt(dir), Old: c.dentryAt(dir + from), NewDir: c.inodeAt(dir), New: target,
		}}
	}
	c.want(call("/a", "/new", 0), to("/a", "/new", c.nameAt(dir+"/new")))
	c.want(call("/a", "/b", 0), to("/a", "/b", c.dentryAt(dir+"/b")))
	c.want(call("/a", "/b", unix.RENAME_EXCHANGE),
		to("/b", "/a", c.dentryAt(dir+"/a")), to("/a", "/b", c.dentryAt(dir+"/b")))
	c.want(call("/a", "/b", unix.RENAME_NOREPLACE))
	c.want(call("/a", "/same", 0))
	c.want(call("/a", "/new/", 0))
	c.want(call("/none", "/new", 0))
	c.want(call("/d", "/d/e/f", 0))
	c.want(call("/d/e", "/d", 0))
	c.want(call("/a", "/d", 0))
	c.want(call("/d", "/a", 0))
	c.want(call("/a", "/new", unix.RENAME_EXCHANGE))
	c.want(call("/a", "/b", 64))
}
