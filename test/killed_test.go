// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// killRounds is how often each of the processes of a run is killed, at a moment
// that is not known before.
const killRounds = 70

// untended is a workload that leaves processes of every kind: some that make no
// call any more, in sessions of their own, and one that makes a file after the
// other.
const untended = `(setsid sleep 100000 & ) ; setsid sh -c 'sleep 100000 & wait' & sleep 100000 &
i=0; while :; do : > f$i; i=$((i+1)); done`

// Whichever process of ours is killed, and whenever: nothing of the workload is
// left a moment later, and what it did is recorded, to the last act, in a file
// of whole lines whose last says that the export was cut.
func TestKilled(t *testing.T) {
	t.Parallel()
	program := quickProgram(t)
	var mu sync.Mutex
	var slowest time.Duration
	for _, row := range []struct {
		name string
		// victim finds the process, 0: it is not there (yet).
		victim func(supervisor int) int
		status []int
		cut    bool
	}{
		{"supervisor", func(pid int) int { return pid }, []int{-1}, true},
		{"watchdog", child, []int{125}, true},
		{"command", func(pid int) int { return child(child(pid)) }, []int{125, 137}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range killRounds / 10 {
				t.Run("rounds", func(t *testing.T) {
					t.Parallel()
					for range 10 {
						k := &killing{t: t, program: program, victim: row.victim, status: row.status, cut: row.cut}
						took := k.run()
						mu.Lock()
						slowest = max(slowest, took)
						mu.Unlock()
					}
				})
			}
		})
	}
	t.Logf("in the slowest of %d cases the workload was gone after %v", 3*killRounds, slowest)
}

// quickProgram is the program without the race detector: how fast it is decides
// when it is hit.
func quickProgram(t *testing.T) string {
	t.Helper()
	needSeccomp(t)
	path := filepath.Join(openDir(t), "quixote-export")
	if err := buildProgram(path); err != nil {
		t.Fatal(err)
	}
	return path
}

type killing struct {
	t       *testing.T
	program string
	victim  func(int) int
	status  []int
	cut     bool
}

// run has a workload run for a while, kills, and looks at what is left. It
// returns how long it took until the workload was gone.
func (k *killing) run() time.Duration {
	t := k.t
	dir := openDir(t)
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	mark := fmt.Sprintf("QUIXOTE_MARK=%s", dir)
	output := filepath.Join(dir, "out.exp")
	c := exec.Command(k.program, "-X", "--no-wait", "-o", output, "--", "sh", "-c", untended)
	c.Dir = work
	c.Env = append(os.Environ(), mark)
	// In a group of its own, as a shell would have it.
	c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(rand.Int64N(int64(120 * time.Millisecond)))) // the moment is to be any
	pid := 0
	for pid = k.victim(c.Process.Pid); pid == 0; pid = k.victim(c.Process.Pid) {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	unix.Kill(pid, unix.SIGKILL)
	for left := marked(mark, c.Process.Pid); len(left) > 0; left = marked(mark, c.Process.Pid) {
		if time.Since(begin) > 10*time.Second {
			t.Fatalf("after %v these are left: %v", time.Since(begin), left)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(begin)
	c.Wait()
	if got := c.ProcessState.ExitCode(); !slices.Contains(k.status, got) {
		t.Errorf("status %d, want one of %v; %q", got, k.status, errs.String())
	}
	k.examine(output, work, errs.String())
	return took
}

// examine compares the stream with what the workload has done.
func (k *killing) examine(output, work, said string) {
	t := k.t
	made, err := filepath.Glob(filepath.Join(work, "f*"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(output)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(b) == 0 {
		if len(made) > 0 {
			t.Errorf("the workload has made %d files, and nothing of it is recorded; %q", len(made), said)
		}
		return
	}
	s := &stream{t: t}
	s.read(b)
	if s.end != nil {
		s.status, _ = strconv.Atoi(s.end.Status)
	}
	s.check(&options{lost: k.cut})
	recorded := make(map[string]bool)
	for i, e := range s.events {
		if e.Number != uint64(i+1) {
			t.Fatalf("event %d has the number %d", i+1, e.Number)
		}
		if e.Type == tsem.InodeCreate {
			recorded[filepath.Base(string(e.Cell.(*tsem.CreateCell).Dentry.Path.Pathname))] = true
		}
	}
	for _, path := range made {
		if !recorded[filepath.Base(path)] {
			t.Errorf("%s was made, and is not recorded (%d files, %d records of them); %q", filepath.Base(path), len(made), len(recorded), said)
		}
	}
	if s.end == nil || (s.end.Cut == "killed") != k.cut || s.end.Events != uint64(len(s.events)) {
		t.Errorf("with %d events the end is %+v; %q", len(s.events), s.end, said)
	}
	if k.cut && (len(s.lost) != 1 || s.lost[0].Cause != "killed") {
		t.Errorf("losses: %+v", s.lost)
	}
}

// child is the first child of a process, 0 if it has none.
func child(of int) int {
	for _, pid := range pids() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if parent, _ := strconv.Atoi(fields[1]); of != 0 && parent == of && fields[0] != "Z" {
			return pid
		}
	}
	return 0
}

// marked lists the processes, besides one, that have a mark in their
// environment.
func marked(mark string, but int) (list []int) {
	for _, pid := range pids() {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err == nil && pid != but && bytes.Contains(env, []byte(mark)) {
			list = append(list, pid)
		}
	}
	return list
}

func pids() (list []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}
