// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

const nobody = 65534

// copyOf copies a program into dir.
func copyOf(t *testing.T, dir, program string, mode os.FileMode) string {
	t.Helper()
	need(t, program)
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, filepath.Base(program)))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Chmod(mode); err != nil {
		t.Fatal(err)
	}
	return out.Name()
}

// Without root a set-user-id program gets nothing from it.
func TestSetuidProgramWithoutRoot(t *testing.T) {
	needRoot(t)
	t.Parallel()
	id := copyOf(t, openDir(t), "/usr/bin/id", 0o755|os.ModeSetuid)
	s := run(t, options{uid: nobody}, id, "-u")
	if s.stdout != "65534\n" {
		t.Errorf("it says %q", s.stdout)
	}
	for _, e := range s.events {
		if e.COE.EUID != nobody || e.COE.CapEff != 0 {
			t.Fatalf("event %d: %+v", e.Number, e.COE)
		}
	}
}

// With root it does, and its records say so from the first mapping.
func TestSetuidProgram(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "setpriv")
	dir := openDir(t)
	id := copyOf(t, dir, "/usr/bin/id", 0o755|os.ModeSetuid)
	s := run(t, options{}, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", id, "-u")
	if s.stdout != "0\n" {
		t.Skipf("needs a folder for temporary files in which set-user-id counts: %q", s.stdout)
	}
	seen := false
	for _, e := range s.events {
		if string(e.Process) != "id" {
			continue
		}
		seen = true
		if e.COE.UID != nobody || e.COE.EUID != 0 || e.COE.FSUID != 0 || e.COE.CapEff == 0 {
			t.Fatalf("event %d, a %s: %+v", e.Number, e.Type, e.COE)
		}
	}
	if !seen {
		t.Error("there is nothing of id")
	}
}

// A program that may be executed but not read has no digest.
func TestUnreadableProgram(t *testing.T) {
	needRoot(t)
	t.Parallel()
	program := copyOf(t, openDir(t), "/bin/true", 0o711)
	s := run(t, options{uid: nobody, stderr: "digests that could not be had: 1 (unreadable)"}, program)
	opens := s.opens(program)
	if len(opens) != 1 {
		t.Fatalf("it is opened %d times", len(opens))
	}
	f := opens[0].Cell.(*tsem.FileCell).File
	if len(f.Digest) != 0 || f.DigestMissing != "unreadable" || f.Inode.Mode != unix.S_IFREG|0o711 {
		t.Errorf("it is opened as %+v", f)
	}
}

// What the arguments of a call say cannot be known where memory is closed.
func TestUnreadableMemory(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, uid := range []int{0, nobody} {
		dir := openDir(t)
		for _, name := range []string{"f", "g"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		s := run(t, options{dir: dir, uid: uid}, life(t, "undumpable", "f", "g")...)
		open := s.of(tsem.FileOpen)
		f := open[len(open)-1].Cell.(*tsem.FileCell).File
		unlinks := s.of(tsem.InodeUnlink)
		if len(unlinks) != 1 {
			t.Fatalf("%d unlinks", len(unlinks))
		}
		g := unlinks[0].Cell.(*tsem.RemoveCell).Dentry.Path
		if uid == 0 {
			if string(f.Path.Pathname) != filepath.Join(dir, "f") || filepath.Base(string(g.Pathname)) != "g" {
				t.Errorf("opened %+v, unlinked %+v", f, g)
			}
			continue
		}
		if f.Path.Missing != "unreadable" || f.DigestMissing != "unreadable" || g.Missing != "unreadable" || len(f.Path.Pathname)+len(g.Pathname) > 0 {
			t.Errorf("opened %+v, unlinked %+v", f, g)
		}
	}
}
