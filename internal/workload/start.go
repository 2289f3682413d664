// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package workload starts a command in a context, waits for it, passes it the
// signals it should see, and brings back its exit status.
//
// The command stays in our process group, with our terminal and environment.
// It is started in two steps, so that a source can attach before its first
// instruction: Start makes a child that has entered the context and waits,
// Release lets it become the command.
package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spec says what to start.
type Spec struct {
	Path  string   // of the program, as Look found it
	Args  []string // with the name it is called by
	Files [3]*os.File
	Way   string // how the child enters the context, a key of Enter's ways
	// Options are for the way.
	Options string
}

// Workload is a command that has been started.
type Workload struct {
	PID     int
	Control int // the socket to the child, on which a source attaches
	exited  chan Exit
}

// Exit is how a command ended.
type Exit struct {
	Status int // exit status, or 128 and the signal number
	Err    error
}

// Exit statuses for a command that could not be started, as a shell has them.
const (
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// StartError is a command that could not be started.
type StartError struct {
	Command string
	Err     error
}

func (e *StartError) Error() string {
	switch {
	case e.Status() == StatusNotFound && filepath.Base(e.Command) == e.Command:
		return fmt.Sprintf("cannot run %s: it is not in PATH", e.Command)
	case errors.Is(e.Err, unix.ENOEXEC):
		return fmt.Sprintf("cannot run %s: it is not a program this machine can run (a script needs a first line like #!/bin/sh)", e.Command)
	}
	return fmt.Sprintf("cannot run %s: %v", e.Command, e.Err)
}

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Status is the exit status that tells of the error.
func (e *StartError) Status() int {
	if errors.Is(e.Err, fs.ErrNotExist) || errors.Is(e.Err, exec.ErrNotFound) {
		return StatusNotFound
	}
	return StatusNotExecutable
}

// Look finds a command as a shell does: in PATH, unless it has a slash.
func Look(command string) (string, error) {
	path, err := exec.LookPath(command)
	if errors.Is(err, exec.ErrDot) {
		err = nil
	}
	if err == nil {
		return path, nil
	}
	if e := (*exec.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return "", &StartError{Command: command, Err: err}
}

// Start makes the child. The caller reads the child's end from Exited.
func Start(spec Spec) (*Workload, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket to the workload: %w", err)
	}
	// The child inherits the descriptors of our caller under their numbers,
	// so the socket goes to one that nobody uses.
	const high = 100
	inherited, err := unix.FcntlInt(uintptr(pair[1]), unix.F_DUPFD, high)
	if err != nil {
		inherited, err = unix.FcntlInt(uintptr(pair[1]), unix.F_DUPFD, 0)
	}
	unix.Close(pair[1])
	if err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("cannot make a socket to the workload: %w", err)
	}
	w := &Workload{Control: pair[0], exited: make(chan Exit, 1)}
	args := append([]string{name, mark, strconv.Itoa(inherited), spec.Way, spec.Options, spec.Path}, spec.Args...)
	started := make(chan error)
	go func() {
		// The parent death signal of the child is tied to this thread, which
		// therefore stays until the child has ended.
		runtime.LockOSThread()
		attr := &syscall.ProcAttr{
			Env:   os.Environ(),
			Files: []uintptr{spec.Files[0].Fd(), spec.Files[1].Fd(), spec.Files[2].Fd()},
			Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
		}
		pid, err := syscall.ForkExec("/proc/self/exe", args, attr)
		unix.Close(inherited)
		w.PID = pid
		started <- err
		if err == nil {
			w.exited <- w.wait()
		}
	}()
	if err := <-started; err != nil {
		unix.Close(w.Control)
		return nil, fmt.Errorf("cannot start a child: %w", err)
	}
	return w, nil
}

// Release lets the child become the command, and returns when it has. A
// *StartError tells that it could not; then the child has ended.
func (w *Workload) Release(command string) error {
	if _, err := unix.Write(w.Control, []byte{1}); err != nil {
		return fmt.Errorf("cannot release the workload: %w", err)
	}
	return w.Failure(command)
}

// Failure waits until the child has become the command, or tells why it will
// not.
func (w *Workload) Failure(command string) error {
	defer unix.Close(w.Control)
	message := make([]byte, 4096)
	for {
		n, err := unix.Read(w.Control, message)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("cannot hear from the workload: %w", err)
		case n == 0:
			return nil
		case n < 4:
			return io.ErrUnexpectedEOF
		}
		if errno := syscall.Errno(binary.NativeEndian.Uint32(message)); errno != 0 {
			return &StartError{Command: command, Err: errno}
		}
		return errors.New(string(message[4:n]))
	}
}

// Exited yields the end of the command, once.
func (w *Workload) Exited() <-chan Exit { return w.exited }
