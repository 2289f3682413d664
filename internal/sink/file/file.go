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
//   - A regular file has room left for the last records of its stream (Last)
//     when it has none for others, where its file system can promise that. A
//     full one takes records again when a good deal of room has come back.
//   - Flush returns when a regular file is on its disk. Write never waits for
//     the disk; how often Flush is called bounds what a power failure costs.
//   - The file is opened, and without Append emptied, by the first Write. One
//     that is made gets mode 0600, an existing one keeps its own. Links are
//     followed; opening a FIFO waits for a reader, as in the shell.
//   - A regular file that was opened by name can be rotated: Reopen begins a
//     new one where the path leads now. Renamed or deleted without that it is
//     written on, which the user is told once; at the end one that has no name
//     any longer gets its own back.
//   - Writing to a pipe without a reader is an error, as long as the program
//     has a handler for SIGPIPE (Go's own is enough).
//   - A reader that is slow is waited for without limit. Whoever knows that it
//     will never read can end the waiting: see Waiting, GiveUp and Hurry.
package file

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// Stdout is the path that stands for standard output.
const Stdout = "-"

// Options of a Sink.
type Options struct {
	// Append keeps what an existing file holds.
	Append bool

	// Again tells whether the beginning of a line, with which an existing file
	// ends, is that of a record that comes again: then it is cut off. Nil: none
	// does, and the next record begins on a line of its own.
	Again func(fragment []byte) bool

	// Notice is called with a line for the user, from whatever goroutine uses
	// the sink. Nil: nobody reads them.
	Notice func(string)
}

// A Sink is one output. It must not be used by two goroutines at a time.
type Sink struct {
	path   string
	opts   Options
	byName bool // path leads to the file, and is no descriptor of this process
	opened func(fd int)
	output
	patience *patience
}

// output is what is written to.
type output struct {
	fd      int  // -1 before the first record
	regular bool // can be cut and synced
	owned   bool // nobody shares the description
	appends bool // the descriptor does, wherever it stands
	pipe    bool
	torn    bool // the last line has no end, and could not be cut off
	dirty   bool // something was written since the last sync
	astray  int  // syncs at which the path led elsewhere
	room    room
}

// pipeAtom is the most that a pipe takes as a whole or not at all (PIPE_BUF).
const pipeAtom = 4096

// New prepares an output and touches no file. path may be Stdout, which means
// the given file, or name a descriptor (/dev/fd/3): that is duplicated here
// and marked close-on-exec, so that a workload started later does not hold it
// open.
func New(path string, stdout *os.File, opts Options) (*Sink, error) {
	if opts.Notice == nil {
		opts.Notice = func(string) {}
	}
	s := &Sink{path: path, opts: opts, output: output{fd: -1}, patience: newPatience()}
	if n, ok := descriptor(path); ok {
		if err := checkDescriptor(n); err != nil {
			return nil, s.fail(err)
		}
		unix.CloseOnExec(n)
		return s, s.duplicate(n)
	}
	if path != Stdout {
		s.byName = true
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

// OnOpen has opened called with the descriptor that is written to, before its
// first record: at once, if it is open already.
func (s *Sink) OnOpen(opened func(fd int)) {
	s.opened = opened
	if s.fd >= 0 {
		opened(s.fd)
	}
}

// Offset is where in a regular file what was written last ends.
func (s *Sink) Offset() int64 {
	if !s.regular || s.fd < 0 {
		return 0
	}
	pos, err := unix.Seek(s.fd, 0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	return pos
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
	fit, full := s.admit(b)
	if fit == 0 {
		return s.writeError(0, full)
	}
	n, err := s.writeLines(b, fit)
	s.dirty = s.dirty || n > 0
	if err == nil {
		if full != nil {
			return s.writeError(fit, full)
		}
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

// admit returns for how many records there is room, and what is wrong if it is
// not for all.
func (s *Sink) admit(b *record.Batch) (int, error) {
	if !s.regular {
		return b.Len(), nil
	}
	at, err := s.position()
	if err != nil {
		return b.Len(), nil
	}
	return s.room.admit(s.fd, at, b)
}

// Last tells that the next records are the last of their stream: they may use
// the room that is kept for them.
func (s *Sink) Last() { s.room.last = true }

// Flush returns when everything that was written to a regular file is on its
// disk. For anything else there is nothing to do.
func (s *Sink) Flush() error {
	dirty := s.dirty
	if err := s.sync(); err != nil {
		return err
	}
	if dirty {
		s.look()
	}
	return nil
}

func (s *Sink) sync() error {
	if !s.dirty || !s.regular {
		return nil
	}
	if err := retry(func() error { return unix.Fsync(s.fd) }); err != nil {
		return fmt.Errorf("cannot sync %s: %w (what was written last may be missing after a crash)", s.shown(), err)
	}
	s.dirty = false
	return nil
}

// Close flushes and closes. The sink is not used afterwards. When the file is
// gone and cannot be had back, the error is a *record.WriteError.
func (s *Sink) Close() error {
	if s.fd < 0 {
		return nil
	}
	return s.leave(s.farewell())
}

// leave closes the file, and returns the first thing that is wrong with it.
func (s *Sink) leave(err error) error {
	s.trim()
	for _, end := range []func() error{s.sync, s.close} {
		if e := end(); err == nil {
			err = e
		}
	}
	return err
}

func (s *Sink) close() error {
	err := unix.Close(s.fd)
	s.fd = -1
	s.patience.close()
	// After EINTR the descriptor is closed all the same.
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("cannot close %s: %w", s.shown(), err)
	}
	return nil
}

// writeLines writes the first records of a batch, and returns how many bytes of
// them were written. A pipe gets as many at once as it takes as a whole: so a
// reader finds whole lines only, whoever else writes to it and whatever becomes
// of us.
func (s *Sink) writeLines(b *record.Batch, records int) (int, error) {
	if !s.pipe {
		return s.writeAll(b.Buf[:b.Ends[records-1]])
	}
	n, first := 0, 0
	for first < records {
		next := first + 1
		for next < records && b.Ends[next]-b.Start(first) <= pipeAtom {
			next++
		}
		m, err := s.writeAll(b.Buf[b.Start(first):b.Ends[next-1]])
		n += m
		if err != nil {
			return n, err
		}
		first = next
	}
	return n, nil
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
			if err := s.await(); err != nil {
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
	s.room.cut(pos - n)
	_, err = unix.Seek(s.fd, pos-n, io.SeekStart)
	return err == nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
