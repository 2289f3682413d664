// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a container may take to follow a signal that asks it to
// end.
const grace = 10 * time.Second

// pace is how often a container that is being started is looked at.
const pace = 10 * time.Millisecond

// Stop sees to it that a signal which asks the container to end does so; the
// runtime with that pid has passed it on. The kernel keeps from the first
// process of a container all signals that it does not handle: it is killed at
// once then, and after ten seconds when it does handle SIGINT or SIGTERM. Stop
// returns when the runtime has ended, or when there is nothing to do.
func (c *Container) Stop(runtime int, sig unix.Signal, ended <-chan struct{}) {
	late := time.After(grace)
	// A program that is just beginning has its name already, but for a moment
	// still the handlers of the one before.
	again := false
	for {
		pid, fd := c.first(runtime)
		if fd >= 0 {
			unix.Close(fd)
		}
		wait := time.After(pace)
		switch {
		case pid < 0:
			return
		case pid == 0 || starting(pid):
		case !handles(pid, sig):
			c.Kill(runtime, ended)
			return
		case sig != unix.SIGINT && sig != unix.SIGTERM:
			if again {
				return
			}
			again = true
		default:
			wait = nil
		}
		select {
		case <-ended:
			return
		case <-late:
			c.Kill(runtime, ended)
			return
		case <-wait:
		}
	}
}

// thaw is how long a container may take to die before it is taken for paused.
const thaw = time.Second

// Kill ends the container, also one that is being started or is paused.
func (c *Container) Kill(runtime int, ended <-chan struct{}) {
	pid, fd := c.first(runtime)
	if fd >= 0 {
		defer unix.Close(fd)
	}
	select {
	case <-ended: // the number of the runtime is free, and the folder gone
		return
	default:
	}
	switch {
	case pid < 0:
		return
	case pid == 0:
		unix.Kill(runtime, unix.SIGKILL) // what it has made by now, Remove finds
		return
	}
	unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	select {
	case <-ended:
	case <-time.After(thaw):
		// Control groups of version 1 keep a paused process from dying; the
		// runtime lets it go on for that.
		c.runtime.ask("kill", c.Name, "KILL")
	}
}

// first is the first process of the container, and a descriptor of it, which
// is not negative then. The pid is 0 when it does not exist yet, and negative
// when it has ended.
func (c *Container) first(runtime int) (pid, fd int) {
	text, err := os.ReadFile(filepath.Join(c.dir, pidFile))
	if err != nil {
		return 0, -1
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, -1
	}
	if fd, err = unix.PidfdOpen(pid, 0); err != nil {
		return -1, -1
	}
	// The number may be another's by now, unless it is a child of the runtime,
	// which has not yet collected it.
	if status(pid, "PPid") != strconv.Itoa(runtime) {
		unix.Close(fd)
		return -1, -1
	}
	return pid, fd
}

// starting tells whether a process is still the runtime's own, which handles
// signals in its own way and will execute the container's program.
func starting(pid int) bool { return strings.HasPrefix(status(pid, "Name"), "runc:[") }

// handles tells whether a process has a handler for the signal, or waits for
// it in another way. One that ignores it counts too: it has been set up so.
func handles(pid int, sig unix.Signal) bool {
	for _, mask := range []string{"SigCgt", "SigBlk", "SigIgn"} {
		set, err := strconv.ParseUint(status(pid, mask), 16, 64)
		if err == nil && set&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}

// status is a value of the process's status file, "" if there is none.
func status(pid int, name string) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if key, value, ok := strings.Cut(string(line), ":"); ok && key == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
