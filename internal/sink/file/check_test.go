// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	link := func(target, name string) {
		if err := os.Symlink(target, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, in("file"), "old\n")
	link("file", "to-file")
	link("new", "to-new")
	link("gone/new", "to-gone")
	link("to-itself", "to-itself")
	if err := unix.Mkfifo(in("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	if err := unix.Bind(socket, &unix.SockaddrUnix{Name: in("socket")}); err != nil {
		t.Fatal(err)
	}
	readable, err := os.Open(in("file"))
	if err != nil {
		t.Fatal(err)
	}
	defer readable.Close()
	before := listing(t, dir)

	for _, row := range []struct {
		name string
		path string
		want string // part of the message, "" when it can be written
	}{
		{"file", in("file"), ""},
		{"new file", in("new"), ""},
		{"link to a file", in("to-file"), ""},
		{"link to a new file", in("to-new"), ""},
		{"FIFO", in("fifo"), ""},
		{"device", "/dev/null", ""},
		{"folder", dir, "it is a folder"},
		{"new folder", dir + "/new/", "it names a folder"},
		{"folder is missing", in("gone/new"), "the folder " + in("gone") + " does not exist (create it first)"},
		{"folder of a link is missing", in("to-gone"), "the folder " + in("gone") + " does not exist"},
		{"link to itself", in("to-itself"), "too many levels of symbolic links"},
		{"below a file", in("file/new"), "not a directory"},
		{"socket", in("socket"), "it is a socket"},
		{"long name", in(strings.Repeat("x", 300)), "file name too long"},
		{"empty", "", "the name is empty"},
		{"no descriptor", "/dev/fd/999", "descriptor 999 is not open (open it in the shell: 999> FILE)"},
		{"descriptor for reading", fmt.Sprintf("/dev/fd/%d", readable.Fd()), "is open for reading only"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := Check(row.path)
			switch {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("got %v, want %s", err, row.want)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "cannot write ")) {
				t.Errorf("not one line that says what failed: %q", err)
			}
		})
	}
	if after := listing(t, dir); after != before {
		t.Errorf("Check left traces:\n%s\nbefore:\n%s", after, before)
	}
}

func TestCheckWithoutPermission(t *testing.T) {
	dir := t.TempDir()
	file := put(t, filepath.Join(dir, "file"), "")
	if err := os.Chmod(file, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o755) })
	asOrdinaryUser(t, func() {
		for path, want := range map[string]string{
			file:                      "it is not writable for this user",
			filepath.Join(dir, "new"): "the folder " + dir + " is not writable for this user",
		} {
			if err := Check(path); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", path, err, want)
			}
		}
	})
}

// asOrdinaryUser runs a function on a thread without capabilities, so that
// permissions bind root too.
func asOrdinaryUser(t *testing.T, call func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&head, &none[0])
		if err == nil {
			call()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("cannot drop capabilities: %v", err)
	}
}

func TestCheckReadOnlyFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if err := Check(filepath.Join(dir, "new")); err == nil || !strings.Contains(err.Error(), "mounted read-only") {
		t.Errorf("got %v", err)
	}
}

func TestIsStdout(t *testing.T) {
	for path, want := range map[string]bool{
		"-": true, "/dev/stdout": true, "/dev/fd/1": true, "/proc/self/fd/1": true,
		"": false, "./-": false, "/dev/fd/3": false, "/dev/stderr": false, "/dev/fd/-1": false,
	} {
		if got := IsStdout(path); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

// listing is what a folder holds, with sizes and times.
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, entry := range entries {
		st, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, st.Name(), st.Mode(), st.Size(), st.ModTime())
	}
	return b.String()
}

// FuzzCheck looks for names that crash, or that are told in more than one line.
func FuzzCheck(f *testing.F) {
	for _, name := range []string{"", "-", "/dev/fd/3", "/dev/fd/99999999999", "/proc/self/fd/-1", "a\nb", "gone/\xff", "/", "x\x00y", "/dev/stdout/"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		Reopens(name)
		IsStdout(name)
		if err := Check(name); err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("%q", err)
		}
	})
}
