// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quixote-export/tsem"
)

//go:embed testdata/program.sh
var programScript []byte

// TestProgram runs the program on stock kernels: the oldest that has what the
// bpf source needs, and a newer one.
func TestProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "quixote-export")
	build := exec.Command("go", "build", "-o", program, "quixote-export/cmd/quixote-export")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the program: %v\n%s", err, text)
	}
	script := filepath.Join(dir, "program.sh")
	if err := os.WriteFile(script, programScript, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			image := prepare(t, kernel)
			r := &results{dir: filepath.Join(t.TempDir(), "out")}
			var words bytes.Buffer
			status, err := runAgain(t, image, Command{
				Args:   []string{"bash", "/program.sh"},
				Files:  []Copy{{program, "/usr/bin/quixote-export"}, {script, "/program.sh"}},
				Get:    []Copy{{"/out", r.dir}},
				Stdout: &words, Stderr: &words,
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, words.Bytes())
			}
			if status != 0 {
				t.Errorf("status %d\n%s", status, words.Bytes())
			}
			if text, err := os.ReadFile(filepath.Join(r.dir, "gave-up")); err == nil {
				t.Errorf("%s\n%s", text, r.text(t, "errors"))
			}
			for _, part := range []struct {
				name  string
				check func(*testing.T, *results)
			}{
				{"Command", checkCommand}, {"Namespaces", checkNamespaces}, {"Container", checkContainer},
				{"Killed", checkKilled}, {"Host", checkHost},
				{"HostReaderKilled", checkHostReaderKilled}, {"HostFlood", checkHostFlood},
			} {
				t.Run(part.name, func(t *testing.T) { part.check(t, r) })
			}
		})
	}
}

// results is what the script has left.
type results struct{ dir string }

