// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

const lineLen = 21

// lines makes a batch of events first to last, each a line of lineLen bytes.
func lines(first, last int) *record.Batch {
	b := &record.Batch{}
	for n := first; n <= last; n++ {
		b.Append(1, fmt.Appendf(nil, `{"number": "%06d"}`, n))
	}
	return b
}

func open(t *testing.T, path string, append bool) *Sink {
	t.Helper()
	s, err := New(path, os.Stdout, Options{Append: append})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(t *testing.T, s *Sink, b *record.Batch) {
	t.Helper()
	if err := s.Write(b); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// refused checks an error of Write.
func refused(t *testing.T, err error, errno error, taken int, cause record.Cause) {
	t.Helper()
	var we *record.WriteError
	if !errors.As(err, &we) {
		t.Fatalf("got %v, want a *record.WriteError", err)
	}
	if !errors.Is(err, errno) || we.Taken != taken || we.Cause != cause {
		t.Errorf("got %d taken, %v: %v\nwant %d taken, %v: %v", we.Taken, we.Cause, err, taken, cause, errno)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
}

func TestANewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	s := open(t, path, false)
	write(t, s, &record.Batch{})
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file before the first record (%v)", err)
	}
	want := ""
	for n := range 3 {
		write(t, s, lines(n, n))
		want += string(lines(n, n).Buf)
		if got := content(t, path); got != want {
			t.Errorf("after record %d without Flush: %q, want %q", n, got, want)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", st.Mode(), err)
	}
	if err := errors.Join(s.Flush(), s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestAnExistingFile(t *testing.T) {
	for _, row := range []struct {
		name   string
		text   string
		append bool
		want   string
	}{
		{"is emptied", "old\n", false, ""},
		{"is kept with append", "old\n", true, "old\n"},
		{"is kept with append, empty", "", true, ""},
		{"with append and a torn last line", "old\n{\"nu", true, "old\n{\"nu\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := put(t, filepath.Join(t.TempDir(), "a.exp"), row.text)
			s := open(t, path, row.append)
			if got := content(t, path); got != row.text {
				t.Errorf("before the first record: %q", got)
			}
			write(t, s, lines(1, 1))
			write(t, s, lines(2, 2))
			if got, want := content(t, path), row.want+string(lines(1, 2).Buf); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if st, err := os.Stat(path); err != nil || st.Mode() != 0o644 {
				t.Errorf("mode %v (%v), want 0644 as before", st.Mode(), err)
			}
		})
	}
}

func TestCloseWithoutRecordsTouchesNothing(t *testing.T) {
	path := put(t, filepath.Join(t.TempDir(), "a.exp"), "old\n")
	s := open(t, path, false)
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Error(err)
	}
	if got := content(t, path); got != "old\n" {
		t.Errorf("the file holds %q", got)
	}
}

func TestLinksAreFollowed(t *testing.T) {
	for _, exists := range []bool{true, false} {
		t.Run(fmt.Sprintf("target exists %v", exists), func(t *testing.T) {
			dir := t.TempDir()
			target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
			if exists {
				put(t, target, "old\n")
			}
			if err := os.Symlink("target", link); err != nil {
				t.Fatal(err)
			}
			write(t, open(t, link, false), lines(1, 1))
			if got := content(t, target); got != string(lines(1, 1).Buf) {
				t.Errorf("the target holds %q", got)
			}
			if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
				t.Errorf("the link is no link any more (%v)", err)
			}
		})
	}
}

func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		r, err := os.Open(path)
		if err != nil {
			got <- err.Error()
			return
		}
		in := bufio.NewReader(r)
		for range 2 { // a reader sees each record at once
			line, _ := in.ReadString('\n')
			got <- line
		}
		r.Close()
		close(got)
	}()
	s := open(t, path, false)
	for n := range 2 {
		write(t, s, lines(n, n))
		if line := <-got; line != string(lines(n, n).Buf) {
			t.Errorf("the reader got %q", line)
		}
	}
	<-got
	refused(t, s.Write(lines(3, 4)), unix.EPIPE, 0, record.CauseOutputClosed)
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestFullDevice(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	s := open(t, "/dev/full", false)
	err := s.Write(lines(1, 2))
	refused(t, err, unix.ENOSPC, 0, record.CauseOutputFull)
	if !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("the message does not name the output: %v", err)
	}
}

