// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// terminal is a program on a pseudo-terminal, and the person before it.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	keys *os.File

	mu     sync.Mutex
	screen string // what has been written and not yet been awaited
	fresh  chan struct{}
}

const prompt = "ready> "

// onTerminal starts a program on a terminal of its own, as a login would.
func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	// Whatever the start-up files make of the prompt, it is this one.
	cmd.Env = append(cmd.Env, "PROMPT_COMMAND=PS1='"+prompt+"'", "HOME="+t.TempDir(), "HISTFILE=", "TERM=dumb", "GORACE=atexit_sleep_ms=0")
	blocking, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Skipf("needs pseudo-terminals: %v", err)
	}
	// As it comes, a reader that waits would keep it open when it is closed.
	fd, err := unix.FcntlInt(blocking.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	blocking.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	keys := os.NewFile(uintptr(fd), "terminal")
	term := &terminal{t: t, cmd: cmd, keys: keys, fresh: make(chan struct{}, 1)}
	read := make(chan struct{})
	go term.read(read)
	t.Cleanup(func() {
		cmd.Process.Kill()
		keys.Close()
		<-read
	})
	return term
}

func (term *terminal) read(done chan<- struct{}) {
	defer close(done)
	b := make([]byte, 4096)
	for {
		n, err := term.keys.Read(b)
		term.mu.Lock()
		term.screen += string(b[:n])
		term.mu.Unlock()
		select {
		case term.fresh <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// keys of a terminal.
const (
	ctrlC = "\x03"
	ctrlZ = "\x1a"
)

// press types keys as they are.
func (term *terminal) press(keys string) {
	term.t.Helper()
	if _, err := term.keys.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
}

// enter types a line.
func (term *terminal) enter(line string) {
	term.t.Helper()
	term.press(line + "\n")
}

// await waits until the text is on the screen, behind what was awaited before.
func (term *terminal) await(text string) {
	term.t.Helper()
	late := time.After(3 * time.Minute)
	for {
		term.mu.Lock()
		_, rest, found := strings.Cut(term.screen, text)
		if found {
			term.screen = rest
		}
		screen := term.screen
		term.mu.Unlock()
		if found {
			return
		}
		select {
		case <-term.fresh:
		case <-late:
			term.t.Fatalf("waited for %q, the screen has %q", text, screen)
		}
	}
}

// status waits for the program's end.
func (term *terminal) status() int {
	term.t.Helper()
	ended := make(chan struct{})
	go func() {
		term.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return term.cmd.ProcessState.ExitCode()
	case <-time.After(3 * time.Minute):
		term.mu.Lock()
		defer term.mu.Unlock()
		term.t.Fatalf("the program does not end; the screen has %q", term.screen)
		return 0
	}
}
