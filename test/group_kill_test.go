// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"quixote-export/tsem"
)

// A signal to the group that the workload shares with those that watch it does
// what it does in a plain shell, and leaves these alone.
func TestKillOfTheOwnGroup(t *testing.T) {
	t.Parallel()
	need(t, "sh", "sleep")
	for name, row := range map[string]struct {
		script string
		events int // of signals, at least
	}{
		"caught":          {`trap "echo got" TERM; kill 0; echo after`, 2},
		"caught INT":      {`trap "echo got" INT; kill -INT 0; echo after; kill -INT 0; echo again`, 4},
		"deadly":          {`sleep 1000 & kill 0; echo after`, 3},
		"deadly INT":      {`kill -INT 0; echo after`, 2},
		"KILL":            {`sleep 1000 & sh -c "sleep 1000; :" & kill -KILL 0; echo after`, 4},
		"ignored":         {`trap "" TERM; kill 0; echo after $?`, 2},
		"signal 0":        {`kill -s 0 0; echo $?`, 2},
		"from a subshell": {`trap "echo got" TERM; (trap "" TERM; kill 0; echo sub $?); echo after`, 3},
		"of no group":     {`kill -- -4194000 2>/dev/null; echo $?`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A group of its own, so that the test is not in it.
			own := &syscall.SysProcAttr{Setpgid: true}
			plain := exec.Command("sh", "-c", row.script)
			plain.SysProcAttr = own
			want, _ := plain.Output()
			o := options{}
			c := command(t, &o, "sh", "-c", row.script)
			c.SysProcAttr = own
			var out, errs bytes.Buffer
			c.Stdout, c.Stderr = &out, &errs
			c.Run()
			if out.String() != string(want) || errs.Len() > 0 {
				t.Errorf("got %q, %q, want %q", out.String(), errs.String(), want)
			}
			status := plain.ProcessState.ExitCode()
			if ws := plain.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
				status = 128 + int(ws.Signal())
			}
			if got := c.ProcessState.ExitCode(); got != status {
				t.Errorf("status %d, want %d", got, status)
			}
			o.status = status
			s := readStream(t, o)
			if n := len(s.of(tsem.TaskKill)); n < row.events {
				t.Errorf("%d signals are recorded, want %d", n, row.events)
			}
		})
	}
}

// readStream reads and checks what a run has written.
func readStream(t *testing.T, o options) *stream {
	t.Helper()
	b, err := os.ReadFile(o.output)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{t: t, dir: o.dir, status: o.status}
	s.read(b)
	s.check(&o)
	return s
}

// The receiver is told who has sent a signal to its group.
func TestKillOfTheOwnGroupNamesItsSender(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3")
	o := options{}
	c := command(t, &o, "/usr/bin/python3", "-B", "-c", `
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
child = os.fork()
if child == 0:
    os.kill(0, signal.SIGTERM)
    got = signal.sigwaitinfo({signal.SIGTERM})
    os._exit(got.si_pid != os.getpid() or got.si_uid != os.getuid())
got = signal.sigwaitinfo({signal.SIGTERM})
_, status = os.waitpid(child, 0)
print(got.si_pid == child, got.si_uid == os.getuid(), status)
`)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.Output()
	if err != nil || string(out) != "True True 0\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// A pidfd can stand for a group, too (Linux 6.9).
func TestKillOfTheOwnGroupByPidfd(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3")
	o := options{status: 143}
	c := command(t, &o, "/usr/bin/python3", "-B", "-c", `
import os, signal
PIDFD_SIGNAL_PROCESS_GROUP = 4
fd = os.pidfd_open(os.getpgrp())
try:
    signal.pidfd_send_signal(fd, 0, None, PIDFD_SIGNAL_PROCESS_GROUP)
except OSError:
    print("too old")
    os._exit(143)
signal.pidfd_send_signal(fd, signal.SIGTERM, None, PIDFD_SIGNAL_PROCESS_GROUP)
print("after")
`)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, _ := c.Output()
	if string(out) == "too old\n" {
		t.Skip("needs Linux 6.9")
	}
	if got := c.ProcessState.ExitCode(); got != o.status || len(out) > 0 {
		t.Errorf("got %q, status %d", out, got)
	}
	if s := readStream(t, o); len(s.of(tsem.TaskKill)) < 4 {
		t.Errorf("%d signals are recorded, want 4", len(s.of(tsem.TaskKill)))
	}
}

// inNamespace runs quixote-export in a pid namespace of its own, in which it
// is all there is beside what it runs.
func inNamespace(t *testing.T, o *options, words ...string) *exec.Cmd {
	t.Helper()
	needRoot(t)
	need(t, "unshare")
	c := command(t, o, words...)
	// The first process is not among those that a signal to everybody reaches.
	first := []string{"unshare", "-pf", "--mount-proc", "sh", "-c", `"$@"; exit $?`, "sh"}
	outer := exec.Command("unshare", append(first[1:], c.Args...)...)
	outer.Env, outer.Dir = c.Env, c.Dir
	if err := exec.Command("unshare", "-pf", "--mount-proc", "true").Run(); err != nil {
		t.Skipf("needs pid namespaces: %v", err)
	}
	return outer
}

// So it is with a signal to everybody.
func TestKillOfEverybody(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ script, out string }{
		"deadly": {`setsid sleep 1000 & kill -TERM -1; wait $!; echo $?`, "143\n"},
		"KILL":   {`setsid sleep 1000 & kill -KILL -1; wait $!; echo $?`, "137\n"},
		// What is reached may fork as fast as it can.
		"KILL of a crowd": {`for i in 1 2 3 4; do setsid sh -c "while :; do sleep 1000 & done" & done; sleep 0.2; kill -KILL -1; wait; echo done`, "done\n"},
		"nobody":          {`kill -TERM -1; echo $?`, "0\n"},
		"nested":          {`setsid sleep 1000 & unshare -pf --mount-proc sh -c 'kill -KILL -1; echo $?'; kill $!; wait $!; echo $?`, "1\n143\n"},
		"nested, group":   {`unshare -pf --mount-proc sh -c 'trap "" TERM; kill -TERM 0; kill -KILL $$; echo $?'`, "0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options{}
			script := row.script
			if name == "nested, group" {
				script = `trap "" TERM; ` + script
			}
			c := inNamespace(t, &o, "sh", "-c", script)
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var errs bytes.Buffer
			c.Stderr = &errs
			out, err := c.Output()
			if err != nil || string(out) != row.out {
				t.Errorf("got %q, %v, want %q; standard error: %s", out, err, row.out, errs.String())
			}
			s := readStream(t, o)
			if len(s.of(tsem.TaskKill)) == 0 && !strings.HasPrefix(name, "nobody") {
				t.Error("no signal is recorded")
			}
		})
	}
}

// A user's signal to everybody reaches no more than it would have.
func TestKillOfEverybodyAsNobody(t *testing.T) {
	t.Parallel()
	need(t, "setpriv")
	o := options{}
	c := inNamespace(t, &o, "sh", "-c", `sleep 1000 & setpriv --reuid 65534 --clear-groups sh -c 'setsid sleep 1000 & kill -TERM -1; echo $?; wait $!; echo $?'; kill $!; wait $!; echo $?`)
	out, err := c.Output()
	if want := "0\n143\n143\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	readStream(t, o)
}