// A file system of 64 KiB that fills up, and the room for the last records.
func TestFullFileSystem(t *testing.T) {
	dir := smallFileSystem(t)
	path := filepath.Join(dir, "a.exp")
	s := open(t, path, false)
	write(t, s, lines(1, 2900))
	const room = (65536 - reserve) / lineLen
	refused(t, s.Write(lines(2901, 4000)), unix.ENOSPC, room-2900, record.CauseOutputFull)
	refused(t, s.Write(lines(4001, 4001)), unix.ENOSPC, 0, record.CauseOutputFull)
	if got := content(t, path); got != string(lines(1, room).Buf) {
		t.Errorf("the file holds %d bytes, ending in %.40q", len(got), got[max(0, len(got)-40):])
	}
	s.Last()
	write(t, s, lines(5001, 5100))
	if got := content(t, path); got != string(lines(1, room).Buf)+string(lines(5001, 5100).Buf) {
		t.Errorf("with the last records it holds %d bytes, ending in %.40q", len(got), got[len(got)-40:])
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A full file system takes records again when there is a good deal of room,
// not for every block that somebody gives back.
func TestRoomThatComesBack(t *testing.T) {
	dir := smallFileSystem(t)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	ballast := put(t, filepath.Join(dir, "ballast"), strings.Repeat("x", 900<<10))
	path := filepath.Join(dir, "a.exp")
	s := open(t, path, false)
	n := 1
	for ; s.Write(lines(n, n+99)) == nil; n += 100 {
	}
	refused(t, s.Write(lines(n, n)), unix.ENOSPC, 0, record.CauseOutputFull)
	if err := os.Truncate(ballast, 896<<10); err != nil {
		t.Fatal(err)
	}
	refused(t, s.Write(lines(n, n)), unix.ENOSPC, 0, record.CauseOutputFull)
	if err := os.Truncate(ballast, 800<<10); err != nil {
		t.Fatal(err)
	}
	write(t, s, lines(n, n+99))
	write(t, s, lines(n+100, n+199))
}

// What was kept for later is given back at the end.
func TestUnusedRoomIsGivenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	s := open(t, path, false)
	write(t, s, lines(1, 1))
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Size != lineLen {
			t.Fatalf("%d bytes, %v", st.Size, err)
		}
		return st.Blocks * 512
	}
	if s.room.blind {
		t.Skip("needs a file system that keeps room for files (fallocate)")
	}
	if n := blocks(); n < reserve {
		t.Errorf("%d bytes are kept while it is open", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := blocks(); n >= step {
		t.Errorf("%d bytes are kept afterwards", n)
	}
}

func smallFileSystem(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// The same by the file size limit, which needs no privilege. A limit that is
// there from the beginning leaves room for the last records; one that comes
// later tears a line.
func TestFileSizeLimit(t *testing.T) {
	const limit = 50*lineLen + 10
	for _, row := range []struct {
		name   string
		stdout bool // a descriptor opened without O_APPEND
		later  bool
	}{{"file", false, false}, {"file, later", false, true}, {"standard output", true, false}, {"standard output, later", true, true}} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.exp")
			s := open(t, path, false)
			if row.stdout {
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if s, err = New(Stdout, f, Options{}); err != nil {
					t.Fatal(err)
				}
				defer s.Close()
			}
			first, room := 1, uint64(reserve)
			if row.later {
				write(t, s, lines(1, 10))
				first, room = 11, 0
			}
			withFileLimit(t, limit+room, func() {
				refused(t, s.Write(lines(first, 60)), unix.EFBIG, 51-first, record.CauseOutputFull)
			})
			if got := content(t, path); got != string(lines(1, 50).Buf) {
				t.Errorf("the file holds %d bytes, ending in %.40q", len(got), got[max(0, len(got)-40):])
			}
			if row.later {
				write(t, s, lines(51, 52))
			} else {
				withFileLimit(t, limit+room, func() {
					s.Last()
					write(t, s, lines(51, 52))
				})
			}
			if got := content(t, path); got != string(lines(1, 52).Buf) {
				t.Errorf("afterwards it holds %d bytes, ending in %.40q", len(got), got[max(0, len(got)-40):])
			}
		})
	}
}

