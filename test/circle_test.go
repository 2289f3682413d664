// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// little gives quixote-export room for half a megabyte of records: files may not
// be larger.
var little = []string{"prlimit", "--fsize=1000000"}

// fifo makes one in a folder of its own.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(openDir(t), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// circles are workloads that read what is recorded of them, and make more
// records than they read. The output is $OUT.
var circles = []struct{ name, script string }{
	{"who does not read", `exec 3< "$OUT"; : > f; while :; do : < f; done`},
	{"who makes more than it reads", `: > f; while read -r line; do i=0; while [ $i -lt 99 ]; do : < f; i=$((i+1)); done; done < "$OUT"`},
	{"who waits for a child", `exec 3< "$OUT"; : > f; (while :; do : < f; done)`},
	{"who passes it on", `cat "$OUT" | (: > f; while :; do : < f; done)`},
}

// A workload that reads its own records, and cannot since it waits until they
// are written, is told of and ended, or goes on.
func TestOutputReadByTheWorkload(t *testing.T) {
	t.Parallel()
	need(t, "prlimit")
	for _, row := range circles {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path := fifo(t)
			u := begin(t, options{output: path, env: []string{"OUT=" + path}}, row.script, little...)
			u.ended(123, "cannot write "+path+": whoever reads it belongs to the workload, and waits until it is written (read it outside of the workload); the workload is stopped", "output_stuck")
		})
	}
}

// With --on-output-error=continue it goes on without the records that it kept
// from being written.
func TestOutputReadByTheWorkloadGoesOn(t *testing.T) {
	need(t, "prlimit")
	t.Parallel()
	path := fifo(t)
	script := `exec 3< "$OUT"; : > f; while [ ! -e stop ]; do : < f; done; exec grep -m1 '"cause": "output_stuck"' <&3 > got`
	u := begin(t, options{output: path, env: []string{"OUT=" + path}, flags: []string{"--on-output-error=continue"}}, script, little...)
	u.told("the workload goes on")
	u.stop()
	u.ended(123, "whoever reads it belongs to the workload", "missing from "+path+": ")
	got := u.content(filepath.Join(u.o.dir, "got"))
	if l := read(t, []byte(got)).Lost; l == nil || l.Count == "" || l.Count == "0" {
		t.Errorf("the workload has read %q", got)
	}
}

// A reader outside of the workload is waited for, however slow it is.
func TestOutputWithASlowReader(t *testing.T) {
	need(t, "prlimit")
	t.Parallel()
	path := fifo(t)
	u := begin(t, options{output: path}, busy, little...)
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	in := bufio.NewReader(reader)
	if _, err := in.Peek(1); err != nil {
		t.Fatal(err)
	}
	// The workload is held when it does not get on any more.
	eventually(t, "a workload that waits", func() bool {
		held, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", child(child(u.cmd.Process.Pid))))
		return err == nil && bytes.Contains(held, []byte("seccomp"))
	})
	time.Sleep(6 * time.Second) // nothing may happen: there is nothing to wait for
	u.stop()
	var got bytes.Buffer
	if _, err := got.ReadFrom(in); err != nil {
		t.Fatal(err)
	}
	u.ended(0)
	s := &stream{t: t}
	s.read(got.Bytes())
	if s.end == nil || s.end.Lost != "0" {
		t.Errorf("the end is %+v", s.end)
	}
}

// Who has been told to end does not wait for a reader any more.
func TestEndWithoutAReader(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, script string
		open         bool
	}{
		{"that never came", ": > ended; exit 3", false},
		{"that does not read", `: > f; i=0; while [ $i -lt 500 ]; do : < f; i=$((i+1)); done; : > ended; exit 3`, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path := fifo(t)
			if row.open {
				reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
			}
			u := begin(t, options{output: path}, row.script)
			eventually(t, "the end of the command", func() bool {
				_, err := os.Stat(filepath.Join(u.o.dir, "ended"))
				return err == nil && child(child(u.cmd.Process.Pid)) == 0
			})
			// One that comes before we know of the end is for the command.
			over := make(chan bool)
			defer close(over)
			go func() {
				for u.cmd.Process.Signal(unix.SIGTERM) == nil {
					select {
					case <-over:
						return
					case <-time.After(100 * time.Millisecond):
					}
				}
			}()
			u.ended(3, "its reader takes nothing, and the export was told to end", "output_stuck")
		})
	}
}
