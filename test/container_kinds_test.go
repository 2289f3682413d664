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
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func onItsTerminal(s *specs.Spec) { s.Process.Terminal = true }

// The keys go to the container's own terminal, and so to its processes.
func TestContainerOnATerminal(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "trap 'echo go\"\"t it' INT; stty size; echo re''ady; until read line; do :; done; stty size; exit 4", onItsTerminal)
	term := onTerminal(t, b.export())
	term.await("24 80")
	term.await("ready")
	term.press(ctrlC)
	term.await("got it")
	if b.state() != "running" {
		t.Errorf("after Ctrl-C the container is %q", b.state())
	}
	if err := pty.Setsize(term.keys, &pty.Winsize{Rows: 33, Cols: 99}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the terminal of the container is resized", func() bool {
		out, err := b.runc("exec", b.name, "stty", "-F", "/dev/console", "size").Output()
		return err == nil && strings.TrimSpace(string(out)) == "33 99"
	})
	term.enter("")
	term.await("33 99")
	term.await("nothing lost")
	if status := term.status(); status != 4 {
		t.Errorf("status %d", status)
	}
	b.gone()
}

// Without a terminal of its own, Ctrl-C on ours asks it to end.
func TestContainerBesideATerminal(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "trap 'exit 9' INT; echo re''ady; while :; do sleep 0.1; done")
	term := onTerminal(t, b.export())
	term.await("ready")
	term.press(ctrlC)
	if status := term.status(); status != 9 {
		t.Errorf("status %d", status)
	}
	b.gone()
}

func TestContainerWhoseTerminalGoes(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*specs.Spec){"its own": onItsTerminal, "beside it": func(*specs.Spec) {}} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, "echo re''ady; exec sleep 1000", change)
			term := onTerminal(t, b.export())
			term.await("ready")
			term.keys.Close()
			term.status()
			if last := b.result().last; !strings.Contains(last, `"type": "end"`) {
				t.Errorf("the stream has no end: %s", last)
			}
			b.gone()
		})
	}
}

func TestContainerNeedsATerminal(t *testing.T) {
	t.Parallel()
	r := newBundle(t, "", onItsTerminal).run()
	if r.status != 125 || !strings.Contains(r.errs, "asks for a terminal (process.terminal), and there is none") || r.first != "" {
		t.Errorf("status %d, %q, stream %q", r.status, r.errs, r.first)
	}
}

// In a user namespace ids are those of the host, or with -u its own.
func TestContainerInAUserNamespace(t *testing.T) {
	t.Parallel()
	const base = 100000
	b := newBundle(t, "id -u; mkdir /tmp/d$1; exit 6", func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: base, Size: 1000}}
		s.Linux.UIDMappings, s.Linux.GIDMappings = ids, ids
	})
	if out, err := exec.Command("chown", "-R", "100000:100000", b.dir+"/rootfs").CombinedOutput(); err != nil {
		t.Fatalf("chown: %s", out)
	}
	for _, row := range []struct {
		uid   string
		flags []string
	}{{"100000", nil}, {"0", []string{"-u"}}} {
		r := b.run(row.flags...)
		if r.status != 6 || r.out != "0\n" {
			t.Errorf("status %d, output %q, errors %q", r.status, r.out, r.errs)
		}
		if e := r.find("inode_mkdir", `/tmp/d"`); e == nil || !strings.HasPrefix(e.coe, `{"uid": "`+row.uid+`"`) {
			t.Errorf("%v: mkdir: %+v", row.flags, e)
		}
		os.Remove(b.dir + "/rootfs/tmp/d")
	}
}

// What the runtime does in the container is left out, its hooks are too, unless
// it is asked for.
func TestContainerRuntimeIsIncluded(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "true", func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/touch", Args: []string{"touch", "/tmp/hooked"}}}}
	})
	r := b.run()
	if r.status != 0 || r.find("inode_create", "/tmp/hooked") != nil {
		t.Errorf("status %d, %q; the hook is in the stream", r.status, r.errs)
	}
	if len(r.events) == 0 || r.events[0].Type != "file_open" || !strings.Contains(r.events[0].cell, `/bin/busybox"`) {
		t.Errorf("the stream does not begin with the first program: %+v", r.events)
	}
	if err := os.Remove(filepath.Join(b.dir, "rootfs/tmp/hooked")); err != nil {
		t.Fatal("the hook was not run: ", err)
	}
	r = b.run("--include-runtime")
	if e := r.find("inode_create", "/tmp/hooked"); r.status != 0 || e == nil || e.Process != "touch" {
		t.Errorf("status %d, %q; the hook: %+v", r.status, r.errs, e)
	}
	if len(r.events) == 0 || !strings.HasPrefix(r.events[0].Process, "runc") {
		t.Errorf("the stream does not begin with the runtime: %+v", r.events)
	}
}

func TestContainerThatIsPausedIsStopped(t *testing.T) {
	t.Parallel()
	r := newBundle(t, deaf).start()
	if out, err := r.runc("pause", r.name).CombinedOutput(); err != nil {
		t.Skipf("needs a runtime that can pause: %s", out)
	}
	r.signal(unix.SIGTERM)
	if status := r.ended(); status != 137 {
		t.Errorf("status %d", status)
	}
	r.gone()
}
