// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// open opens the file by its name.
func (s *Sink) open() error {
	if s.opts.Append {
		return s.openFor(0)
	}
	return s.openFor(unix.O_TRUNC)
}

func (s *Sink) openFor(flags int) error {
	// O_APPEND also when the file is emptied: two writers do not overwrite
	// one another's lines then.
	flags |= unix.O_WRONLY | unix.O_APPEND | unix.O_CLOEXEC | unix.O_NOCTTY
	// O_CREAT only where it is needed: in a sticky folder the kernel refuses
	// it for somebody else's FIFO or file (fs.protected_fifos).
	err := s.openWith(flags)
	if err == unix.ENOENT {
		err = s.openWith(flags | unix.O_CREAT)
	}
	if err != nil {
		return err
	}
	s.owned = true
	if err := s.inspect(); err != nil {
		unix.Close(s.fd)
		s.fd = -1
		return err
	}
	s.unblock()
	s.torn = flags&unix.O_TRUNC == 0 && s.regular && endsTorn(s.path) && !s.cutAgain()
	if s.opened != nil {
		s.opened(s.fd)
	}
	return nil
}

func (s *Sink) openWith(flags int) error {
	var st unix.Stat_t
	if flags&unix.O_NONBLOCK != 0 || unix.Stat(s.path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return s.openNow(flags)
	}
	// It waits for a reader. Nothing ends that but a signal to the one thread,
	// so whoever is in a hurry leaves it behind.
	next := Sink{path: s.path}
	opened := make(chan error, 1)
	go func() { opened <- next.openNow(flags) }()
	select {
	case err := <-opened:
		s.fd = next.fd
		return err
	case <-s.patience.hurry:
		s.fd = -1
		return errHurried
	}
}

func (s *Sink) openNow(flags int) error {
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
	s.unblock()
	return nil
}

func (s *Sink) inspect() error {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	s.regular = st.Mode&unix.S_IFMT == unix.S_IFREG
	s.pipe = st.Mode&unix.S_IFMT == unix.S_IFIFO
	s.appends = flags&unix.O_APPEND != 0
	return nil
}

// position is where the next record goes.
func (s *Sink) position() (int64, error) {
	if !s.appends {
		return unix.Seek(s.fd, 0, io.SeekCurrent)
	}
	var st unix.Stat_t
	err := unix.Fstat(s.fd, &st)
	return st.Size, err
}

// maxFragment is how much of a line is looked at that has no end.
const maxFragment = 8 << 20

// cutAgain cuts off the beginning of a record that comes again.
func (s *Sink) cutAgain() bool {
	if s.opts.Again == nil {
		return false
	}
	f, err := os.Open(s.path)
	if err != nil {
		return false
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return false
	}
	start := max(0, end-maxFragment)
	tail := make([]byte, end-start)
	if _, err := f.ReadAt(tail, start); err != nil {
		return false
	}
	fragment := tail[bytes.LastIndexByte(tail, '\n')+1:]
	return s.opts.Again(fragment) && unix.Ftruncate(s.fd, end-int64(len(fragment))) == nil
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
