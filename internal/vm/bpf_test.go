// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quixote-export/internal/vm/inside"
)

// kernels are those that are booted to take BPF programs on their security
// hooks: the oldest that is supported, and a newer one.
var kernels = []string{"6.1", "6.12"}

// inner are the packages with tests that need such programs, and which of their
// tests are run in the machines. Those that say there that they need them, with
// package inside, become tests of this package.
var inner = []struct{ name, path, run string }{
	{"bpf", "quixote-export/internal/source/bpf", "."},
	{"test", "quixote-export/test", "^TestBPF"},
}

func TestBPF(t *testing.T) {
	t.Parallel()
	var command Command
	command.Env = []string{inside.Env + "=1", "QUIXOTE_TEST_PROGRAM=/test/quixote-export", "QUIXOTE_TEST_DEEDS=/test/bpf.test"}
	script := "cd /test; status=0\n"
	dir := t.TempDir()
	build := func(name, path string, how ...string) {
		t.Helper()
		built := filepath.Join(dir, name)
		cmd := exec.Command("go", append(how, "-trimpath", "-ldflags", "-s -w", "-o", built, path)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", name, err, out)
		}
		command.Files = append(command.Files, Copy{From: built, To: "/test/" + name})
	}
	build("quixote-export", "quixote-export/cmd/quixote-export", "build")
	for _, p := range inner {
		build(p.name+".test", p.path, "test", "-c")
		script += "/test/" + p.name + ".test -test.v=test2json -test.timeout=40m -test.run='" + p.run + "' || status=1\n"
	}
	command.Args = []string{"bash", "-c", script + "exit $status"}
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			image := prepare(t, kernel)
			c := command
			var out bytes.Buffer
			c.Stdout, c.Stderr = &out, &out
			status, err := runAgain(t, image, c)
			if err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			if n := replay(t, &out); n < 2 || status != 0 && !t.Failed() {
				t.Errorf("%d tests were run, status %d\n%s", n, status, &out)
			}
		})
	}
}

// replay gives each result of the tests in a machine as a test of this one, and
// returns how many there were.
func replay(t *testing.T, out *bytes.Buffer) (n int) {
	t.Helper()
	convert := exec.Command("go", "tool", "test2json")
	convert.Stdin = bytes.NewReader(out.Bytes())
	converted, err := convert.Output()
	if err != nil {
		t.Fatalf("cannot read the results: %v\n%s", err, out)
	}
	said := make(map[string]*strings.Builder)
	lines := bufio.NewScanner(bytes.NewReader(converted))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		name, _, _ := strings.Cut(e.Test, "/")
		if said[name] == nil {
			said[name] = new(strings.Builder)
		}
		said[name].WriteString(e.Output)
		needs := strings.Contains(said[name].String(), inside.Mark)
		// What is in a test is told of with it.
		if e.Test == "" || e.Test != name || !needs && e.Action != "fail" {
			continue
		}
		switch e.Action {
		case "pass", "fail", "skip":
			n++
			t.Run(name, func(t *testing.T) {
				t.Logf("in the machine:\n%s", said[name])
				switch e.Action {
				case "fail":
					t.Fail()
				case "skip":
					t.Skip(strings.TrimSpace(said[name].String()))
				}
			})
		}
	}
	return n
}
