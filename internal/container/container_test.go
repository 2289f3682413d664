// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLook(t *testing.T) {
	if _, err := lookIn([]string{t.TempDir(), "/no/such/folder"}); err == nil || err.Error() != "cannot run a container: runc is not installed" {
		t.Error(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "runc")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := lookIn([]string{dir}); err == nil || err.Error() != "cannot run a container: "+path+" is not executable" {
		t.Error(err)
	}
	good := t.TempDir()
	if err := os.WriteFile(filepath.Join(good, "runc"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := lookIn([]string{dir, good}); err != nil || found != filepath.Join(good, "runc") {
		t.Errorf("%s, %v", found, err)
	}
}

// standIn is a runtime that behaves as the script says.
func standIn(t *testing.T, script string) runtime {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return runtime{path}
}

func TestState(t *testing.T) {
	for _, row := range []struct{ name, script, bundle, err string }{
		{"there", `echo '{"ociVersion": "1.0.2", "id": "a", "bundle": "/b", "status": "running"}'`, "/b", ""},
		{"not there", `echo '{"level":"error","msg":"container does not exist"}' >&2; exit 1`, "", ""},
		{"failure", `printf '%s' '{"level":"error","msg":"open x:\n permission denied"}' >&2; exit 1`, "", `cannot look for a container "a": open x: permission denied`},
		{"silent", "exit 3", "", `cannot look for a container "a": exit status 3`},
		{"nonsense", "echo hello", "", "cannot understand what runc says"},
	} {
		t.Run(row.name, func(t *testing.T) {
			st, err := standIn(t, row.script).state("a")
			if err == nil && row.err != "" || err != nil && (row.err == "" || !strings.HasPrefix(err.Error(), row.err)) {
				t.Fatalf("got %v", err)
			}
			if (st != nil) != (row.bundle != "") || st != nil && st.Bundle != row.bundle {
				t.Errorf("got %+v", st)
			}
		})
	}
}

func TestClaim(t *testing.T) {
	const nothing = `echo '{"level":"error","msg":"container does not exist"}' >&2; exit 1`
	dir := t.TempDir()
	silent := func(line string) { t.Errorf("notice: %s", line) }
	path := standIn(t, nothing).path
	c, err := Claim(path, dir, "a", silent)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Configure([]byte("{}")); err != nil {
		t.Error(err)
	}
	if _, err := Claim(path, dir, "a", silent); err == nil || !strings.Contains(err.Error(), "is run by another quixote-export") {
		t.Errorf("claimed twice: %v", err)
	}
	other, err := Claim(path, dir, "b", silent)
	if err != nil {
		t.Fatal(err)
	}
	other.Abandon()
	// Who was killed while it ran is waited for, since somebody cleans up.
	c.alive.Close()
	claimed := make(chan error)
	var next *Container
	go func() {
		var err error
		next, err = Claim(path, dir, "a", silent)
		claimed <- err
	}()
	select {
	case err := <-claimed:
		t.Fatalf("claimed while it was being cleaned up: %v", err)
	case <-time.After(5 * pace):
	}
	c.Abandon()
	if err := <-claimed; err != nil {
		t.Fatal(err)
	}
	next.Abandon()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v (%v)", entries, err)
	}

	// What a run has left is removed, but not what is somebody else's.
	ours := filepath.Join(dir, "a")
	removed := filepath.Join(t.TempDir(), "removed")
	script := `case "$*" in *state*) echo '{"id": "a", "bundle": "BUNDLE"}';; *delete*) echo "$*" > ` + removed + ";; esac"
	os.Mkdir(ours, 0o700)
	os.WriteFile(filepath.Join(ours, "config.json"), nil, 0o600)
	told := ""
	c, err = Claim(standIn(t, strings.Replace(script, "BUNDLE", ours, 1)).path, dir, "a", func(line string) { told = line })
	if err != nil || !strings.Contains(told, `"a" that an earlier run has left behind`) {
		t.Fatalf("%v, told %q", err, told)
	}
	if words, err := os.ReadFile(removed); err != nil || !strings.Contains(string(words), "delete --force a") {
		t.Errorf("removed: %s (%v)", words, err)
	}
	if entries, _ := os.ReadDir(ours); len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
	c.Abandon()
	os.Remove(removed)
	if _, err = Claim(standIn(t, strings.Replace(script, "BUNDLE", "/elsewhere", 1)).path, dir, "a", silent); err == nil || !strings.Contains(err.Error(), "not ours") {
		t.Errorf("somebody else's: %v", err)
	}
	if _, err := os.Stat(removed); err == nil {
		t.Error("somebody else's container was removed")
	}
}

func TestTheFolderOfALongNameIsShort(t *testing.T) {
	long := strings.Repeat("a", 255)
	if n := len(folder(long)); n > 40 || folder(long) == folder(long[1:]) || folder("demo") != "demo" {
		t.Errorf("%d bytes", n)
	}
}

func TestWhyAContainerDidNotStart(t *testing.T) {
	for _, row := range []struct {
		msg                     string
		fails, notFound, closed bool
	}{
		{`runc run failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory`, true, true, false},
		{`runc run failed: unable to start container process: exec: \"nope\": executable file not found in $PATH`, true, true, false},
		{`runc run failed: unable to start container process: exec: \"/tmp\": permission denied`, true, false, true},
		{`runc run failed: Cwd must be an absolute path`, true, false, false},
		{`something else`, false, false, false},
	} {
		log := filepath.Join(t.TempDir(), "log")
		os.WriteFile(log, []byte(`{"level":"warning","msg":"w"}`+"\n"+`{"level":"error","msg":"`+row.msg+`"}`+"\nnonsense"), 0o600)
		err := failure(log)
		e, ok := err.(*StartError)
		if ok != row.fails || ok && (e.NotFound() != row.notFound || e.NotExecutable() != row.closed) {
			t.Errorf("%s: %v", row.msg, err)
		}
	}
	if err := failure("/no/such/log"); err != nil {
		t.Error(err)
	}
}

func TestHandles(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap : TERM; trap '' HUP; echo; read line")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	out.Read(make([]byte, 1))
	for sig, want := range map[unix.Signal]bool{unix.SIGTERM: true, unix.SIGHUP: true, unix.SIGUSR1: false} {
		if got := handles(cmd.Process.Pid, sig); got != want {
			t.Errorf("%v: %v", sig, got)
		}
	}
}

// inContainer runs a shell script as the first process of a container, below a
// stand-in for the runtime, and waits until it has written a line.
func inContainer(t *testing.T, script string) (c *Container, runtime int, in *os.File, ended chan struct{}) {
	t.Helper()
	c = &Container{Name: "a", dir: t.TempDir(), runtime: standIn(t, "")}
	cmd := exec.Command("sh", "-c", `sh -c "$1" <&3 & echo $! > pid.new; mv pid.new pid; wait $!`, "sh", script)
	cmd.Dir = c.dir
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{read}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	out.Read(make([]byte, 1))
	for {
		if pid, _ := c.first(cmd.Process.Pid); pid != 0 {
			break
		}
		time.Sleep(pace)
	}
	ended = make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		c.Kill(cmd.Process.Pid, ended)
		write.Close()
		<-ended
	})
	return c, cmd.Process.Pid, write, ended
}

