// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import "golang.org/x/sys/unix"

// terminal is the settings of a terminal before a workload used it.
type terminal struct {
	fd       int // negative: there is none
	group    int // the process group of the workload
	settings *unix.Termios
}

// saveTerminal remembers the settings of the terminal that the workload of a
// process group gets, if it gets one.
func saveTerminal(group int) terminal {
	for fd := range 3 {
		if settings, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			return terminal{fd, group, settings}
		}
	}
	return terminal{fd: -1}
}

// taken tells whether somebody else uses the terminal by now: a shell that has
// seen us die sets it as it likes it itself.
func (t terminal) taken() bool {
	user, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	return err == nil && user != t.group && unix.Kill(-user, 0) != unix.ESRCH
}

// restore gives the terminal its settings back.
func (t terminal) restore() { unix.IoctlSetTermios(t.fd, unix.TCSETS, t.settings) }
