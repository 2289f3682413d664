// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package workload starts a command in a context, waits for it, passes it the
// signals it should see, and brings back its exit status.
//
// Three processes take part. The supervisor (Start) makes a watchdog (Watch),
// and the watchdog makes the child (Enter) that becomes the command. The
// command stays in the supervisor's process group, with its terminal and
// environment; the watchdog has a group of its own, so that what is sent to the
// first does not reach it. Everything that the command starts descends from the
// watchdog. So when one of the two is killed the other can kill the workload,
// all of it, before it acts unseen; and what the supervisor had recorded but
// not delivered is delivered by the watchdog. When both are killed at once, the
// command dies with them, but not what it has left behind.
//
// The command is started in two steps, so that a source can attach before its
// first instruction: Start makes a child that has entered the context and
// waits, Release lets it become the command.
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
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spec says what to start.
type Spec struct {
	Path  string   // of the program, as Look found it; "" for none: a watchdog alone
	Args  []string // with the name it is called by
	Files [3]*os.File
	Way   string // how the child enters the context, a key of Enter's ways
	// Options are for the way.
	Options string
	// Reads tells that the way has a Read, which the watchdog is to run. The
	// source attaches to it on Line.
	Reads bool

	// Ledger and Will are for what follows when the supervisor is killed: the
	// file of what it has recorded, and what is to be done with that.
	Ledger *os.File
	Will   []byte
}

// Workload is a command that has been started.
type Workload struct {
	PID     int
	Control int // the socket to the child, on which a source attaches
	Line    int // the socket to the watchdog's Read; -1 without one

	watchdog int // pid
	socket   int // to it
	exited   chan Exit
	orphaned chan struct{}
	heard    sync.WaitGroup
	finished atomic.Bool
	stopping sync.Mutex   // held by stopToo
	stopKey  atomic.Int64 // when we have got TSTP, in nanoseconds since 1970
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

// high is where the numbers of descriptors begin that are handed down to a
// child besides those that our caller has given us: nobody uses them.
const high = 100

// handDown makes a copy of a descriptor that a child inherits.
func handDown(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, high)
	if err != nil {
		n, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 0)
	}
	return n, err
}

// pair makes a socket pair, of which the child inherits the second.
func pair() (ours, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, err
	}
	theirs, err = handDown(fds[1])
	unix.Close(fds[1])
	if err != nil {
		unix.Close(fds[0])
	}
	return fds[0], theirs, err
}

// Start makes the watchdog and the child. The caller reads the child's end from
// Exited, and calls Finish when everything is done.
func Start(spec Spec) (*Workload, error) {
	w := &Workload{Line: -1, exited: make(chan Exit, 1), orphaned: make(chan struct{})}
	socket, control, line := -1, -1, -1
	var err error
	if w.socket, socket, err = pair(); err != nil {
		return nil, fmt.Errorf("cannot make a socket to the watchdog: %w", err)
	}
	if w.Control, control, err = pair(); err != nil {
		shut(w.socket, socket)
		return nil, fmt.Errorf("cannot make a socket to the workload: %w", err)
	}
	if spec.Reads {
		if w.Line, line, err = pair(); err != nil {
			err = fmt.Errorf("cannot make a socket to the reader of events: %w", err)
		}
	}
	if err == nil {
		err = w.fork(spec, socket, control, line)
	}
	shut(socket, control, line) // or their ends would never be heard of
	if err == nil {
		err = w.begin(spec.Will)
	}
	if err != nil {
		shut(w.socket, w.Control, w.Line)
		return nil, err
	}
	return w, nil
}

