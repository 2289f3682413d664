// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// mark is the first argument of a re-executed child. No flag looks like it.
const mark = "\x01enter"

// name is what the child is called until it becomes the workload: events of
// its exec carry it.
const name = "quixote-export"

// Way brings the calling thread into a context, in a way that options says more
// of, and speaks with the source that attaches at the other end of control.
type Way func(control int, options string) error

// IsEnter tells whether args, those of the process, are those of a child that
// is to enter a context.
func IsEnter(args []string) bool { return len(args) > 1 && args[1] == mark }

// Enter is the whole life of the child: it enters a context in the way that
// its arguments name, waits until it is released, and becomes the workload.
// It returns only if that fails; the parent has been told why then.
//
// The caller must have locked the main goroutine to the main thread: the
// context is entered by the thread that later executes the workload.
func Enter(args []string, ways map[string]Way) int {
	if len(args) < 6 {
		return failed
	}
	control, err := strconv.Atoi(args[2])
	if err != nil {
		return failed
	}
	unix.CloseOnExec(control)
	err = enter(control, args[3], args[4], args[5], args[6:], ways)
	report(control, err)
	return failed
}

// failed is the exit status of a child that did not become the workload. The
// parent does not look at it.
const failed = 125

func enter(control int, way, options, path string, argv []string, ways map[string]Way) error {
	if unix.Gettid() != unix.Getpid() {
		return fmt.Errorf("the runtime does not run main on the main thread (Go %s)", runtime.Version())
	}
	into := ways[way]
	if into == nil {
		return fmt.Errorf("there is no way into a context called %q", way)
	}
	if err := setName(name); err != nil {
		return err
	}
	env := os.Environ()
	if err := into(control, options); err != nil {
		return err
	}
	// Another thread waits, which has not entered: what it does is nobody's
	// event.
	goAhead := make(chan bool)
	go func() {
		runtime.LockOSThread()
		var word [1]byte
		n, err := unix.Read(control, word[:])
		for err == unix.EINTR {
			n, err = unix.Read(control, word[:])
		}
		goAhead <- n == 1 && err == nil
	}()
	if !<-goAhead {
		os.Exit(failed) // the parent has given up, and tells why itself
	}
	return execError{syscall.Exec(path, argv, env)}
}

func setName(s string) error {
	return os.WriteFile("/proc/thread-self/comm", []byte(s), 0)
}

// execError is the failure of the workload's own exec.
type execError struct{ err error }

func (e execError) Error() string { return e.err.Error() }

// report tells the parent what went wrong: four bytes of error number, which
// is 0 unless it was the exec, and a text.
func report(control int, err error) {
	message := make([]byte, 4, 256)
	if e, ok := err.(execError); ok {
		if errno, ok := e.err.(syscall.Errno); ok {
			binary.NativeEndian.PutUint32(message, uint32(errno))
		}
	}
	unix.Write(control, append(message, err.Error()...))
}