// withFileLimit lowers the file size limit of this process for one call.
func withFileLimit(t *testing.T, limit uint64, call func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGXFSZ)
	defer signal.Stop(caught)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &before)
	call()
}

// Where the tail cannot be cut off, because somebody else wrote behind it,
// the next record begins on a line of its own.
func TestATornLineThatMustStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	s := open(t, path, false)
	write(t, s, lines(1, 1))
	if _, err := s.writeAll([]byte(`{"numb`)); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.WriteString("another writer"); err != nil {
		t.Fatal(err)
	}
	if s.cut(6) {
		t.Error("the other writer's text was cut")
	}
	s.torn = true
	write(t, s, lines(2, 2))
	want := string(lines(1, 1).Buf) + "{\"numbanother writer\n" + string(lines(2, 2).Buf)
	if got := content(t, path); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestANonBlockingPipeIsWaitedFor(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	defer r.Close()
	s, err := New(Stdout, w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	got := make(chan string)
	go func() {
		time.Sleep(20 * time.Millisecond) // let the pipe, 64 KiB, fill up
		text, _ := io.ReadAll(r)
		got <- string(text)
	}()
	write(t, s, lines(1, 10_000))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if text := <-got; text != string(lines(1, 10_000).Buf) {
		t.Errorf("the reader got %d bytes", len(text))
	}
}

func TestADescriptorIsUsedAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.exp")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("head\n")
	fd := int(f.Fd())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	s := open(t, fmt.Sprintf("/dev/fd/%d", fd), false)
	write(t, s, lines(1, 1))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.WriteString("tail\n"); err != nil {
		t.Errorf("the descriptor itself was closed: %v", err)
	}
	if got, want := content(t, path), "head\n"+string(lines(1, 1).Buf)+"tail\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("a workload would inherit the descriptor")
	}
}

func TestAFileThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gone", "a.exp")
	s := open(t, path, false)
	refused(t, s.Write(lines(1, 2)), unix.ENOENT, 0, record.CauseOutputError)
	// It is tried again with the next batch.
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, s, lines(3, 3))
	if got := content(t, path); got != string(lines(3, 3).Buf) {
		t.Errorf("the file holds %q", got)
	}
}

func BenchmarkWrite(b *testing.B) {
	s, err := New(filepath.Join(b.TempDir(), "a.exp"), os.Stdout, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	batch := &record.Batch{}
	for range 100 {
		batch.Append(1, make([]byte, 800))
	}
	b.SetBytes(int64(len(batch.Buf)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(batch); err != nil {
			b.Fatal(err)
		}
		// Keep the disk empty: this is about the cost of a write.
		if err := unix.Ftruncate(s.fd, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// The beginning of a record that comes again is cut off, any other is left and
// ended.
func TestAgain(t *testing.T) {
	for _, row := range []struct{ there, want string }{
		{"old\nagai", "old\nagain\n"},
		{"agai", "again\n"},
		{"old\nelse", "old\nelse\nagain\n"},
		{"old\n", "old\nagain\n"},
	} {
		path := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(path, []byte(row.there), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := New(path, nil, Options{Append: true, Again: func(b []byte) bool { return strings.HasPrefix("again\n", string(b)) }})
		if err != nil {
			t.Fatal(err)
		}
		var b record.Batch
		b.Append(0, []byte("again"))
		if err := s.Write(&b); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got, _ := os.ReadFile(path); string(got) != row.want {
			t.Errorf("%q became %q, want %q", row.there, got, row.want)
		}
	}
}
