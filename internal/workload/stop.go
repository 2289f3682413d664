// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

const (
	// stopLook is how often a command that has stopped is looked at. Nothing
	// tells when the last process of a workload stops.
	stopLook = 20 * time.Millisecond
	// stopKey is how long before or after the stop of the command a stop key
	// of the terminal may reach us.
	stopKey = time.Second
	// stopTerminal is how long the user of a terminal may have to wait for a
	// shell that believes its job to run.
	stopTerminal = 3 * time.Second
)

// stopToo stops us as the command has stopped, so that a shell sees a stopped
// job, and lets the command go on when we are continued.
//
// While we are stopped every call of the workload waits. So we must not stop
// while a part of it runs that may let the command go on, unless somebody at a
// terminal has asked for it or waits for it.
func (w *Workload) stopToo() {
	w.stopping.Lock()
	defer w.stopping.Unlock()
	for began := time.Now(); stopped(w.PID); time.Sleep(stopLook) {
		asked := time.Since(time.Unix(0, w.stopKey.Load())) < stopKey
		if asked || w.allStopped() || time.Since(began) > stopTerminal && onTerminal() {
			stopSelf()
			if stopped(w.PID) {
				say(w.socket, sayContinue, nil, -1)
			}
			return
		}
	}
}

// stopSelf stops all of us, and returns when we have been continued. A signal
// to the process could be taken by another thread, after this one has gone on.
func stopSelf() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP)
}

// allStopped tells whether no process of the workload runs.
func (w *Workload) allStopped() bool {
	for _, pid := range w.Processes() {
		if !stopped(pid) {
			return false
		}
	}
	return true
}

// stopped tells whether a process has stopped.
func stopped(pid int) bool {
	stat, err := kernel.ReadProc(pid, "stat", make([]byte, 512))
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 0 && (fields[0][0] == 'T' || fields[0][0] == 't')
}

// onTerminal tells whether we have a controlling terminal.
func onTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
