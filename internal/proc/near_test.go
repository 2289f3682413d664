// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A single name is found as the general way finds it: the same object under
// the same path, or the same error.
func TestLookupNear(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := tree(t)
	removed := dir + "/removed"
	for _, d := range []string{removed, dir + "/c/x (deleted)"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/c/x (deleted)/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "b", "c", "rel", "file", "x (deleted)", "loop", "nowhere", "missing", ".", "..", "stat", "self", "exe"}
	found := 0
	for _, begin := range []string{"/", "/proc", "/proc/self", dir, dir + "/a", dir + "/c", dir + "/a/b", dir + "/c/x (deleted)", dir + "/a/b/file", removed} {
		fd, err := unix.Open(begin, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if begin == removed {
			if err := os.Remove(removed); err != nil {
				t.Fatal(err)
			}
		}
		if filepath.Clean(begin) != "/proc/self" && begin != dir+"/a/b/file" && begin != removed {
			t.Chdir(begin)
		}
		for _, from := range []int32{int32(fd), unix.AT_FDCWD} {
			for _, name := range names {
				for _, follow := range []bool{true, false} {
					var fast, slow Object
					err := l.Lookup(self, from, []byte(name), follow, &fast)
					want := l.walk(self, from, []byte(name), 0, follow, &slow)
					switch {
					case !errors.Is(err, want):
						t.Errorf("%s in %s, follow %v: error %v, want %v", name, begin, follow, err, want)
					case err != nil:
					case !bytes.Equal(fast.Path, slow.Path) || fast.ID() != slow.ID() || fast.Gone != slow.Gone || fast.Mount != slow.Mount:
						t.Errorf("%s in %s, follow %v: %s, want %s", name, begin, follow, fast.Path, slow.Path)
					default:
						found++
						if fd, err := fast.open(); err != nil || fd < 0 {
							t.Errorf("%s in %s, follow %v: cannot be opened: %v", name, begin, follow, err)
						}
					}
					fast.Close()
					slow.Close()
				}
			}
		}
		unix.Close(fd)
	}
	if found < 50 {
		t.Errorf("only %d were found", found)
	}
	for _, from := range []int32{-1, 1 << 20} {
		var o Object
		if err := l.Lookup(self, from, []byte("a"), true, &o); err == nil {
			t.Errorf("descriptor %d was found", from)
		}
		if err := l.Descriptor(self, from, &o); err != unix.EBADF {
			t.Errorf("descriptor %d: %v", from, err)
		}
	}
}

// An object that was described but not opened is not taken for another that
// has come in its place.
func TestOpenedLate(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := tree(t)
	t.Chdir(dir)
	var o Object
	for range 2 { // the first time its mount is looked at, for which it is opened
		if err := l.Lookup(self, unix.AT_FDCWD, []byte("a"), true, &o); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(dir+"/a", dir+"/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.open(); err != unix.ENOENT {
		t.Errorf("what is not there any more: %v", err)
	}
	if err := os.Rename(dir+"/c", dir+"/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.open(); err != unix.ESTALE {
		t.Errorf("another directory: %v", err)
	}
}

// What is told of a descriptor is what it stands for now, also where the file
// that tells it was opened before.
func TestFDInfo(t *testing.T) {
	l, self := lensOnSelf(t)
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	flags := func() (uint32, error) {
		info, err := l.FDInfo(self, int32(fd))
		return info.Flags &^ unix.O_LARGEFILE &^ 0o100000, err
	}
	for range 2 {
		if got, err := flags(); err != nil || got != unix.O_DIRECTORY {
			t.Errorf("%#o, %v", got, err)
		}
	}
	other, err := unix.Open(t.TempDir()+"/f", unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if got, err := flags(); err != nil || got != unix.O_WRONLY|unix.O_APPEND {
		t.Errorf("%#o, %v", got, err)
	}
	unix.Close(fd)
	if got, err := flags(); err == nil {
		t.Errorf("%#o of what is closed", got)
	}
	if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if got, err := flags(); err != nil || got != unix.O_WRONLY|unix.O_APPEND {
		t.Errorf("%#o, %v", got, err)
	}
}

// What may be read beyond doubt may be read.
func TestMayRead(t *testing.T) {
	l, self := lensOnSelf(t)
	dir := t.TempDir()
	sure := 0
	for mode := range os.FileMode(0o1000) {
		if mode&0o333 != 0 {
			continue
		}
		path := dir + "/f" + mode.String()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		for _, owner := range []int{os.Getuid(), 65534} {
			if os.Chown(path, owner, -1) != nil {
				continue // only root gives files away
			}
			var o Object
			if err := l.Lookup(self, unix.AT_FDCWD, []byte(path), true, &o); err != nil {
				t.Fatal(err)
			}
			if mayRead(&l.own, &o) {
				sure++
				if err := o.mayAccess(unix.R_OK); err != nil {
					t.Errorf("mode %v, owner %d: %v", mode, owner, err)
				}
			}
			o.Close()
		}
	}
	if sure == 0 {
		t.Skip("the file system of the temporary folder has rules of its own")
	}
}
