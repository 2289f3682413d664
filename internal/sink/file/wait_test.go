// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// A Write to a full pipe can be seen to wait, and be ended; others are not
// touched by that.
func TestWaitingForAReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s, err := New(Stdout, w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, waits := s.Waiting(); waits {
		t.Error("it waits before a Write")
	}
	s.GiveUp(Wait{})
	// More than a pipe holds.
	written := make(chan error)
	go func() { written <- s.Write(lines(0, 9999)) }()
	wait := waiting(s)
	var st unix.Stat_t
	if err := unix.Fstat(int(r.Fd()), &st); err != nil || wait.Ino != st.Ino || wait.Dev != uint64(st.Dev) {
		t.Errorf("it waits for %+v, the pipe is %d, %d", wait, st.Dev, st.Ino)
	}
	other := wait
	other.Since = other.Since.Add(-1)
	s.GiveUp(other)
	s.GiveUp(wait)
	err = <-written
	gone := (*record.WriteError)(nil)
	if !errors.As(err, &gone) || !errors.Is(err, ErrCircle) || gone.Cause != record.CauseOutputStuck || gone.Taken == 0 {
		t.Fatalf("the Write that was given up: %v", err)
	}
	s.GiveUp(wait) // it is over
	// The next one waits as before.
	go func() { written <- s.Write(lines(0, 9999)) }()
	waiting(s)
	s.Hurry()
	if err := <-written; !errors.As(err, &gone) || gone.Cause != record.CauseOutputStuck || errors.Is(err, ErrCircle) {
		t.Errorf("the Write in a hurry: %v", err)
	}
	if err := s.Write(lines(0, 9999)); !errors.As(err, &gone) || gone.Cause != record.CauseOutputStuck {
		t.Errorf("a Write after that: %v", err)
	}
	// What others write to the pipe waits as it did.
	if flags, err := unix.FcntlInt(w.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the mode of the caller's descriptor is %#x (%v)", flags, err)
	}
}

// waiting is the wait of a sink as soon as there is one.
func waiting(s *Sink) Wait {
	for {
		if w, waits := s.Waiting(); waits {
			return w
		}
		runtime.Gosched()
	}
}

// Opening a FIFO waits for a reader, unless there is a hurry.
func TestNoReaderComes(t *testing.T) {
	path := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, false)
	written := make(chan error)
	go func() { written <- s.Write(lines(0, 1)) }()
	s.Hurry()
	gone := (*record.WriteError)(nil)
	if err := <-written; !errors.As(err, &gone) || gone.Cause != record.CauseOutputStuck || gone.Taken != 0 {
		t.Errorf("got %v", err)
	}
	// For the thread that is left behind.
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}
