// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bundle is a bundle of busybox in a magazine of its own.
type bundle struct {
	t        *testing.T
	name     string // unique on the host
	magazine string
	dir      string
	env      []string // of quixote-export and runc
	wrap     []string // words before their commands
}

// applets are what is linked to busybox.
var applets = []string{"sh", "cat", "chmod", "echo", "id", "ls", "mkdir", "sleep", "stty", "touch", "true"}

// newBundle makes a bundle that runs sh with that script, without a terminal.
func newBundle(t *testing.T, script string, changes ...func(*specs.Spec)) *bundle {
	t.Helper()
	needSeccomp(t)
	need(t, "runc", "busybox")
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	return makeBundle(t, nil, script, changes...)
}

func makeBundle(t *testing.T, flags []string, script string, changes ...func(*specs.Spec)) *bundle {
	t.Helper()
	b := &bundle{t: t, name: fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano())}
	var err error
	if b.magazine, err = os.MkdirTemp("", "magazine"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(b.magazine) })
	b.dir = filepath.Join(b.magazine, b.name)
	bin := filepath.Join(b.dir, "rootfs", "bin")
	for _, dir := range []string{"bin", "proc", "dev", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(b.dir, "rootfs", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(b.magazine, 0o755)
	os.Chmod(filepath.Join(b.dir, "rootfs", "tmp"), 0o777)
	program, _ := exec.LookPath("busybox")
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("/ld-linux")) {
		t.Skip("needs a static busybox (package busybox-static)")
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range applets {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("runc", append([]string{"spec", "--bundle", b.dir}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v: %s", err, out)
	}
	b.configure(func(s *specs.Spec) {
		s.Process.Terminal = false
		s.Process.Args = []string{"sh", "-c", script}
		s.Root.Readonly = false
		for _, change := range changes {
			change(s)
		}
	})
	t.Cleanup(func() { b.runc("delete", "--force", b.name).Run() })
	return b
}

// configure changes the bundle's configuration.
func (b *bundle) configure(change func(*specs.Spec)) {
	b.t.Helper()
	path := filepath.Join(b.dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	var s specs.Spec
	if err := json.Unmarshal(text, &s); err != nil {
		b.t.Fatal(err)
	}
	change(&s)
	if text, err = json.Marshal(&s); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) command(words ...string) *exec.Cmd {
	words = append(b.wrap, words...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), b.env...)
	return cmd
}

func (b *bundle) runc(words ...string) *exec.Cmd {
	return b.command(append([]string{"runc"}, words...)...)
}

// export is the command that runs the bundle. The stream goes to output.
func (b *bundle) export(flags ...string) *exec.Cmd {
	b.t.Helper()
	words := append([]string{exportProgram(b.t), "-w", b.name, "--magazine", b.magazine, "-o", b.output()}, flags...)
	return b.command(words...)
}

func (b *bundle) output() string { return filepath.Join(b.magazine, ".exp") }

// result is what came of a run.
type result struct {
	status      int
	out, errs   string
	events      []event
	first, last string // lines of the stream
}

// event is what the tests look at of an event.
type event struct {
	Process, Type, Number, Context string
	PID                            string `json:"pid"`
	cell, coe                      string
}

// run runs the bundle to its end.
func (b *bundle) run(flags ...string) result {
	b.t.Helper()
	cmd := b.export(flags...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		b.t.Fatal(err)
	}
	r := b.result()
	r.status, r.out, r.errs = cmd.ProcessState.ExitCode(), out.String(), errs.String()
	b.gone()
	return r
}

// result reads the stream.
func (b *bundle) result() (r result) {
	b.t.Helper()
	text, err := os.ReadFile(b.output())
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if r.first == "" {
			r.first = line
		}
		r.last = line
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			b.t.Fatalf("%v: %s", err, line)
		}
		if members["event"] == nil {
			continue
		}
		var e event
		if err := json.Unmarshal(members["event"], &e); err != nil {
			b.t.Fatal(err)
		}
		e.cell, e.coe = string(members[e.Type]), string(members["COE"])
		r.events = append(r.events, e)
	}
	return r
}

// find gives the first event of that type whose cell has the text.
func (r result) find(kind, text string) *event {
	for i, e := range r.events {
		if e.Type == kind && strings.Contains(e.cell, text) {
			return &r.events[i]
		}
	}
	return nil
}

// state is the status of the container, "" if there is none.
func (b *bundle) state() string {
	out, err := b.runc("state", b.name).Output()
	if err != nil {
		return ""
	}
	var s specs.State
	if err := json.Unmarshal(out, &s); err != nil {
		b.t.Fatal(err)
	}
	return string(s.Status)
}

// folder is where quixote-export keeps what the container is run with.
func (b *bundle) folder() string { return "/run/quixote-export/containers/" + b.name }

// gone checks that nothing is left of the container.
func (b *bundle) gone() {
	b.t.Helper()
	out, err := b.runc("list", "-q").Output()
	if err != nil || strings.Contains(string(out), b.name) {
		b.t.Errorf("runc lists the container still: %s (%v)", out, err)
	}
	if _, err := os.Lstat(b.folder()); err == nil && b.env == nil {
		b.t.Errorf("left over: %s", b.folder())
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), b.name) {
		b.t.Errorf("a mount is left over (%v)", err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for late := time.Now().Add(3 * time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("waited for too long: %s", what)
		}
	}
}

// running is a container that is being run, and has said that it is ready.
type running struct {
	*bundle
	cmd *exec.Cmd
	out *os.File
}

// start runs the bundle until its script has written a line.
func (b *bundle) start(flags ...string) *running {
	b.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := b.export(flags...)
	cmd.Stdout, cmd.Stderr = write, os.Stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	write.Close()
	b.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		read.Close()
	})
	r := &running{b, cmd, read}
	r.line("up")
	return r
}

// line waits for a line of the script.
func (r *running) line(want string) {
	r.t.Helper()
	r.out.SetReadDeadline(time.Now().Add(3 * time.Minute))
	b := make([]byte, 100)
	n, err := r.out.Read(b)
	if strings.TrimSpace(string(b[:n])) != want {
		r.t.Fatalf("the container says %q (%v), want %q", b[:n], err, want)
	}
}

// signal sends a signal to quixote-export.
func (r *running) signal(sig unix.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// ended waits for the end of quixote-export, and gives its status.
func (r *running) ended() int {
	r.t.Helper()
	timer := time.AfterFunc(3*time.Minute, func() { r.cmd.Process.Kill() })
	defer timer.Stop()
	r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

// child is the process that quixote-export has started with that word in its
// command line.
func (r *running) child(word string) int {
	r.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, path := range all {
		stat, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(stat), ") ")
		words, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(r.cmd.Process.Pid) && strings.Contains(string(words), word) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	r.t.Fatalf("quixote-export has no child with %q in its command line", word)
	return 0
}
