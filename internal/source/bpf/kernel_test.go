// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// Each deed is told of by an event of its type, with what was done in it, by
// nobody but the one who did it. It all begins with the exec of who does them.
func TestEveryEventIsToldInFull(t *testing.T) {
	needBPF(t)
	t.Chdir(t.TempDir())
	t.Setenv(acts, "1")
	file := recordTo(t)
	begun := time.Now()
	s := watched(t, Options{Timestamp: true}, file, "/proc/self/exe", "deeds", strconv.Itoa(len(deeds)))
	s.tells(t, len(deeds))
	s.beginsWithTheExec(t, begun)
}

// only is a model of a few types. To load and attach the programs of all others
// takes most of the time of a test that does not look at them.
func only(types ...tsem.Type) *model.Model {
	return model.Default().Where(func(t tsem.Type) bool { return slices.Contains(types, t) })
}

// tells compares a stream of the deeds with what is to be told of the first n.
func (s *stream) tells(t *testing.T, n int) {
	t.Helper()
	if !s.lost.None() {
		t.Errorf("lost %s", s.lost)
	}
	at := -1
	of := make([][]*tsem.Event, len(deeds)+1)
	for _, e := range s.events {
		if p, ok := e.Cell.(*tsem.PrctlCell); ok && p.Option == unix.PR_SET_TIMERSLACK && p.Arg2 >= marked {
			at = int(p.Arg2) - marked
			continue
		}
		if at >= 0 {
			of[at] = append(of[at], e)
		}
	}
	for i, d := range deeds[:n] {
		var types []string
		found := false
		for _, e := range of[i] {
			types = append(types, e.Type.String())
			if e.Type != d.typ {
				continue
			}
			if e.Async != d.typ.Info().Async {
				t.Errorf("%s is async: %v", e.Type, e.Async)
			}
			found = found || d.check(e.Cell)
		}
		if !found {
			t.Errorf("deed %d: no %s as it should be among %v", i, d.typ, types)
			for _, e := range of[i] {
				if e.Type == d.typ {
					t.Logf("%s", e.AppendJSON(nil))
				}
			}
		}
	}
}

// beginsWithTheExec wants the first event to be the workload's own exec, and what
// follows to have identities that depend on the program.
func (s *stream) beginsWithTheExec(t *testing.T, begun time.Time) {
	t.Helper()
	if len(s.events) < 2 {
		t.Fatalf("%d events", len(s.events))
	}
	first := s.events[0]
	f, ok := first.Cell.(*tsem.FileCell)
	if !ok || f.File.Flags != 0x8020 || nonzero(first.TaskID) || first.TTD != 0 || first.TNum != 1 || int(first.PID) != s.pid {
		t.Errorf("the first event is %s", first.AppendJSON(nil))
	}
	if first.Time.Before(begun.Add(-time.Minute)) || first.Time.After(time.Now().Add(time.Minute)) {
		t.Errorf("its time is %v", first.Time)
	}
	if f != nil && (f.File.DigestMissing != "" || len(f.File.Digest) != 32) {
		t.Errorf("the program has no digest: %s", f.File.DigestMissing)
	}
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	want := tsem.NewHasher(alg).TaskID(nil, alg.Zero(), &f.File)
	for i, e := range s.events {
		if e.Number != uint64(i+1) {
			t.Fatalf("event %d has number %d", i+1, e.Number)
		}
		if e.TTD == 1 && !bytes.Equal(e.TaskID, want) {
			t.Fatalf("the identity is %x, want %x", e.TaskID, want)
		}
	}
}

// Of many processes that are started at the same time every one is seen, and
// nobody else.
func TestParallelForks(t *testing.T) {
	needBPF(t)
	testForks(t, Options{}, 500)
}

