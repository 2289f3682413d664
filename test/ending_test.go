// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The exit status is the workload's.
func TestStatus(t *testing.T) {
	t.Parallel()
	for script, status := range map[string]int{
		"exit 0": 0, "exit 1": 1, "exit 255": 255, "exit 123": 123, "kill -9 $$": 128 + 9, "kill -TERM $$": 128 + 15, "kill -SEGV $$": 128 + 11,
	} {
		run(t, options{status: status}, "sh", "-c", script)
	}
}

// What cannot be started has a status that says so, one line, and leaves an
// output as it was.
func TestFailedStarts(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	for name, mode := range map[string]os.FileMode{"closed": 0o644, "text": 0o755, "script": 0o755} {
		content := "no program\n"
		if name == "script" {
			content = "#!/absent/interpreter\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		command string
		status  int
		says    string
	}{
		{"no-such-command", 127, "not in PATH"},
		{dir + "/absent", 127, "no such file"},
		{dir + "/closed", 126, "permission denied"},
		{dir, 126, ""},
		{dir + "/text", 126, "not a program"},
		{dir + "/script", 127, "no such file"},
	} {
		output := filepath.Join(openDir(t), "o")
		if err := os.WriteFile(output, []byte("old\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o := options{output: output, dir: dir}
		c := command(t, &o, row.command)
		var errs bytes.Buffer
		c.Stderr = &errs
		c.Run()
		if got := c.ProcessState.ExitCode(); got != row.status {
			t.Errorf("%s: status %d, want %d", row.command, got, row.status)
		}
		if line := errs.String(); strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "quixote-export: cannot run ") || !strings.Contains(line, row.says) {
			t.Errorf("%s: %q, want %q", row.command, line, row.says)
		}
		if b, err := os.ReadFile(output); err != nil || string(b) != "old\n" {
			t.Errorf("%s: the output is %q (%v)", row.command, b, err)
		}
	}
}

// Where the records cannot be written the workload is stopped.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	o := options{output: "/dev/full"}
	begin := time.Now()
	c := command(t, &o, "sh", "-c", "trap 'exit 0' TERM; while :; do cat /etc/hostname > /dev/null; done")
	var errs bytes.Buffer
	c.Stderr = &errs
	c.Run()
	if got := c.ProcessState.ExitCode(); got != 123 {
		t.Errorf("status %d, want 123", got)
	}
	if said := errs.String(); !strings.Contains(said, "no space left on device") || !strings.Contains(said, "stopped") || !strings.Contains(said, "/dev/full") {
		t.Errorf("standard error: %q", said)
	}
	if d := time.Since(begin); d > 8*time.Second {
		t.Errorf("it took %v", d)
	}
}

// Signals for the supervisor reach the command, which has the last word. HUP is
// one of its own here: see TestHangupGoesToTheWorkload.
func TestSignalsAreForwarded(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]unix.Signal{"TERM": unix.SIGTERM, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2, "INT": unix.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options{status: 9, noisy: true}
			c := command(t, &o, "sh", "-c", "trap 'echo > got; exit 9' "+name+"; echo > ready; while :; do sleep 0.2; done")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Process.Kill() })
			eventually(t, "the workload", func() bool {
				_, err := os.Stat(filepath.Join(o.dir, "ready"))
				return err == nil
			})
			c.Process.Signal(sig)
			c.Wait()
			finished(t, c, &o, "").created("got")
		})
	}
}
