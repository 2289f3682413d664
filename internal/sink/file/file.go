// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package file writes records to a file, FIFO, device or open descriptor.
//
// What it promises:
//   - Every batch is written at once, so a record is in the kernel's hands,
//     and visible to a reader, when Write returns. Nothing is held back in
//     this process: it can die without losing what it took.
//   - A regular file holds whole lines only. What a failed write left of a
//     line is cut off again; where that is impossible (a pipe, a file that
//     somebody else appended to) the next record begins on a line of its own.
//   - Flush returns when a regular file is on its disk. Write never waits for
//     the disk; how often Flush is called bounds what a power failure costs.
//   - The file is opened, and without Append emptied, by the first Write. One
//     that is made gets mode 0600, an existing one keeps its own. Links are
//     followed; opening a FIFO waits for a reader, as in the shell.
//   - Writing to a pipe without a reader is an error, as long as the program
//     has a handler for SIGPIPE (Go's own is enough).
package file

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// Stdout is the path that stands for standard output.
const Stdout = "-"

// A Sink is one output. It must not be used by two goroutines at a time.
type Sink struct {
	path    string
	append  bool
	fd      int  // -1 before the first record
	regular bool // can be cut and synced
	torn    bool // the last line has no end, and could not be cut off
	dirty   bool // something was written since the last sync
}

// New prepares an output and touches no file. path may be Stdout, which means
// the given file, or name a descriptor (/dev/fd/3): that is duplicated here
// and marked close-on-exec, so that a workload started later does not hold it
// open. With append, an existing file is kept.
func New(path string, stdout *os.File, append bool) (*Sink, error) {
	s := &Sink{path: path, append: append, fd: -1}
	if n, ok := descriptor(path); ok {
		if err := checkDescriptor(n); err != nil {
			return nil, s.fail(err)
		}
		unix.CloseOnExec(n)
		return s, s.duplicate(n)
	}
	if path != Stdout {
		return s, nil
	}
	conn, err := stdout.SyscallConn()
	if err != nil {
		return nil, s.fail(err)
	}
	// Not File.Fd: that may change the mode of a descriptor we share.
	var dupErr error
	err = conn.Control(func(fd uintptr) { dupErr = s.duplicate(int(fd)) })
	if err != nil {
		return nil, s.fail(err)
	}
	return s, dupErr
}

// Name returns the path, or words for standard output.
func (s *Sink) Name() string {
	if s.path == Stdout {
		return "standard output"
	}
	return s.path
}

// Write writes the whole batch. When it fails, the error is a
// *record.WriteError that says how many records are whole in the output.
func (s *Sink) Write(b *record.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	if s.fd < 0 {
		if err := s.open(); err != nil {
			return s.writeError(0, err)
		}
	}
	if s.torn {
		if _, err := s.writeAll([]byte{'\n'}); err != nil {
			return s.writeError(0, err)
		}
		s.torn = false
	}
	n, err := s.writeAll(b.Buf)
	s.dirty = s.dirty || n > 0
	if err == nil {
		return nil
	}
	taken, whole := 0, 0
	for taken < b.Len() && b.Ends[taken] <= n {
		whole = b.Ends[taken]
		taken++
	}
	if n > whole {
		s.torn = !s.cut(int64(n - whole))
	}
	return s.writeError(taken, err)
}

// Flush returns when everything that was written to a regular file is on its
// disk. For anything else there is nothing to do.
func (s *Sink) Flush() error {
	if !s.dirty || !s.regular {
		return nil
	}
	if err := retry(func() error { return unix.Fsync(s.fd) }); err != nil {
		return fmt.Errorf("cannot sync %s: %w (what was written last may be missing after a crash)", s.Name(), err)
	}
	s.dirty = false
	return nil
}

// Close flushes and closes. The sink is not used afterwards.
func (s *Sink) Close() error {
	if s.fd < 0 {
		return nil
	}
	err := s.Flush()
	// After EINTR the descriptor is closed all the same.
	if cerr := unix.Close(s.fd); err == nil && cerr != nil && cerr != unix.EINTR {
		err = fmt.Errorf("cannot close %s: %w", s.Name(), cerr)
	}
	s.fd = -1
	return err
}

func (s *Sink) open() error {
	// O_APPEND also when the file is emptied: two writers do not overwrite
	// one another's lines then.
	flags := unix.O_WRONLY | unix.O_APPEND | unix.O_CLOEXEC | unix.O_NOCTTY
	if !s.append {
		flags |= unix.O_TRUNC
	}
	// O_CREAT only where it is needed: in a sticky folder the kernel refuses
	// it for somebody else's FIFO or file (fs.protected_fifos).
	err := s.openWith(flags)
	if err == unix.ENOENT {
		err = s.openWith(flags | unix.O_CREAT)
	}
	if err != nil {
		return err
	}
	if err := s.inspect(); err != nil {
		unix.Close(s.fd)
		s.fd = -1
		return err
	}
	s.torn = s.append && s.regular && endsTorn(s.path)
	return nil
}

func (s *Sink) openWith(flags int) error {
	return retry(func() (err error) {
		s.fd, err = unix.Open(s.path, flags, 0o600)
		return err
	})
}

func (s *Sink) duplicate(fd int) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return s.fail(err)
	}
	s.fd = dup
	if err := s.inspect(); err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *Sink) inspect() error {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return err
	}
	s.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	return nil
}

// writeAll writes p and returns how much of it was written. It waits where
// the descriptor is non-blocking and full.
func (s *Sink) writeAll(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m, err := unix.Write(s.fd, p[n:])
		if m > 0 {
			n += m
		}
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := waitWritable(s.fd); err != nil {
				return n, err
			}
		case err != nil:
			return n, err
		case m <= 0:
			return n, io.ErrShortWrite
		}
	}
	return n, nil
}

func waitWritable(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	return retry(func() error {
		_, err := unix.Poll(fds, -1)
		return err
	})
}

// cut takes the last n bytes, just written, off a regular file again. It
// leaves the file alone when somebody else has written behind them.
func (s *Sink) cut(n int64) bool {
	if !s.regular {
		return false
	}
	pos, err := unix.Seek(s.fd, 0, io.SeekCurrent)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(s.fd, &st) != nil || st.Size != pos {
		return false
	}
	if retry(func() error { return unix.Ftruncate(s.fd, pos-n) }) != nil {
		return false
	}
	_, err = unix.Seek(s.fd, pos-n, io.SeekStart)
	return err == nil
}

func (s *Sink) fail(err error) error {
	return fmt.Errorf("cannot write %s: %w%s", s.Name(), err, hint(err))
}

func (s *Sink) writeError(taken int, err error) error {
	return &record.WriteError{Taken: taken, Cause: cause(err), Err: s.fail(err)}
}

func cause(err error) record.Cause {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return record.CauseOutputFull
	case errors.Is(err, unix.EPIPE):
		return record.CauseOutputClosed
	}
	return record.CauseOutputError
}

func hint(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return " (free some space, or write to another file system)"
	case errors.Is(err, unix.EDQUOT):
		return " (raise the quota, or write to another file system)"
	case errors.Is(err, unix.EFBIG):
		return " (raise the limit with ulimit -f)"
	case errors.Is(err, unix.EPIPE):
		return " (its reader ended before the workload)"
	}
	return ""
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// endsTorn reports whether the last line of a file has no end. A file that
// may not be read is taken to be whole.
func endsTorn(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, end-1)
	return err == nil && last[0] != '\n'
}
