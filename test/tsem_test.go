// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quixote-export/internal/source/tsem/standin"
	"quixote-export/tsem"
)

// tsemPlane mounts a stand-in for the control plane of a TSEM kernel.
func tsemPlane(t *testing.T, o standin.Options) *standin.Plane {
	t.Helper()
	needRoot(t)
	need(t, "fusermount3")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	p, err := standin.Mount(openDir(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// kernelRecords gives the records of a stream of a real kernel, each with its line
// feed, and those together that a name has split.
func kernelRecords(t *testing.T, name string) (records [][]byte) {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "streams", name+".jsonl.gz")
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		t.Skipf("needs the recorded streams, which are kept beside the project: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(all) {
		if !bytes.HasPrefix(line, []byte(`{"export"`)) && len(records) > 0 {
			last := len(records) - 1
			records[last] = append(slices.Clip(records[last]), line...)
			continue
		}
		records = append(records, line)
	}
	return records
}

// madeUp makes up n records of a context.
func madeUp(context uint64, first, n int) (records [][]byte) {
	for i := range n {
		e := tsem.Event{
			PID: 4711, TNum: 4712, Context: context, Number: uint64(first + i), Process: []byte("made"),
			TaskID: make(tsem.Digest, 32), PTaskID: make(tsem.Digest, 32), TS: uint64(1000 * (first + i)),
		}
		e.SetCell(tsem.TaskKill, &tsem.KillCell{Target: make(tsem.Digest, 32), Sig: uint32(i)})
		records = append(records, append(e.AppendJSON(nil), '\n'))
	}
	return records
}

// watchTSEM runs the program on a stand-in, and returns what it has written and
// said, and its status.
func watchTSEM(t *testing.T, p *standin.Plane, flags []string, command ...string) (out []byte, said string, status int) {
	t.Helper()
	path := filepath.Join(openDir(t), "out.exp")
	args := append([]string{"--securityfs", p.Dir, "-o", path}, flags...)
	if len(command) > 0 {
		args = append(append(args, "-X", "--"), command...)
	}
	c := exec.Command(exportProgram(t), args...)
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	var errs bytes.Buffer
	c.Stderr = &errs
	c.Run()
	out, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(out) {
		if !json.Valid(line) || line[len(line)-1] != '\n' {
			t.Fatalf("not a line of JSON: %q", line)
		}
	}
	return out, errs.String(), c.ProcessState.ExitCode()
}

func TestTSEMWorkload(t *testing.T) {
	for _, newer := range []bool{false, true} {
		t.Run(fmt.Sprintf("newer=%v", newer), func(t *testing.T) {
			want := madeUp(1, 1, 1000)
			p := tsemPlane(t, standin.Options{Newer: newer, Created: func(c *standin.Context) { c.Push(want...) }})
			out, said, status := watchTSEM(t, p, []string{"--no-markers"}, "sh", "-c", "exit 7")
			if status != 7 || said != "" {
				t.Errorf("status %d, said %q", status, said)
			}
			if !bytes.Equal(out, bytes.Join(want, nil)) {
				t.Errorf("%d lines, %d wanted", bytes.Count(out, []byte{'\n'}), len(want))
			}
			if got := strings.Join(p.Commands(), "\n"); got != "export nsref=initial digest=sha256" {
				t.Errorf("commands: %q", got)
			}
		})
	}
}
