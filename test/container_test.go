// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestContainerRuns(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "cat /data; echo out; echo err >&2; mkdir /tmp/d; exit 7", func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Source: "data", Type: "bind", Options: []string{"rbind"}})
	})
	if err := os.WriteFile(filepath.Join(b.dir, "data"), []byte("data\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(b.dir + "/config.json")
	r := b.run()
	if r.status != 7 || r.out != "data\nout\n" || r.errs != "err\n" {
		t.Errorf("status %d, output %q, errors %q", r.status, r.out, r.errs)
	}
	after, _ := os.ReadFile(b.dir + "/config.json")
	entries, _ := os.ReadDir(b.dir)
	if string(before) != string(after) || len(entries) != 3 {
		t.Errorf("the bundle has changed: %v", entries)
	}
	if !strings.Contains(r.first, `"workload": "`+b.name+`"`) || !strings.Contains(r.last, `"lost": "0", "status": "7"`) {
		t.Errorf("markers: %s%s", r.first, r.last)
	}
	if len(r.events) == 0 || r.events[0].Type != "file_open" || !strings.Contains(r.events[0].cell, `/bin/busybox"`) {
		t.Fatalf("the stream does not begin with the container's first program: %+v", r.events)
	}
	for _, e := range r.events[1:] {
		if strings.HasPrefix(e.Process, "runc") {
			t.Errorf("the runtime is in the stream: %+v", e)
		}
	}
	if e := r.find("inode_mkdir", `/tmp/d"`); e == nil || e.Process != "mkdir" {
		t.Errorf("mkdir is not in the stream: %+v", e)
	}
}

func TestContainerOutputGivesWayToTheStream(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo out")
	cmd := b.command(exportProgram(t), "-C", "-w", b.name, "--magazine", b.magazine, "-o", "-", "--no-markers")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), `{"export": {"type": "event"}`) || errs.String() != "out\n" {
		t.Errorf("%v: standard output %.100q, error %q", err, out, errs.String())
	}
}

func TestContainerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "")
	for _, row := range []struct {
		program string
		status  int
	}{{"/no-such-program", 127}, {"/tmp", 126}, {"no-such-program", 127}} {
		b.configure(func(s *specs.Spec) { s.Process.Args = []string{row.program} })
		if err := os.WriteFile(b.output(), []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := b.run()
		if r.status != row.status || strings.Count(r.errs, "\n") != 1 || !strings.Contains(r.errs, row.program) {
			t.Errorf("%s: status %d, %q", row.program, r.status, r.errs)
		}
		if r.first != "{}\n" || r.last != r.first {
			t.Errorf("%s: the output has changed", row.program)
		}
	}
	b.configure(func(s *specs.Spec) { s.Process.Cwd = "relative" })
	if r := b.run(); r.status != 125 || !strings.HasSuffix(r.errs, "\n") || strings.Count(r.errs, "\n") != 1 {
		t.Errorf("a configuration that the runtime refuses: status %d, %q", r.status, r.errs)
	}
}

// The runtime changes the terminal. When quixote-export is killed, the terminal
// is as before all the same.
func TestContainerTerminalAfterAKill(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo re''ady; sleep 1000", func(s *specs.Spec) { s.Process.Terminal = true })
	export := b.export()
	term := onTerminal(t, b.command(append([]string{"sh", "-c", `"$@"; echo st''atus $?; read line`, "sh"}, export.Args...)...))
	settings := func() unix.Termios {
		termios, err := unix.IoctlGetTermios(int(term.keys.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *termios
	}
	before := settings()
	term.await("ready")
	if settings() == before {
		t.Error("the runtime has not changed the terminal")
	}
	shell := strconv.Itoa(term.cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + shell + "/task/" + shell + "/children")
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil || convErr != nil {
		t.Skipf("needs the children of a process in /proc: %v %v", err, convErr)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	term.await("status 137")
	term.await("is stopped and removed")
	if settings() != before {
		t.Error("the terminal is not as before")
	}
	b.gone()
}

func TestContainerWithoutRoot(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	need(t, "runc", "busybox", "setpriv")
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	const user = 4321
	b := makeBundle(t, []string{"--rootless"}, "id -u; mkdir /tmp/d; exit 5", func(s *specs.Spec) {
		s.Linux.UIDMappings[0].HostID, s.Linux.GIDMappings[0].HostID = user, user
	})
	run := filepath.Join(b.magazine, ".run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chown", "-R", "4321:4321", b.magazine).CombinedOutput(); err != nil {
		t.Fatalf("chown: %s", out)
	}
	b.wrap = []string{"setpriv", "--reuid", "4321", "--regid", "4321", "--clear-groups", "--"}
	b.env = []string{"XDG_RUNTIME_DIR=" + run, "HOME=" + run}
	if out, err := b.command("unshare", "-Ur", "true").CombinedOutput(); err != nil {
		t.Skipf("needs user namespaces without root: %s", out)
	}
	r := b.run()
	if r.status != 5 || r.out != "0\n" {
		t.Errorf("status %d, output %q, errors %q", r.status, r.out, r.errs)
	}
	if e := r.find("inode_mkdir", `/tmp/d"`); e == nil || !strings.HasPrefix(e.coe, `{"uid": "4321"`) {
		t.Errorf("mkdir: %+v", e)
	}
	if entries, err := os.ReadDir(run + "/quixote-export/containers"); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v (%v)", entries, err)
	}
}

func TestContainerIsJoined(t *testing.T) {
	t.Parallel()
	b := newBundle(t, "echo up; while [ ! -e /tmp/end ]; do sleep 0.1; done; exit 3")
	r := b.start()
	if out, err := b.runc("exec", b.name, "mkdir", "/tmp/joined").CombinedOutput(); err != nil {
		t.Fatalf("runc exec: %v: %s", err, out)
	}
	if out, err := b.runc("exec", b.name, "touch", "/tmp/end").CombinedOutput(); err != nil {
		t.Fatalf("runc exec: %v: %s", err, out)
	}
	if status := r.ended(); status != 3 {
		t.Errorf("status %d", status)
	}
	res := b.result()
	made := res.find("inode_mkdir", `/tmp/joined"`)
	if made == nil || made.Process != "mkdir" || made.Context != res.events[0].Context {
		t.Errorf("what was executed in the container is not in its context: %+v", made)
	}
	for _, e := range res.events {
		if e.Process == "runc:[2:INIT]" && e.Type != "file_open" {
			t.Errorf("the runtime is in the stream: %+v", e)
		}
	}
	b.gone()
}

func TestFiftyContainersLeaveNothing(t *testing.T) {
	t.Parallel()
	for range 5 {
		t.Run("ten", func(t *testing.T) {
			t.Parallel()
			b := newBundle(t, "exit $((40+2))")
			for i := range 10 {
				if r := b.run(); r.status != 42 || r.errs != "" || t.Failed() {
					t.Fatalf("run %d: status %d, %q", i, r.status, r.errs)
				}
			}
			left, _ := exec.Command("find", "/sys/fs/cgroup", "-name", b.name+"*").Output()
			if len(left) > 0 {
				t.Errorf("left over: %s", left)
			}
		})
	}
}