// over waits for something that is about to happen.
func over(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(grace - time.Second):
		t.Errorf("%s takes too long", what)
	}
}

func TestStop(t *testing.T) {
	t.Run("not handled", func(t *testing.T) {
		c, runtime, _, ended := inContainer(t, "echo; exec cat")
		c.Stop(runtime, unix.SIGTERM, ended)
		over(t, "the end", ended)
	})
	t.Run("handled", func(t *testing.T) {
		c, runtime, in, ended := inContainer(t, "trap 'exit 0' HUP; echo; read line")
		c.Stop(runtime, unix.SIGHUP, ended)
		select {
		case <-ended:
			t.Error("it was killed")
		default:
		}
		in.WriteString("\n")
		over(t, "the end", ended)
	})
	t.Run("still the runtime's", func(t *testing.T) {
		c, runtime, in, ended := inContainer(t, "trap : HUP; printf 'runc:[2:INIT]' > /proc/$$/comm; echo; read line; exec cat")
		returned := make(chan struct{})
		go func() {
			c.Stop(runtime, unix.SIGHUP, ended)
			close(returned)
		}()
		select {
		case <-returned:
			t.Error("the handler of the runtime was taken for that of the program")
		case <-time.After(5 * pace):
		}
		in.WriteString("\n")
		over(t, "the end", ended)
		over(t, "to stop it", returned)
	})
	t.Run("not there yet", func(t *testing.T) {
		c, runtime, in, ended := inContainer(t, "echo; exec cat")
		os.Remove(filepath.Join(c.dir, pidFile))
		c.Kill(runtime, ended)
		over(t, "the end of the runtime", ended)
		in.Close()
	})
}