// shut closes descriptors, but for those that were never open.
func shut(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// fork makes the watchdog, which has the other ends of our sockets.
func (w *Workload) fork(spec Spec, socket, control, line int) error {
	if err := Subreaper(); err != nil {
		return err
	}
	records, err := handDown(int(spec.Ledger.Fd()))
	if err != nil {
		return fmt.Errorf("cannot hand down the memory for records: %w", err)
	}
	defer unix.Close(records)
	args := []string{name, markWatch}
	for _, n := range []int{socket, control, line, records, unix.Getpgrp()} {
		args = append(args, strconv.Itoa(n))
	}
	args = append(append(args, spec.Way, spec.Options, spec.Path), spec.Args...)
	attr := &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{spec.Files[0].Fd(), spec.Files[1].Fd(), spec.Files[2].Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if w.watchdog, err = syscall.ForkExec("/proc/self/exe", args, attr); err != nil {
		return fmt.Errorf("cannot start a watchdog: %w", err)
	}
	return nil
}

// begin waits until the watchdog has made the child.
func (w *Workload) begin(will []byte) error {
	w.SetWill(will)
	m, err := hear(w.socket)
	if err == nil && m.word == sayStarted {
		w.PID, err = strconv.Atoi(string(m.text))
	} else if err == nil && m.word == sayFailed {
		err = errors.New(string(m.text))
	} else if err == nil {
		err = errors.New("it has died")
	}
	if err != nil {
		unix.Kill(w.watchdog, unix.SIGKILL)
		unix.Wait4(w.watchdog, nil, 0, nil)
		return fmt.Errorf("cannot start the workload through a watchdog: %w", err)
	}
	w.heard.Add(1)
	go w.listen()
	return nil
}

// listen hears how the command fares. When it stops, so do we, so that a shell
// sees a stopped job; when we are continued, it is too.
func (w *Workload) listen() {
	defer w.heard.Done()
	for {
		m, err := hear(w.socket)
		switch {
		case err != nil || m.word == 0:
			if !w.finished.Load() {
				close(w.orphaned)
			}
			return
		case m.word == sayStopped:
			go w.stopToo()
		case m.word == sayExited:
			status, err := strconv.Atoi(string(m.text))
			w.exited <- Exit{Status: status, Err: err}
		}
	}
}

// Keep gives the watchdog a descriptor to keep open: a listener, whose calls
// then wait and do not fail when we are gone, or a lock.
func (w *Workload) Keep(fd int) { say(w.socket, sayKeep, nil, fd) }

// Output tells the watchdog which descriptor output number i is.
func (w *Workload) Output(i, fd int) { say(w.socket, sayOutput, []byte{byte(i)}, fd) }

// Orphaned is closed when the watchdog has died. What descends from it is ours
// to end then, with KillDescendants.
func (w *Workload) Orphaned() <-chan struct{} { return w.orphaned }

// Processes lists those that descend from the watchdog: the command and what it
// has started.
func (w *Workload) Processes() []int { return descendants(w.watchdog) }

// SetWill replaces what is to be done when we are killed.
func (w *Workload) SetWill(will []byte) { say(w.socket, sayWill, will, -1) }

// Watchdog is the pid of the watchdog.
func (w *Workload) Watchdog() int { return w.watchdog }

// Finish ends the watchdog: there is nothing left to watch or to deliver.
func (w *Workload) Finish() {
	w.finished.Store(true)
	if w.Line >= 0 {
		unix.Shutdown(w.Line, unix.SHUT_RDWR) // who waits for the other side goes on
	}
	say(w.socket, sayFinish, nil, -1)
	for {
		if _, err := unix.Wait4(w.watchdog, nil, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	w.heard.Wait()
	shut(w.socket, w.Line)
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

// Exited yields the end of the command, once. When the watchdog has died it is
// not known: see Orphaned.
func (w *Workload) Exited() <-chan Exit { return w.exited }

// Wait waits for the end of the command, if it was not read from Exited.
func (w *Workload) Wait() Exit {
	select {
	case exit := <-w.exited:
		return exit
	case <-w.orphaned:
		return Exit{Err: errors.New("the watchdog of the workload was killed")}
	}
}
