// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// Reopens reports whether an output of that path can be rotated: it is a
// regular file, or will be one, that is opened by its name.
func Reopens(path string) bool {
	if _, ok := descriptor(path); ok || path == Stdout || path == "" {
		return false
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return errors.Is(err, unix.ENOENT) || err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// Reopen begins a new file where the path leads now, behind what that holds.
// Before the old one is left, finish is called to write its last records. The
// result closes the old one, and tells if that may not be safe. Where there is
// nothing to do, because the path leads to our file still, or no new one can be
// had, of which the user is told, records go on into the old file and the
// result is nil.
func (s *Sink) Reopen(finish func()) (leave func() error) {
	if s.fd < 0 || !s.byName || !s.regular || s.leads() {
		return nil
	}
	next := Sink{path: s.path, opts: s.opts, byName: true, output: output{fd: -1}, patience: newPatience()}
	// A FIFO that has taken its place would keep us waiting.
	err := next.openFor(unix.O_NONBLOCK)
	if err == nil && !next.regular {
		err = errors.New("it is no regular file any more")
		next.close()
	}
	if err != nil {
		s.opts.Notice(fmt.Sprintf("cannot open %s anew: %v (records go on into the file that was open)", s.shown(), err))
		return nil
	}
	finish()
	next.output, s.output = s.output, next.output
	if s.opened != nil {
		s.opened(s.fd)
	}
	return func() error { return next.leave(nil) }
}

// leads reports whether the path still leads to the file that is open. When
// that cannot be said, it does.
func (s *Sink) leads() bool {
	var named, open unix.Stat_t
	if unix.Fstat(s.fd, &open) != nil {
		return true
	}
	if err := unix.Stat(s.path, &named); err != nil {
		return !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR)
	}
	return named.Dev == open.Dev && named.Ino == open.Ino
}

// look tells the user, once, that the path leads elsewhere. Who rotates files
// renames ours a moment before we hear of it: it is told at the second sync,
// and not when the file is being left anyway.
func (s *Sink) look() {
	if !s.byName || s.room.last {
		return
	}
	if s.leads() {
		s.astray = 0
		return
	}
	if s.astray++; s.astray == 2 {
		s.opts.Notice(s.shown() + " has been renamed or deleted: records go on into the file that was opened (SIGHUP begins a new one)")
	}
}

// farewell sees to it, at the end, that the file has a name.
func (s *Sink) farewell() error {
	var st unix.Stat_t
	if !s.byName || !s.regular || unix.Fstat(s.fd, &st) != nil || s.leads() {
		return nil
	}
	if st.Nlink > 0 {
		if s.astray < 2 {
			s.opts.Notice(s.shown() + " has been renamed: the records are in the file that was opened")
		}
		return nil
	}
	if err := s.restore(&st); err != nil {
		return &record.WriteError{Cause: record.CauseOutputDeleted,
			Err: fmt.Errorf("%s has been deleted, and its records with it: %w", s.shown(), bare(err))}
	}
	s.opts.Notice(s.shown() + " has been deleted while it was written: it is there again, with all records")
	return nil
}

// restore writes what a deleted file holds to a new one of its name.
func (s *Sink) restore(st *unix.Stat_t) error {
	old, err := os.Open(ownLink(s.fd))
	if err != nil {
		return err
	}
	defer old.Close()
	again, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer again.Close()
	_, err = again.ReadFrom(old)
	if err == nil {
		err = again.Sync()
	}
	if err != nil {
		os.Remove(s.path)
		return err
	}
	again.Chown(int(st.Uid), int(st.Gid)) // who may not give it away keeps it
	return again.Chmod(os.FileMode(st.Mode & 0o777))
}
