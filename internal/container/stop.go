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

// Stop sees to it that a signal which asks the container to end does so; the
// runtime with that pid has passed it on. The kernel keeps from the first
// process of a container all signals that it does not handle: it is killed at
// once then, and after ten seconds when it does handle SIGINT or SIGTERM. Stop
// returns when the runtime has ended, or when there is nothing to do.
func (c *Container) Stop(runtime int, sig unix.Signal, ended <-chan struct{}) {
	pid, fd := c.first(runtime, ended)
	if pid == 0 {
		return
	}
	defer unix.Close(fd)
	if handles(pid, sig) {
		if sig != unix.SIGINT && sig != unix.SIGTERM {
			return
		}
		select {
		case <-ended:
			return
		case <-time.After(grace):
		}
	}
	unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
}

// Kill ends the container.
func (c *Container) Kill(runtime int, ended <-chan struct{}) {
	if pid, fd := c.first(runtime, ended); pid != 0 {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		unix.Close(fd)
	}
}

// first is the first process of the container, and a descriptor of it. It
// waits until there is one; 0: the runtime has ended.
func (c *Container) first(runtime int, ended <-chan struct{}) (pid, fd int) {
	for {
		text, err := os.ReadFile(filepath.Join(c.dir, pidFile))
		if err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil {
					return 0, -1
				}
				// The number may be another's by now, unless it is a child of
				// the runtime, which has not yet collected it.
				if status(pid, "PPid") != strconv.Itoa(runtime) {
					unix.Close(fd)
					return 0, -1
				}
				return pid, fd
			}
		}
		select {
		case <-ended:
			return 0, -1
		case <-time.After(10 * time.Millisecond): // the runtime is still starting it
		}
	}
}

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
