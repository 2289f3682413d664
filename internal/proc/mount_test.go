// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRelative(t *testing.T) {
	for _, test := range []struct{ root, point, path, want string }{
		{"/", "/", "/etc/hostname", "/etc/hostname"},
		{"/", "/", "/", "/"},
		{"/", "/mnt", "/mnt", "/"},
		{"/", "/mnt", "/mnt/a", "/a"},
		{"/sub", "/mnt", "/mnt", "/sub"},
		{"/sub", "/mnt", "/mnt/a", "/sub/a"},
		{"/sub", "/", "/a", "/sub/a"},
		{"/", "/mnt", "/mntx/a", "/mntx/a"},
	} {
		m := &Mount{root: test.root, point: test.point, listed: true}
		if got := string(m.relative([]byte(test.path))); got != test.want {
			t.Errorf("%s on %s at %s: got %s, want %s", test.path, test.root, test.point, got, test.want)
		}
	}
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{
		`/a`: "/a", `/a\040b`: "/a b", `\134`: `\`, `/a\012`: "/a\n", `\9`: `\9`, `\`: `\`, `\04`: `\04`,
	} {
		if got := unquote(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// The root file system and procfs are described as the kernel describes them.
func TestMounts(t *testing.T) {
	l, self := lensOnSelf(t)
	for _, path := range []string{"/", "/proc/version", "/dev/null", "/sys"} {
		var o Object
		if err := l.Lookup(self, unix.AT_FDCWD, []byte(path), true, &o); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(path, &fs); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		m := o.Mount
		if m.Magic != uint32(fs.Type) || len(m.SID) == 0 {
			t.Errorf("%s: magic %x, want %x; s_id %q", path, m.Magic, fs.Type, m.SID)
		}
		if m.Dev.Major != unix.Major(st.Dev) || m.Dev.Minor != unix.Minor(st.Dev) {
			t.Errorf("%s: device %v", path, m.Dev)
		}
		if want := fs.Type != unix.PROC_SUPER_MAGIC; m.HasDev != want {
			t.Errorf("%s: has a device: %v", path, m.HasDev)
		}
		o.Close()
	}
}

func TestNamesWithoutDevice(t *testing.T) {
	l, self := lensOnSelf(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var o Object
	if err := l.Descriptor(self, int32(r.Fd()), &o); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if p := o.AbsolutePath("root"); string(p.Pathname) != "pipe:/" || p.HasDev {
		t.Errorf("a pipe is %q", p.Pathname)
	}
	if string(o.Mount.SID) != "pipefs" {
		t.Errorf("the pipe's s_id is %q", o.Mount.SID)
	}
}
