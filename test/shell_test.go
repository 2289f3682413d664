// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// shell starts quixote-export -P on a terminal, and waits for the prompt.
func shell(t *testing.T, flags ...string) (term *terminal, output string) {
	t.Helper()
	needSeccomp(t)
	need(t, "bash")
	output = filepath.Join(t.TempDir(), "shell.exp")
	term = onTerminal(t, exec.Command(exportProgram(t), append([]string{"-P", "-o", output}, flags...)...))
	term.await(prompt)
	return term, output
}

func TestShellExits(t *testing.T) {
	t.Parallel()
	term, output := shell(t)
	term.enter("cat /etc/hostname > /dev/null; exit 4")
	term.await("quixote-export: bash: ")
	term.await("nothing lost")
	if status := term.status(); status != 4 {
		t.Errorf("status %d, want 4", status)
	}
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"workload": "bash"`, `"process": "cat", "type": "file_open"`, `"pathname": "/etc/hostname"`, `"status": "4"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the stream lacks %s", want)
		}
	}
}

func TestShellInterruptsAJob(t *testing.T) {
	t.Parallel()
	term, _ := shell(t)
	term.enter("sh -c 'echo beg\"\"un; exec sleep 1000'")
	term.await("begun")
	term.press(ctrlC)
	term.await(prompt)
	term.enter("echo st''atus $?")
	term.await("status 130")
	term.enter("exit")
	if status := term.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestShellStopsAndContinuesAJob(t *testing.T) {
	t.Parallel()
	term, _ := shell(t)
	term.enter("sh -c 'echo beg\"\"un; read line; echo go\"\"t $line'")
	term.await("begun")
	term.press(ctrlZ)
	term.await("Stopped")
	term.enter("jobs")
	term.await("Stopped")
	term.await("read line")
	term.enter("fg")
	term.await("read line")
	term.enter("this")
	term.await("got this")
	term.enter("sleep 1000 &")
	term.await(prompt)
	term.enter("jobs")
	term.await("Running")
	term.enter("kill %1; wait; echo al''l")
	term.await("all")
	term.enter("exit 0")
	if status := term.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestShellSeesTheTerminalResized(t *testing.T) {
	t.Parallel()
	term, _ := shell(t)
	term.enter("bash -c 'trap \"echo si\\$((1))ze \\$(stty size); kill \\$!\" WINCH; sleep 1000 & echo wait\"\"ing; wait'")
	term.await("waiting")
	if err := pty.Setsize(term.keys, &pty.Winsize{Rows: 33, Cols: 99}); err != nil {
		t.Fatal(err)
	}
	term.await("si1ze 33 99")
	term.enter("echo no''w $LINES $COLUMNS")
	term.await("now 33 99")
	term.enter("exit")
	term.status()
}

// The shell of the terminal sees a suspended quixote-export as a stopped job,
// and can go on with it.
func TestShellSuspends(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	need(t, "bash")
	output := filepath.Join(t.TempDir(), "shell.exp")
	term := onTerminal(t, exec.Command("bash", "--norc", "-i"))
	term.await(prompt)
	term.enter(exportProgram(t) + " -P -o " + output)
	term.await(prompt)
	term.enter("echo inn''er")
	term.await("inner")
	term.enter("suspend")
	term.await("Stopped")
	term.enter("jobs")
	term.await("Stopped")
	term.enter("fg")
	term.enter("echo $((40+2))")
	term.await("42")
	term.enter("exit 5")
	term.await("nothing lost")
	term.enter("echo st''atus $?")
	term.await("status 5")
	// The terminal is the outer shell's again.
	term.enter("sh -c 'echo beg\"\"un; exec sleep 1000'")
	term.await("begun")
	term.press(ctrlC)
	term.await(prompt)
	term.enter("exit 0")
	term.status()
}

func TestShellHangsUpWithTheTerminal(t *testing.T) {
	t.Parallel()
	term, output := shell(t)
	term.enter("echo $((40+2))")
	term.await("42")
	term.keys.Close()
	term.status()
	text, err := os.ReadFile(output)
	if err != nil || !strings.Contains(string(text), `"type": "end"`) {
		t.Errorf("the stream has no end (%v)", err)
	}
}
