// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// unhung is what nohup does.
var unhung = []string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}

// Who is started with nohup outlives the terminal, and so does the workload; a
// file is rotated all the same.
func TestNohup(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, output string
		rotates      bool
	}{{"file", "", true}, {"device", "/dev/null", false}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			u := begin(t, options{output: row.output}, `kill -HUP $$; echo alive; `+busy, unhung...)
			u.exists(filepath.Join(u.o.dir, "f"))
			hup := func() {
				for _, pid := range []int{u.cmd.Process.Pid, child(u.cmd.Process.Pid), child(child(u.cmd.Process.Pid))} {
					if err := unix.Kill(pid, unix.SIGHUP); err != nil {
						t.Error(err)
					}
				}
			}
			hup()
			if row.rotates {
				if err := os.Rename(u.o.output, u.o.output+".1"); err != nil {
					t.Fatal(err)
				}
				hup()
				u.exists(u.o.output)
			}
			u.stop()
			u.ended(0)
			if got := u.out.String(); got != "alive\n" {
				t.Errorf("the workload says %q", got)
			}
		})
	}
}

// A job in the background may not write to its terminal; what we have to say,
// which is not the job's, does not stop it.
func TestTerminalThatStopsTheBackground(t *testing.T) {
	t.Parallel()
	need(t, "bash", "stty")
	o := options{}
	c := command(t, &o, "false")
	term := onTerminal(t, exec.Command("bash", "--norc", "-i"))
	term.await(prompt)
	term.enter("set -b; stty tostop; " + strings.Join(c.Args, " ") + " & wait $!; echo sta''tus $?")
	term.await("nothing lost")
	term.await("status 1")
	// The workload is stopped as any job is.
	term.enter(strings.Join(c.Args[:len(c.Args)-1], " ") + " sh -c 'echo wr''itten; exit 4' &")
	term.await("Stopped")
	term.enter("fg")
	term.await("written")
	term.enter("exit")
	term.await("exit")
}
