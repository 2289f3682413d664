// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Under each restriction a path leads where the kernel says, or fails as it does.
func TestLookupWithin(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := tree(t)
	for link, target := range map[string]string{
		"a/up": "..", "a/over": "../c/file", "a/out": "../../" + filepath.Base(dir) + "/a", "a/top": "/", "a/b/in": "/b/file",
		"a/self": "/proc/self/cwd", "a/magic": "/proc/self/root", "a/mounts": "/proc/mounts",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/a/m", 0o755); err != nil {
		t.Fatal(err)
	}
	paths := []string{
		".", "..", "b", "b/file", "b/", "b/file/", "b/../b/file", "../a/b/file", "b/../..", "b/../../a", "up", "up/a/b/file", "over", "out/b/file",
		"top", "top/", "top/tmp", "b/in", "none", "none/x", "b/none", "self", "magic", "magic/", "magic/proc", "mounts", "./././b/./file",
		"../c/rel/file", "../c/abs/b/file", "../c/loop", "/b/file", "/../b/file", "/", "//b", "/proc", "/proc/self/cwd", "/proc/self/root/proc",
		"/proc/self/exe", "/proc/version", "../../../../../../../../../proc/version", "m", "m/..", "m/../b/file", "m/x", dir + "/a/b/file", dir + "/c/abs",
	}
	if unix.Mount("tmpfs", dir+"/a/m", "tmpfs", 0, "") == nil {
		t.Cleanup(func() { unix.Unmount(dir+"/a/m", unix.MNT_DETACH) })
		if err := os.WriteFile(dir+"/a/m/x", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin, err := unix.Open(dir+"/a", unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(begin)
	found, cached, refused := 0, 0, make(map[error]int)
	for resolve := uint64(1); resolve < 2*ResolveCached; resolve++ {
		if resolve&scoped == scoped {
			continue
		}
		for _, path := range paths {
			for _, follow := range []bool{true, false} {
				flags := unix.O_PATH
				if !follow {
					flags |= unix.O_NOFOLLOW
				}
				var o Object
				got := l.LookupWithin(self, int32(begin), []byte(path), resolve, follow, &o)
				fd, want := unix.Openat2(begin, path, &unix.OpenHow{Flags: uint64(flags), Resolve: resolve})
				what := fmt.Sprintf("%s, restrictions %#x, follow %v", path, resolve, follow)
				switch {
				case want == unix.EAGAIN:
					refused[want]++ // it is not in memory, or was not when it was asked for
				case got == unix.EAGAIN:
				case !errors.Is(got, want):
					t.Errorf("%s: %v, the kernel says %v", what, got, want)
				case want == nil:
					found++
					if resolve&ResolveCached != 0 {
						cached++
					}
					var st unix.Stat_t
					if err := unix.Fstat(fd, &st); err != nil {
						t.Fatal(err)
					}
					if st.Ino != o.Stat.Ino || st.Dev != unix.Mkdev(o.Stat.Dev_major, o.Stat.Dev_minor) {
						t.Errorf("%s: led to %s", what, o.Path)
					}
				default:
					refused[want]++
				}
				if want == nil {
					unix.Close(fd)
				}
				o.Close()
			}
		}
	}
	if found == 0 || cached == 0 || refused[unix.EXDEV] == 0 || refused[unix.ELOOP] == 0 || refused[unix.ENOENT] == 0 {
		t.Errorf("%d found, %d in memory; errors %v", found, cached, refused)
	}
}