func testForks(t *testing.T, o Options, n int) {
	t.Setenv(acts, "1")
	// A program that starts quickly, by a name that nobody else has.
	text, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "forked")
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	s := watched(t, o, nil, "/proc/self/exe", "forks", strconv.Itoa(n), program)
	if s.status != 0 {
		t.Errorf("the workload ended with %d", s.status)
	}
	if !s.lost.None() {
		t.Errorf("lost %s", s.lost)
	}
	execs := make(map[uint64]bool)
	for _, e := range s.events {
		if e.TTD > 1 {
			execs[e.TTD] = true
		}
		if string(e.Process) != "exe" && string(e.Process) != "forked" && !bytes.HasPrefix(e.Process, []byte("bpf.test")) && e.TTD > 0 {
			t.Fatalf("a stranger: %s", e.AppendJSON(nil))
		}
	}
	if len(execs) != n {
		t.Errorf("%d execs were seen, want %d", len(execs), n)
	}
}

// What has no room in the ring is counted: what was delivered and what was lost
// is what has happened, and numbers have gaps where something is missing.
func TestFloodOnASmallRing(t *testing.T) {
	needBPF(t)
	testFlood(t, Options{Ring: 4096, Model: only(tsem.FileOpen, tsem.TaskPrctl)})
}

func testFlood(t *testing.T, o Options) {
	t.Setenv(acts, "1")
	const threads, calls = 4, 20000
	s := watched(t, o, nil, "/proc/self/exe", "flood", "4", "20000")
	var delivered uint64
	for _, e := range s.events {
		if p, ok := e.Cell.(*tsem.PrctlCell); ok && p.Option == unix.PR_SET_TIMERSLACK && p.Arg2 >= marked {
			delivered++
		}
	}
	ring, exact := s.lost.Count(record.CauseRingFull)
	if ring == 0 || !exact {
		t.Fatalf("lost %s: the ring was not full", s.lost)
	}
	last := s.events[len(s.events)-1].Number
	if got := uint64(len(s.events)) + ring; last > got || delivered > threads*calls || got < threads*calls {
		t.Errorf("%d events and %d lost, the last number is %d; %d calls, %d of them told", len(s.events), ring, last, threads*calls, delivered)
	}
	next := uint64(1)
	var p tsem.Parser
	for _, line := range s.lines {
		r, err := p.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == tsem.KindLost {
			next += uint64(atoi(r.Lost.Count))
			continue
		}
		if r.Event.Number != next {
			t.Fatalf("event %d where %d should be", r.Event.Number, next)
		}
		next++
	}
}

// recordTo writes what comes out of the rings to the file of this variable, for
// the benchmark of the decoder.
func recordTo(t *testing.T) func([]byte, bool) {
	path := os.Getenv("QUIXOTE_BPF_RECORD")
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(b []byte, note bool) { writeEntry(f, b, note) }
}

// Where the kernel can make digests it makes those of what is executed and
// mapped, once each, and they are right.
func TestTheKernelMakesDigests(t *testing.T) {
	needBPF(t)
	if _, err := os.Stat("/sys/kernel/security/ima"); err != nil {
		t.Skip("this kernel makes no digests: ", err)
	}
	made := make(map[string]int)
	s := watched(t, Options{Model: only(tsem.FileOpen, tsem.MmapFile)}, func(b []byte, note bool) {
		if note && binary.NativeEndian.Uint16(b) == noteDigest {
			made[hex.EncodeToString(b[56:56+sha256.Size])]++
		}
	}, "sh", "-c", "cat /etc/hostname; cat /etc/hostname")
	if len(made) == 0 {
		t.Fatal("the kernel has made no digest")
	}
	for digest, n := range made {
		if n != 1 {
			t.Errorf("%s was made %d times", digest, n)
		}
	}
	checked := 0
	for _, e := range s.events {
		m, ok := e.Cell.(*tsem.MmapCell)
		if !ok || !m.HasFile {
			continue
		}
		text, err := os.ReadFile(string(m.File.Path.Pathname))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		if !bytes.Equal(sum[:], m.File.Digest) || made[hex.EncodeToString(sum[:])] == 0 {
			t.Errorf("%s has digest %x, should have %x; it is among those of the kernel: %v",
				m.File.Path.Pathname, m.File.Digest, sum, made[hex.EncodeToString(sum[:])] > 0)
		}
		checked++
	}
	if checked == 0 {
		t.Error("no file was mapped")
	}
}