func (r *results) text(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (r *results) equal(t *testing.T, name, want string) {
	t.Helper()
	if got := strings.TrimSuffix(r.text(t, name), "\n"); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func (r *results) number(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(r.text(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stream is one export that was read.
type stream struct {
	kernel map[string]int // acts, as process, type, pathname
	events uint64
	last   uint64 // number of the last event
	lost   uint64
	again  int // records that came twice
	first  *tsem.Event
}

// read reads an export whose first event has the number behind after: each event
// follows the one before, but for what is told to be lost; one that comes again
// is the same.
func (r *results) read(t *testing.T, name string, after uint64) *stream {
	t.Helper()
	s := &stream{kernel: make(map[string]int), last: after}
	seen := make(map[uint64]string)
	for line := range strings.Lines(r.text(t, name)) {
		var p tsem.Parser
		rec, err := p.Parse([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			t.Fatalf("%s: %v in %q", name, err, line)
		}
		if rec.Kind == tsem.KindLost {
			if rec.Lost.Count == "" && rec.Lost.Cause == "killed" {
				continue
			}
			n, err := strconv.ParseUint(rec.Lost.Count, 10, 64)
			if err != nil || rec.Lost.After != s.last {
				t.Fatalf("%s: after event %d: %s", name, s.last, line)
			}
			s.lost += n
			s.last += n
		}
		if rec.Kind != tsem.KindEvent && rec.Kind != tsem.KindAsyncEvent {
			continue
		}
		e := rec.Event
		if before, ok := seen[e.Number]; ok {
			s.again++
			if before != line {
				t.Fatalf("%s: event %d differs\n%s%s", name, e.Number, before, line)
			}
			continue
		}
		if e.Number != s.last+1 {
			t.Fatalf("%s: event %d follows %d", name, e.Number, s.last)
		}
		seen[e.Number] = line
		s.last = e.Number
		s.events++
		if s.first == nil {
			first := *e
			first.Process = slices.Clone(e.Process)
			s.first = &first
		}
		s.kernel[act(e, line)]++
	}
	return s
}

var pathname = regexp.MustCompile(`"pathname": "([^"]*)"`)

// act names an event by who did what to which files.
func act(e *tsem.Event, line string) string {
	words := []string{string(e.Process), e.Type.String()}
	for _, m := range pathname.FindAllStringSubmatch(line, -1) {
		words = append(words, m[1])
	}
	return strings.Join(words, " ")
}

// wants fails for each act that is not there as often as it should.
func (s *stream) wants(t *testing.T, acts map[string]int) {
	t.Helper()
	for a, n := range acts {
		if s.kernel[a] != n {
			t.Errorf("%d times %q, want %d", s.kernel[a], a, n)
		}
	}
}

// none fails if an act that begins so is there.
func (s *stream) none(t *testing.T, begins string) {
	t.Helper()
	for a := range s.kernel {
		if strings.HasPrefix(a, begins) {
			t.Errorf("there is %q", a)
		}
	}
}

func checkCommand(t *testing.T, r *results) {
	r.equal(t, "command.status", "7")
	r.equal(t, "command.out", "first")
	if text := r.text(t, "command.err"); !strings.Contains(text, "-n has no effect: only the tsem source has such a cache, and the events come from bpf") {
		t.Errorf("it said %q", text)
	}
	for _, line := range []string{"bpf      available", "auto     bpf for a workload, bpf for the whole host"} {
		if text := r.text(t, "sources"); !strings.Contains(text, line) {
			t.Errorf("no %q among the sources:\n%s", line, text)
		}
	}
	if text := r.text(t, "abspath.exp"); !strings.Contains(text, `"source": "seccomp"`) {
		t.Errorf("with --abspath there is\n%s", text)
	}
	s := r.read(t, "command.exp", 0)
	if s.lost != 0 || s.first == nil || s.first.Type != tsem.FileOpen {
		t.Fatalf("lost %d, first %+v", s.lost, s.first)
	}
	s.wants(t, map[string]int{
		"cat file_open /tmp/work/a": 1,
	})
	found := 0
	for a := range s.kernel {
		for _, want := range []string{"mv inode_rename ", "chmod inode_setattr ", "rm inode_unlink "} {
			if strings.HasPrefix(a, want) {
				found++
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of 3 acts", found)
	}
}

func checkNamespaces(t *testing.T, r *results) {
	r.equal(t, "spaces.status", "0")
	s := r.read(t, "spaces.exp", 0)
	for _, name := range []string{"/tmp/work/jail/made/in-jail", "/tmp/work/m/made/in-space", "/tmp/work/n/in-mount", "/tmp/work/by-thread"} {
		found := 0
		for a, n := range s.kernel {
			if strings.HasSuffix(a, " file_open "+name) {
				found += n
			}
		}
		if found != 1 {
			t.Errorf("%d times opened %s", found, name)
		}
	}
	inside := false
	for line := range strings.Lines(r.text(t, "spaces.exp")) {
		if strings.Contains(line, `"process": "chown"`) {
			inside = true
			if !strings.Contains(line, `"COE": {"uid": "0", "euid": "0"`) {
				t.Errorf("ids are not those of the namespace: %s", line)
			}
		}
	}
	if !inside {
		t.Error("nothing was done in the user namespace")
	}
}

func checkContainer(t *testing.T, r *results) {
	r.equal(t, "container.status", "5")
	r.equal(t, "container.left", "")
	s := r.read(t, "container.exp", 0)
	if s.first == nil || s.first.Type != tsem.FileOpen || s.first.TTD != 0 {
		t.Fatalf("the first event is %+v", s.first)
	}
	for _, name := range []string{"/tmp/work/by-hook", "/tmp/first", "/tmp/joined", "/tmp/entrant"} {
		s.wants(t, map[string]int{"touch file_open " + name: 1})
	}
	if text := r.text(t, "container.exp"); strings.Contains(text, "/tmp/stranger") {
		t.Error("who is in the mount namespace alone is told of")
	}
	s.none(t, "runc file_")
}

func checkKilled(t *testing.T, r *results) {
	r.equal(t, "killed.status", "137")
	before, during, after := r.number(t, "killed.before"), r.number(t, "killed.during"), r.number(t, "killed.after")
	if during < before+50 || after != before {
		t.Errorf("%d BPF programs before, %d while it ran, %d after", before, during, after)
	}
	s := r.read(t, "killed.exp", 0)
	s.wants(t, map[string]int{"touch file_open /tmp/work/alive": 1})
}

func checkHost(t *testing.T, r *results) {
	for name, want := range map[string]string{
		"install.status": "0", "host1.status": "0", "host2.status": "0", "follow.status": "0", "second.status": "125", "remove.status": "0", "remove.left": "",
	} {
		r.equal(t, name, want)
	}
	if text := r.text(t, "second.err"); text != "quixote-export: another quixote-export exports the root context: only one can\n" {
		t.Errorf("the second reader was told %q", text)
	}
	one := r.read(t, "host1.exp", 0)
	found := 0
	for a := range one.kernel {
		if strings.HasPrefix(a, "mv inode_rename ") || strings.HasPrefix(a, "rm inode_unlink ") {
			found++
		}
	}
	if found != 2 || one.lost != 0 {
		t.Errorf("%d of 2 acts, lost %d", found, one.lost)
	}
	one.none(t, "mkdir ")
	one.none(t, "quixote-export ")
	two := r.read(t, "host2.exp", one.last)
	two.none(t, "mv ")
	two.none(t, "quixote-export ")
	if found := fmt.Sprint(two.kernel); !strings.Contains(found, "mkdir inode_mkdir ") {
		t.Error("what was done since is missing")
	}
	number := r.read(t, "inner.exp", 0).first.Context
	inner := fmt.Sprintf(`"context": "%d", "number": `, number)
	for line := range strings.Lines(r.text(t, "host2.exp")) {
		if strings.Contains(line, `"process": "touch"`) != strings.Contains(line, inner) {
			t.Errorf("whose context is %d: %s", number, line)
		}
	}
	follow := r.read(t, "follow.exp", two.last)
	r.equal(t, "shell.status", "4")
	shell := r.read(t, "shell.exp", follow.last)
	shell.wants(t, map[string]int{"touch file_open /tmp/work/by-shell": 1})
	shell.none(t, "quixote-export ")
}

func checkHostReaderKilled(t *testing.T, r *results) {
	lines := strings.SplitAfter(r.text(t, "kills.exp"), "\n")
	var p tsem.Parser
	first := uint64(0)
	for _, line := range lines {
		if rec, err := p.Parse([]byte(strings.TrimSuffix(line, "\n"))); err == nil && rec.Kind == tsem.KindEvent {
			first = rec.Event.Number
			break
		}
	}
	s := r.read(t, "kills.exp", first-1)
	t.Logf("%d events, %d of them twice, lost %d", s.events, s.again, s.lost)
	if s.lost > 0 || s.events < 1000 {
		t.Errorf("%d events, lost %d", s.events, s.lost)
	}
	r.equal(t, "kills.status", "0")
}

func checkHostFlood(t *testing.T, r *results) {
	r.equal(t, "flood.status", "123")
	s := r.read(t, "flood.exp", 0)
	if s.lost == 0 || s.events == 0 {
		t.Errorf("%d events, lost %d", s.events, s.lost)
	}
	for a := range s.kernel {
		if strings.Contains(a, " file_fcntl ") {
			t.Errorf("%q was not left out", a)
			break
		}
	}
	if text := r.text(t, "flood.err"); !strings.Contains(text, fmt.Sprintf("lost: %d ring_full", s.lost)) {
		t.Errorf("it said %q, lost are %d", text, s.lost)
	}
}
