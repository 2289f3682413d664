// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// The flags that a kernel has recorded for file systems of these types.
func TestSuperblockFlags(t *testing.T) {
	for _, test := range []struct {
		sb   Superblock
		want uint64
	}{
		{Superblock{FSType: "tmpfs", Options: []string{"rw", "size=1m"}}, 1887502336},
		{Superblock{FSType: "ext4", Options: []string{"rw", "relatime"}}, 1887502336},
		{Superblock{FSType: "ext4", Options: []string{"ro", "sync"}}, 1887502336 | 1 | 16},
		{Superblock{FSType: "something", Options: []string{"rw", "lazytime"}}, 1<<30 | 1<<29 | 1<<25},
	} {
		if got := test.sb.Flags(); got != test.want {
			t.Errorf("%+v: got %#x, want %#x", test.sb, got, test.want)
		}
	}
}

// The file system of the root directory is found, with its root.
func TestSuperblock(t *testing.T) {
	l, self := lensOnSelf(t)
	var o, root Object
	if err := l.Lookup(self, unix.AT_FDCWD, []byte("/proc/version"), true, &o); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	sb, ok := l.Superblock(self, o.Mount.Dev)
	if !ok || sb.FSType != "proc" {
		t.Fatalf("got %+v, %v", sb, ok)
	}
	if err := l.Root(self, &sb, &root); err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if !root.IsSuperRoot() || root.Stat.Ino != procRootIno || o.IsMountRoot() {
		t.Errorf("the root is %s, inode %d", root.Path, root.Stat.Ino)
	}
	if _, ok := l.Superblock(self, tsem.Dev{Major: 4000, Minor: 1}); ok {
		t.Error("a device that does not exist has a file system")
	}
}

// A task of our own namespaces has the capabilities that it has.
func TestCapableOver(t *testing.T) {
	l, self := lensOnSelf(t)
	for _, caps := range []uint64{0, 1 << unix.CAP_SYS_ADMIN} {
		self.Status.COE.CapEff = caps
		want := caps != 0 && l.World.userns == initialUserNS
		for _, kind := range []string{"mnt", "ipc", "net"} {
			if got := l.CapableOver(self, kind, unix.CAP_SYS_ADMIN); got != want {
				t.Errorf("%x over %s: %v", caps, kind, got)
			}
		}
		if got := l.Capable(self, unix.CAP_SYS_ADMIN); got != want {
			t.Errorf("%x: %v", caps, got)
		}
	}
}
