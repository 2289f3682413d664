// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A command that stops is let go on by another part of the workload, whose calls
// are looked at meanwhile.
func TestStopAndGoOnFromInside(t *testing.T) {
	t.Parallel()
	const conts = `until test -e over; do sleep 0.1; cat /etc/hostname > /dev/null; kill -CONT `
	for name, script := range map[string]string{
		"STOP":  `(` + conts + `$$; done) & kill -STOP $$; echo after; echo > over; wait`,
		"TSTP":  `(` + conts + `$$; done) & kill -TSTP $$; echo after; echo > over; wait`,
		"twice": `(` + conts + `$$; done) & kill -STOP $$; kill -STOP $$; echo after; echo > over; wait`,
		// The group has those in it that watch.
		"group": `setsid sh -c 'echo > ready; ` + conts + `$0; done' $$ & until test -e ready; do sleep 0.1; done; kill -STOP 0; echo after; echo > over; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options{}
			c := command(t, &o, "sh", "-c", script)
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
			out, err := c.Output()
			if err != nil || string(out) != "after\n" {
				t.Errorf("got %q, %v", out, err)
			}
			readStream(t, o)
		})
	}
}

// When all of the workload stops so do we; whoever lets the command go on does
// that to us too.
func TestStopAndGoOnFromOutside(t *testing.T) {
	t.Parallel()
	o := options{}
	o.dir = openDir(t)
	c := command(t, &o, "sh", "-c", `echo $$ > pid.new; mv pid.new pid; until test -e go; do sleep 0.05; done; echo after`)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	pid := 0
	eventually(t, "the command begins", func() bool {
		text, _ := os.ReadFile(filepath.Join(o.dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0
	})
	for range 2 {
		eventually(t, "we stop with the command", func() bool {
			unix.Kill(pid, unix.SIGSTOP)
			return stateOf(c.Process.Pid) == "T"
		})
		unix.Kill(pid, unix.SIGCONT)
		eventually(t, "we go on with the command", func() bool { return stateOf(c.Process.Pid) != "T" && stateOf(pid) != "T" })
	}
	if err := os.WriteFile(filepath.Join(o.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || out.String() != "after\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	readStream(t, o)
}

// stateOf is the letter of a process's state, "" if there is none.
func stateOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	return f[0]
}
