// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// Subreaper makes orphans of the workload our children, as they would be those
// of a service manager: then their ends are seen, and no number is used again
// before.
func Subreaper() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// Undumpable keeps other processes of our user, the workload among them, from
// looking into the calling process and from taking it over.
func Undumpable() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// Signals are those that a supervisor has to deal with; the channel gets them
// until stop is called. They are not ignored, which the workload would inherit,
// but for a SIGHUP that was ignored from the start, as by nohup: see Unhung.
func Signals() (received chan os.Signal, stop func()) {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	if !Unhung() {
		signal.Notify(c, unix.SIGHUP)
	}
	// Where background jobs may not write to the terminal (stty tostop), our
	// messages would stop us, and with us the workload. The watchdog sees to it
	// that the workload does not inherit that.
	signal.Ignore(unix.SIGTTOU)
	return c, func() { signal.Stop(c) }
}

// Unhung tells whether SIGHUP was ignored from the start, and is still: then the
// workload inherits that.
func Unhung() bool { return signal.Ignored(unix.SIGHUP) }

// HearHangup has a channel of Signals get SIGHUP, too, when the workload has
// been started.
func HearHangup(c chan<- os.Signal) { signal.Notify(c, unix.SIGHUP) }

// Forward passes a signal on to the command, unless it has had it already: in
// the foreground of a terminal its keys signal the whole group.
func (w *Workload) Forward(s os.Signal) {
	sig := s.(unix.Signal)
	if sig == unix.SIGTSTP {
		w.stopKey.Store(time.Now().UnixNano())
	}
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP:
		if foreground() {
			return
		}
	}
	unix.Kill(w.PID, sig)
}

// foreground tells whether we are in the foreground group of our terminal.
func foreground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	pgrp, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// grace is how long tasks get between TERM and KILL.
const grace = 5 * time.Second

// lastGrace is how long those may take to die who have got KILL. One that is
// stuck in the kernel may take for ever.
const lastGrace = 5 * time.Second

// Terminate ends processes: TERM, and for those that remain after five seconds
// KILL, until done is closed. It asks anew which they are. Those that have not
// died five seconds later are returned.
func Terminate(processes func() []int, done <-chan struct{}) (left []int) {
	kill(processes(), unix.SIGTERM)
	kill(processes(), unix.SIGCONT) // a stopped task would not notice
	select {
	case <-done:
		return nil
	case <-time.After(grace):
	}
	for until := time.Now().Add(lastGrace); ; {
		pids := processes()
		kill(pids, unix.SIGKILL)
		select {
		case <-done:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(until) {
			return pids
		}
	}
}

func kill(pids []int, sig unix.Signal) {
	for _, pid := range pids {
		unix.Kill(pid, sig)
	}
}
