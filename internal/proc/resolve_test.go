// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// lensOnSelf is a lens that looks at this process, on a thread of its own.
func lensOnSelf(t testing.TB) (*Lens, *task.Task) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWorld(alg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.NewLens()
	if err != nil {
		t.Fatal(err)
	}
	self := &task.Task{TID: unix.Gettid(), TGID: os.Getpid()}
	if err := self.Status.ReadStatus(self.TID, make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	return l, self
}

// tree makes files and links, and returns their folder without links in it.
func tree(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"c/rel": "../a/b", "c/abs": dir + "/a", "c/file": "rel/file", "c/nowhere": "missing",
		"c/loop": "loop", "c/dots": "../c/../a/./b//file",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLookup(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := tree(t)
	for _, test := range []struct {
		path   string
		follow bool
		want   string // "" for an error
		err    error
	}{
		{"a/b/file", true, "a/b/file", nil},
		{"a//b/./file", true, "a/b/file", nil},
		{"c/../a/b/file", true, "a/b/file", nil},
		{"c/rel/file", true, "a/b/file", nil},
		{"c/abs/b/file", true, "a/b/file", nil},
		{"c/file", true, "a/b/file", nil},
		{"c/file", false, "c/file", nil},
		{"c/dots", true, "a/b/file", nil},
		{"a/b/", true, "a/b", nil},
		{"a/b/file/", true, "", unix.ENOTDIR},
		{"a/b/file/x", true, "", unix.ENOTDIR},
		{"a/none", true, "", unix.ENOENT},
		{"none/x", true, "", unix.ENOENT},
		{"c/nowhere", true, "", unix.ENOENT},
		{"c/nowhere", false, "c/nowhere", nil},
		{"c/loop", true, "", unix.ELOOP},
		{strings.Repeat("n", 256), true, "", unix.ENAMETOOLONG},
	} {
		for _, way := range []string{"fast", "walk"} {
			var o Object
			path := []byte(filepath.Join(dir, "/") + "/" + test.path)
			var err error
			if way == "fast" {
				err = l.Lookup(self, unix.AT_FDCWD, path, test.follow, &o)
			} else {
				err = l.walk(self, unix.AT_FDCWD, path, 0, test.follow, &o)
			}
			if !errors.Is(err, test.err) {
				t.Errorf("%s %s: error %v, want %v", way, test.path, err, test.err)
			}
			if err == nil {
				if got, want := string(o.Path), filepath.Join(dir, test.want); got != want {
					t.Errorf("%s %s: got %s, want %s", way, test.path, got, want)
				}
				o.Close()
			}
		}
	}
}

// Links of procfs that mean the caller lead to the task, not to the lens.
func TestLookupOfSelf(t *testing.T) {
	l, self := lensOnSelf(t)
	file, err := os.Open(tree(t) + "/a/b/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := strconv.Itoa(int(file.Fd()))
	pid := strconv.Itoa(os.Getpid())
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/proc/self/status":                   "/proc/" + pid + "/status",
		"/proc/thread-self/comm":              "/proc/" + pid + "/task/" + strconv.Itoa(self.TID) + "/comm",
		"/proc/self/fd/" + fd:                 file.Name(),
		"/dev/fd/" + fd:                       file.Name(),
		"/proc/self/cwd":                      cwd,
		"/proc/self/cwd/resolve.go":           cwd + "/resolve.go",
		"/proc/self/root/proc/self/cmdline":   "/proc/" + pid + "/cmdline",
		"/proc/mounts":                        "/proc/" + pid + "/mounts",
		"/proc/self/../" + pid + "/../uptime": "/proc/uptime",
	} {
		var o Object
		if err := l.Lookup(self, unix.AT_FDCWD, []byte(path), true, &o); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if string(o.Path) != want {
			t.Errorf("%s: got %s, want %s", path, o.Path, want)
		}
		o.Close()
	}
}

func TestParent(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := tree(t)
	for _, test := range []struct{ path, parent, name string }{
		{dir + "/a/new", dir + "/a", "new"},
		{dir + "/a/new/", dir + "/a", "new"},
		{dir + "/c/rel/new", dir + "/a/b", "new"},
		{dir + "/a/..", dir + "/a", ".."},
		{"/new", "/", "new"},
		{"//new", "/", "new"},
		{"/", "/", ""},
		{"//", "/", ""},
	} {
		var o Object
		last, err := l.Parent(self, unix.AT_FDCWD, []byte(test.path), &o)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		if string(o.Path) != test.parent || string(last.Name) != test.name {
			t.Errorf("%s: got %s and %s, want %s and %s", test.path, o.Path, last.Name, test.parent, test.name)
		}
		if want := strings.HasSuffix(test.path, "/") && test.name != ""; last.Slash != want && test.name != "" {
			t.Errorf("%s: slash %v", test.path, last.Slash)
		}
		o.Close()
	}
}

// A file whose name ends like the kernel's remark about removed files is not
// taken for one, and a removed file loses the remark.
func TestRemovedNames(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := tree(t)
	for _, remove := range []bool{false, true} {
		name := dir + "/x (deleted)"
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if remove {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		var o Object
		if err := l.Descriptor(self, int32(f.Fd()), &o); err != nil {
			t.Fatal(err)
		}
		if string(o.Path) != name || o.Gone != remove {
			t.Errorf("removed %v: got %q, gone %v", remove, o.Path, o.Gone)
		}
		o.Close()
		f.Close()
	}
}

func TestClean(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/a": true, "/a/b": true, "/.a/..b": true,
		"a": false, "//": false, "/a/": false, "/a//b": false, "/./a": false, "/a/..": false, "/a/.": false,
	} {
		if got := clean([]byte(path)); got != want {
			t.Errorf("%q: got %v", path, got)
		}
	}
}

// addressOf is where b begins: what a system call would be given.
func addressOf(b []byte) uint64 { return uint64(reflect.ValueOf(&b[0]).Pointer()) }

// What the lens reads of memory is what is there.
func TestStrings(t *testing.T) {
	l, self := lensOnSelf(t)
	page := unix.Getpagesize()
	m, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	if err := unix.Mprotect(m[2*page:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at, n int
		err   error
	}{
		{0, 0, nil}, {0, 10, nil}, {page - 5, 5, nil}, {page - 5, 300, nil},
		{2*page - 11, 10, nil}, {2*page - 10, 10, unix.EFAULT}, {2 * page, 0, unix.EFAULT},
		{0, PathMax - 1, nil}, {0, PathMax, unix.ENAMETOOLONG},
	} {
		for i := range m[:2*page] {
			m[i] = 'x'
		}
		if test.at+test.n < 2*page {
			m[test.at+test.n] = 0
		}
		got, err := l.String(self, nil, addressOf(m)+uint64(test.at), PathMax)
		if !errors.Is(err, test.err) {
			t.Errorf("%d+%d: error %v, want %v", test.at, test.n, err, test.err)
		}
		if err == nil && !bytes.Equal(got, bytes.Repeat([]byte("x"), test.n)) {
			t.Errorf("%d+%d: got %d bytes", test.at, test.n, len(got))
		}
	}
}
