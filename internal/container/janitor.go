// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// mark is the first argument of a janitor. No flag looks like it.
const mark = "\x01janitor"

// Descriptors of a janitor.
const (
	janitorSocket = 3
	janitorLock   = 4
)

// Guard starts the janitor. From here on the container is removed whatever
// becomes of us. A terminal, if there is one, has its settings of now again after
// our death: the runtime changes them for a container with a terminal.
func (c *Container) Guard(terminal, errs *os.File) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot make a socket to the janitor: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "janitor")
	defer theirs.Close()
	c.janitor = os.NewFile(uintptr(pair[0]), "janitor")
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cannot start a janitor: %w", err)
	}
	defer null.Close()
	if terminal == nil {
		terminal = null
	}
	attr := &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{terminal.Fd(), null.Fd(), errs.Fd(), theirs.Fd(), c.lock.Fd()},
		// In a session of its own no key of the terminal reaches it.
		Sys: &syscall.SysProcAttr{Setsid: true},
	}
	args := []string{"quixote-export", mark, c.runtime.path, c.dir, c.Name}
	if _, err := syscall.ForkExec("/proc/self/exe", args, attr); err != nil {
		return fmt.Errorf("cannot start a janitor: %w", err)
	}
	return nil
}

// Remove removes the container, if the runtime has not, and its folder.
func (c *Container) Remove() error {
	defer c.janitor.Close()
	defer c.lock.Close()
	if _, err := c.janitor.Write([]byte{1}); err != nil {
		return fmt.Errorf("the janitor of the container has died: %w", err)
	}
	answer := make([]byte, 4096)
	n, err := c.janitor.Read(answer)
	switch {
	case err != nil:
		return fmt.Errorf("the janitor of the container has died: %w", err)
	case n > 1:
		return errors.New(string(answer[1:n]))
	}
	return nil
}

// IsJanitor tells whether args, those of the process, are those of a janitor.
func IsJanitor(args []string) bool { return len(args) == 5 && args[1] == mark }

// Janitor is the whole life of a janitor: it waits until it is asked or until
// its parent has died, and cleans up.
func Janitor(args []string) int {
	// To end it with us would leave the container behind.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGTSTP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	unix.CloseOnExec(janitorSocket)
	unix.CloseOnExec(janitorLock)
	settings, _ := unix.IoctlGetTermios(0, unix.TCGETS)
	c := &Container{Name: args[4], dir: args[3], runtime: runtime{args[2]}}
	asked := wait(janitorSocket)
	err := c.tidy()
	if asked {
		answer := []byte{1}
		if err != nil {
			answer = append(answer, err.Error()...)
		}
		unix.Write(janitorSocket, answer)
		return 0
	}
	if settings != nil {
		unix.IoctlSetTermios(0, unix.TCSETS, settings)
	}
	if err == nil {
		err = fmt.Errorf("quixote-export was killed; the container %q is stopped and removed", c.Name)
	}
	fmt.Fprintf(os.Stderr, "quixote-export: %v\n", err)
	return 0
}

// wait returns when the other side asks, or false when it is gone.
func wait(socket int) bool {
	var b [1]byte
	for {
		n, err := unix.Read(socket, b[:])
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
}

// tidy removes the container, unless somebody else has made one of that name,
// and the folder.
func (c *Container) tidy() error {
	st, err := c.runtime.state(c.Name)
	if err == nil && (st == nil || st.Bundle == c.dir) {
		err = c.runtime.remove(c.Name)
	}
	if err != nil {
		return err // the folder stays, for the next run to find it
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("cannot remove the folder of the container: %w", err)
	}
	return nil
}
