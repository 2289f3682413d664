// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quixote-export/tsem"
)

// folder holds what all tests need; TestMain removes it.
var folder string

// actorProgram is the test binary under the name that makes it an actor, in a
// place that everybody may reach.
var actorProgram = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if folder, err = os.MkdirTemp("", "quixote-test"); err != nil {
		return "", err
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, actorName)
	b, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, b, 0o755)
})

// anActor is the command line of the workload that does what is said.
func anActor(t *testing.T, words ...string) []string {
	t.Helper()
	path, err := actorProgram()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{path}, words...)
}

// options of a run.
type options struct {
	dir    string   // where to run, a new folder if empty
	flags  []string // besides -X and -o
	under  []string // the command line that runs quixote-export, if any
	uid    int      // as whom, 0: as ourselves
	status int      // the expected exit status
	stderr string   // what standard error must contain; empty: it must be empty
	noisy  bool     // standard error is the workload's: do not look at it
	env    []string // besides our own
	extra  []*os.File
	output string // -o, a file in a folder of its own if empty
	lost   bool   // losses are expected
	plain  bool   // no markers are expected

	limit time.Duration // how long it may take, 0: five minutes
}

// source is where the events come from.
func (o *options) source() string {
	if i := slices.Index(o.flags, "--source"); i >= 0 {
		return o.flags[i+1]
	}
	return "seccomp"
}

// stream is what one run wrote.
type stream struct {
	t      *testing.T
	dir    string
	events []*tsem.Event
	start  *tsem.Start
	end    *tsem.End
	lost   []*tsem.Lost
	stdout string
	stderr string
	status int
	raw    []byte
}

// openDir is a temporary folder that other users may enter, without symbolic
// links in its path.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// command is quixote-export -X with a command, not yet started.
func command(t *testing.T, o *options, words ...string) *exec.Cmd {
	t.Helper()
	if o.source() == "seccomp" {
		needSeccomp(t)
	}
	if o.dir == "" {
		o.dir = openDir(t)
	}
	if o.output == "" {
		dir := openDir(t)
		if o.uid != 0 {
			if err := os.Chown(dir, o.uid, o.uid); err != nil {
				t.Fatal(err)
			}
		}
		o.output = filepath.Join(dir, "out.exp")
	}
	args := append(slices.Clone(o.under), exportProgram(t), "-X", "-o", o.output)
	args = append(append(append(args, o.flags...), "--"), words...)
	ctx, stop := context.WithTimeout(t.Context(), cmp.Or(o.limit, 5*time.Minute)) // it hangs
	t.Cleanup(stop)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = o.dir
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C")
	c.Env = append(c.Env, o.env...)
	c.ExtraFiles = o.extra
	if o.uid != 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.uid)}}
	}
	return c
}

// run runs a command under quixote-export and reads what it wrote. What holds
// of every stream is checked here.
func run(t *testing.T, o options, words ...string) *stream {
	t.Helper()
	c := command(t, &o, words...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	s := finished(t, c, &o, errs.String())
	s.stdout = out.String()
	return s
}

// finished reads what a command wrote that has been waited for.
func finished(t *testing.T, c *exec.Cmd, o *options, stderr string) *stream {
	t.Helper()
	s := &stream{t: t, dir: o.dir, stderr: stderr, status: c.ProcessState.ExitCode()}
	if s.status != o.status {
		t.Errorf("status %d, want %d", s.status, o.status)
	}
	s.checkStderr(o)
	b, err := os.ReadFile(o.output)
	if err != nil {
		t.Fatalf("%v; standard error: %s", err, s.stderr)
	}
	s.read(b)
	s.check(o)
	return s
}

// soFar are the events of a run that goes on which have been written by now.
func soFar(t *testing.T, o *options, want func(*tsem.Event) bool) (events []*tsem.Event) {
	t.Helper()
	b, err := os.ReadFile(o.output)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if line[len(line)-1] != '\n' {
			break
		}
		if r := read(t, line); r.Event != nil && want(r.Event) {
			events = append(events, r.Event)
		}
	}
	return events
}

func (s *stream) checkStderr(o *options) {
	s.t.Helper()
	switch {
	case strings.Contains(s.stderr, "DATA RACE"):
		s.t.Errorf("standard error: %s", s.stderr)
	case o.noisy:
	case o.stderr == "" && s.stderr != "", !strings.Contains(s.stderr, o.stderr):
		s.t.Errorf("standard error: %q, want %q", s.stderr, o.stderr)
	}
}

// read parses a whole stream.
func (s *stream) read(b []byte) {
	s.t.Helper()
	s.raw = b
	if len(b) > 0 && b[len(b)-1] != '\n' {
		s.t.Fatalf("the last line has no end: %q", b[max(0, len(b)-200):])
	}
	for n, line := range slices.Collect(bytes.Lines(b)) {
		whole := n < 5_000 || n%10 == 0 // of long streams a sample: the race detector makes it slow
		if whole && !json.Valid(line) {
			s.t.Fatalf("line %d is not JSON: %s", n+1, line)
		}
		r := read(s.t, line)
		if whole {
			if again := r.AppendJSON(nil); !bytes.Equal(again, bytes.TrimSuffix(line, []byte("\n"))) {
				s.t.Errorf("read and written again\n%s\nbecomes\n%s", line, again)
			}
		}
		switch r.Kind {
		case tsem.KindStart:
			s.start = r.Start
		case tsem.KindEnd:
			s.end = r.End
		case tsem.KindLost:
			s.lost = append(s.lost, r.Lost)
		case tsem.KindEvent, tsem.KindAsyncEvent:
			s.events = append(s.events, r.Event)
		default:
			s.t.Fatalf("line %d is of kind %v: %s", n+1, r.Kind, line)
		}
	}
}

// read reads one line, into storage of its own.
func read(t *testing.T, line []byte) *tsem.Record {
	t.Helper()
	var p tsem.Parser
	r, err := p.Parse(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return r
}

// of are the events of some types.
func (s *stream) of(kinds ...tsem.Type) (events []*tsem.Event) {
	for _, e := range s.events {
		if slices.Contains(kinds, e.Type) {
			events = append(events, e)
		}
	}
	return events
}

// by are the events of a process name.
func (s *stream) by(process string) (events []*tsem.Event) {
	for _, e := range s.events {
		if string(e.Process) == process {
			events = append(events, e)
		}
	}
	return events
}

// opens are the events of opening the file at a path.
func (s *stream) opens(path string) (events []*tsem.Event) {
	for _, e := range s.of(tsem.FileOpen) {
		if string(e.Cell.(*tsem.FileCell).File.Path.Pathname) == path {
			events = append(events, e)
		}
	}
	return events
}

// text is a CELL as it is written.
func text(kind tsem.Type, c tsem.Cell) string {
	var e tsem.Event
	e.SetCell(kind, c)
	_, cell, _ := bytes.Cut(e.AppendJSON(nil), []byte(fmt.Sprintf(`, "%s": `, kind)))
	return kind.String() + " " + strings.TrimSuffix(string(cell), "}")
}
