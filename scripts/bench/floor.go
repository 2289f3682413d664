// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/source/seccomp"
)

// The marks by which this program is run as the floor: what it costs to stop
// the same calls, and to let each go on at once.
const (
	floorMark = "\x01floor" // COMMAND ARGS...: watches it
	enterMark = "\x01enter" // FD COMMAND ARGS...: becomes it, below the filter
)

func init() {
	if len(os.Args) > 3 && os.Args[1] == enterMark {
		runtime.LockOSThread() // the filter is on this thread
	}
}

// floor does what args ask for, if they ask for the floor, and does not return
// then.
func floor(args []string) {
	if len(args) < 2 {
		return
	}
	var err error
	status := 0
	switch args[0] {
	case floorMark:
		status, err = watchOnly(args[1:])
	case enterMark:
		err = becomeCommand(args[1], args[2:])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		status = 1
	}
	os.Exit(status)
}

func becomeCommand(control string, command []string) error {
	fd, err := strconv.Atoi(control)
	if err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	if err := seccomp.Enter(fd, ""); err != nil {
		return err
	}
	return unix.Exec(path, command, os.Environ())
}

// watchOnly runs a command and lets each of its calls go on.
func watchOnly(command []string) (status int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	const first = 3 // of ExtraFiles
	c := exec.Command("/proc/self/exe", append([]string{enterMark, strconv.Itoa(first)}, command...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{theirs}
	if err := c.Start(); err != nil {
		return 0, err
	}
	theirs.Close()
	listener, err := takeListener(pair[0])
	if err != nil {
		return 0, err
	}
	_ = kernel.SyncWakeUp(listener) // older kernels do without
	letAll(listener)
	err = c.Wait()
	if c.ProcessState == nil {
		return 0, err
	}
	return c.ProcessState.ExitCode(), nil
}

func takeListener(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("the filter was not set: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("no listener came: %v", err)
	}
	return fds[0], nil
}

// letAll lets every call go on until the last task is gone.
func letAll(listener int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var n kernel.Notification
	for {
		if err := kernel.Receive(listener, &n); err == nil {
			kernel.Continue(listener, n.ID)
			continue
		}
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err == nil && fds[0].Revents&unix.POLLHUP != 0 {
			return
		}
	}
}
