// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// heard is a sink whose lines for the user are kept.
func heard(t *testing.T, path string) (s *Sink, lines *[]string) {
	t.Helper()
	lines = new([]string)
	s, err := New(path, os.Stdout, Options{Notice: func(line string) { *lines = append(*lines, line) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, lines
}

// says checks that the user was told one line with that text, or nothing.
func says(t *testing.T, lines *[]string, want string) {
	t.Helper()
	if want == "" && len(*lines) == 0 || want != "" && len(*lines) == 1 && strings.Contains((*lines)[0], want) {
		return
	}
	t.Errorf("the user was told %q, want %q", *lines, want)
}

func TestReopen(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(path, old string) error // between the records
		fresh  bool
		told   string
		want   string // what the path leads to afterwards, before the new record
	}{
		{"renamed", os.Rename, true, "", ""},
		{"renamed, and a new one made", func(path, old string) error {
			return errors.Join(os.Rename(path, old), os.WriteFile(path, []byte("there\n"), 0o644))
		}, true, "", "there\n"},
		{"renamed, and a torn one made", func(path, old string) error {
			return errors.Join(os.Rename(path, old), os.WriteFile(path, []byte("the"), 0o644))
		}, true, "", "the\n"},
		{"the same file", func(path, old string) error { return os.Link(path, old) }, false, "", string(lines(1, 2).Buf)},
		{"a FIFO without a reader", func(path, old string) error {
			return errors.Join(os.Rename(path, old), unix.Mkfifo(path, 0o600))
		}, false, "cannot open", "-"},
		{"a device", func(path, old string) error {
			return errors.Join(os.Rename(path, old), os.Symlink("/dev/null", path))
		}, false, "no regular file any more", "-"},
		{"no folder", func(path, old string) error {
			return errors.Join(os.Rename(path, old), os.Remove(filepath.Dir(path)))
		}, false, "cannot open", "-"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path, old := filepath.Join(dir, "d", "a.exp"), filepath.Join(dir, "old")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			s, told := heard(t, path)
			write(t, s, lines(1, 1))
			if err := row.change(path, old); err != nil {
				t.Fatal(err)
			}
			finished := false
			leave := s.Reopen(func() { finished = true; write(t, s, lines(2, 2)) })
			fresh := leave != nil
			if fresh != row.fresh || finished != fresh {
				t.Fatalf("fresh %v, finished %v", fresh, finished)
			}
			says(t, told, row.told)
			if !fresh {
				write(t, s, lines(2, 2))
			} else if err := leave(); err != nil {
				t.Error(err)
			}
			if got := content(t, old); got != string(lines(1, 2).Buf) {
				t.Errorf("the old file holds %q", got)
			}
			if !fresh && row.want == "-" {
				return
			}
			write(t, s, lines(3, 3))
			if got := content(t, path); got != row.want+string(lines(3, 3).Buf) {
				t.Errorf("the new file holds %q", got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A sync between the renaming and the signal, and that of the last records, are
// no two of a file that nobody asks to leave.
func TestReopenIsNoNews(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	s, told := heard(t, path)
	write(t, s, lines(1, 1))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	leave := s.Reopen(func() {
		s.Last()
		write(t, s, lines(2, 2))
		if err := s.Flush(); err != nil {
			t.Error(err)
		}
	})
	if leave == nil {
		t.Fatal("there is no new file")
	}
	if err := leave(); err != nil {
		t.Error(err)
	}
	says(t, told, "")
}

func TestReopenBeforeTheFirstRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	s, _ := heard(t, path)
	if s.Reopen(func() { t.Error("there is nothing to finish") }) != nil {
		t.Error("there is a new file")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a file")
	}
}

func TestWhatReopens(t *testing.T) {
	dir := t.TempDir()
	file := put(t, filepath.Join(dir, "file"), "")
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		file: true, filepath.Join(dir, "new"): true, fifo: false, "/dev/null": false, "-": false, "/dev/fd/3": false, "": false,
	} {
		if Reopens(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
}

func TestAFileThatIsRenamedUnderUs(t *testing.T) {
	dir := t.TempDir()
	path, moved := filepath.Join(dir, "a.exp"), filepath.Join(dir, "moved")
	s, told := heard(t, path)
	step := func(n int, want string) {
		t.Helper()
		write(t, s, lines(n, n))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		says(t, told, want)
	}
	step(1, "")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	step(2, "") // who renames may be about to send a signal
	step(3, "renamed or deleted")
	step(4, "renamed or deleted")
	s.Last()
	step(5, "renamed or deleted")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	says(t, told, "renamed or deleted")
	if got := content(t, moved); got != string(lines(1, 5).Buf) {
		t.Errorf("it holds %q", got)
	}
}

func TestAFileThatIsRenamedLate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.exp")
	s, told := heard(t, path)
	write(t, s, lines(1, 1))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	says(t, told, "has been renamed")
}

func TestADeletedFileComesBack(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "a.exp"), "")
	s, told := heard(t, path)
	write(t, s, lines(1, 50_000))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, s, lines(50_001, 60_000))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	says(t, told, "there again")
	if got := content(t, path); got != string(lines(1, 60_000).Buf) {
		t.Errorf("it holds %d bytes", len(got))
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o644 {
		t.Errorf("mode %v (%v), want 0644 as before", st.Mode(), err)
	}
}

func TestADeletedFileWhosePlaceIsTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	s, told := heard(t, path)
	write(t, s, lines(1, 3))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	put(t, path, "another\n")
	err := s.Close()
	var gone *record.WriteError
	if !errors.As(err, &gone) || gone.Cause != record.CauseOutputDeleted || !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	says(t, told, "")
	if got := content(t, path); got != "another\n" {
		t.Errorf("the other file holds %q", got)
	}
}
