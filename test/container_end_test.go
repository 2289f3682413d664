// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Scripts of containers that handle signals in different ways. Each is the
// first process of its pid namespace, which gets only what it handles.
const (
	deaf     = "(until grep -q sleep /proc/1/comm; do :; done; echo up) & exec sleep 1000" // a shell hears INT
	polite   = "trap 'echo bye; exit 9' TERM INT HUP QUIT; echo up; while :; do sleep 0.1; done"
	stubborn = "trap '' TERM INT; echo up; while :; do sleep 0.1; done"
)

func TestContainerFollowsSignals(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, script string
		signal       unix.Signal
		status       int
	}{
		{"TERM unheard", deaf, unix.SIGTERM, 137},
		{"INT unheard", deaf, unix.SIGINT, 137},
		{"TERM", polite, unix.SIGTERM, 9},
		{"INT", polite, unix.SIGINT, 9},
		{"QUIT", polite, unix.SIGQUIT, 9},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newBundle(t, row.script).start()
			r.signal(row.signal)
			if status := r.ended(); status != row.status {
				t.Errorf("status %d, want %d", status, row.status)
			}
			if end := r.result().last; !strings.Contains(end, `"type": "end"`) || !strings.Contains(end, `"lost": "0"`) {
				t.Errorf("the end of the stream: %s", end)
			}
			r.gone()
		})
	}
}

func TestContainerThatIgnoresSignalsIsKilledWhenAskedTwice(t *testing.T) {
	t.Parallel()
	r := newBundle(t, stubborn).start()
	r.signal(unix.SIGTERM)
	time.Sleep(300 * time.Millisecond) // it is not killed at once
	if r.state() != "running" {
		t.Error("the container was killed at the first signal")
	}
	r.signal(unix.SIGTERM)
	if status := r.ended(); status != 137 {
		t.Errorf("status %d", status)
	}
	r.gone()
}

func TestContainerEndsBeforeItHasBegun(t *testing.T) {
	t.Parallel()
	b := newBundle(t, deaf)
	for wait := time.Duration(0); wait < 100*time.Millisecond; wait += 10 * time.Millisecond {
		cmd := b.export()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait)
		cmd.Process.Signal(unix.SIGTERM)
		kill := time.AfterFunc(time.Minute, func() { t.Error("it does not end"); cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		b.gone()
	}
}

func TestContainerEndsWithQuixoteExport(t *testing.T) {
	t.Parallel()
	r := newBundle(t, deaf).start()
	r.signal(unix.SIGKILL)
	r.ended()
	eventually(t, "the container is removed", func() bool { return r.state() == "" })
	eventually(t, "its folder is removed", func() bool { _, err := os.Stat(r.folder()); return err != nil })
	r.gone()
}

func TestContainerWhoseRuntimeIsKilled(t *testing.T) {
	t.Parallel()
	r := newBundle(t, deaf).start()
	unix.Kill(child(r.child("\x01watch")), unix.SIGKILL)
	if status := r.ended(); status != 137 {
		t.Errorf("status %d", status)
	}
	r.gone()
}

// Both killed, quixote-export and its watchdog, the next run cleans up.
func TestContainerLeftBehindIsRemoved(t *testing.T) {
	t.Parallel()
	r := newBundle(t, deaf).start()
	watchdog := r.child("\x01watch")
	r.signal(unix.SIGSTOP) // or each would see the other die
	unix.Kill(watchdog, unix.SIGKILL)
	r.signal(unix.SIGKILL)
	r.ended()
	next := r.bundle.start()
	if status := next.state(); status != "running" {
		t.Errorf("the next is %q", status)
	}
	next.signal(unix.SIGTERM)
	next.ended()
	r.gone()
}

func TestContainerOfOthersIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBundle(t, deaf)
	// Without pipes: what is created holds them open until it is started.
	if err := b.runc("create", "--bundle", b.dir, b.name).Run(); err != nil {
		t.Fatalf("runc create: %v", err)
	}
	cmd := b.export()
	var errs strings.Builder
	cmd.Stderr = &errs
	cmd.Run()
	if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(errs.String(), "which is not ours") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("status %d, %q", cmd.ProcessState.ExitCode(), errs.String())
	}
	if b.state() != "created" {
		t.Errorf("it is %q", b.state())
	}
	if _, err := os.Stat(b.output()); err == nil {
		t.Error("an output was made")
	}
	b.runc("delete", "--force", b.name).Run()
	b.gone()
}

func TestContainerThatRunsAlreadyIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newBundle(t, polite).start()
	cmd := r.export()
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), "is run by another quixote-export") {
		t.Errorf("status %d, %q", cmd.ProcessState.ExitCode(), out)
	}
	r.signal(unix.SIGTERM)
	if status := r.ended(); status != 9 {
		t.Errorf("the first ends with %d", status)
	}
	r.gone()
}
