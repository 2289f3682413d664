// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// lean is the program without the race detector, whose memory grows by itself.
var lean = sync.OnceValues(func() (string, error) {
	race, err := built()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(race), "lean", "quixote-export")
	return path, buildProgram(path)
})

// flood is a run of the workload flood.
type flood struct {
	t    *testing.T
	o    options
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs strings.Builder
	file string // that everybody opens
}

// startFlood starts quixote-export with that workload. What is under it takes
// the program as its last words.
func startFlood(t *testing.T, o options, words ...string) *flood {
	t.Helper()
	f := &flood{t: t, o: o}
	f.cmd = command(t, &f.o, append([]string{program(t, "flood", "-static")}, words...)...)
	f.file = filepath.Join(f.o.dir, "f")
	if err := os.WriteFile(f.file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := lean()
	if err != nil {
		t.Fatal(err)
	}
	f.cmd.Args[len(o.under)] = path
	if len(o.under) == 0 {
		f.cmd.Path = path
	}
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.out, f.cmd.Stderr = bufio.NewReader(out), &f.errs
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return f
}

// line is the next one that the workload writes.
func (f *flood) line() string {
	f.t.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.cmd.Wait()
		if f.cmd.ProcessState.ExitCode() == 77 {
			f.t.Skip("needs more descriptors than the limit (ulimit -Hn)")
		}
		f.t.Fatalf("the workload says %q, %v: %s", line, err, f.errs.String())
	}
	return strings.TrimSuffix(line, "\n")
}

// reaches waits for a milestone, at which the workload stops.
func (f *flood) reaches(name string) {
	f.t.Helper()
	if line := f.line(); line != name {
		f.t.Fatalf("the workload says %q, want %q", line, name)
	}
}

// next lets it go on.
func (f *flood) next() {
	f.t.Helper()
	if _, err := f.in.Write([]byte{'\n'}); err != nil {
		f.t.Fatal(err)
	}
}

// ended waits for the end and reads the stream.
func (f *flood) ended() *stream {
	f.t.Helper()
	if err := f.cmd.Wait(); err != nil || f.errs.Len() > 0 {
		f.t.Fatalf("%v: %s", err, f.errs.String())
	}
	b, err := os.ReadFile(f.o.output)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &stream{t: f.t, dir: f.o.dir}
	s.read(b)
	s.check(&f.o)
	return s
}

// memory is what quixote-export has of its own in KiB: the ring of records,
// which it shares, is not counted.
func (f *flood) memory() int {
	f.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.cmd.Process.Pid))
	if err != nil {
		f.t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(status), "\nRssAnon:")
	if !found {
		f.t.Skip("needs RssAnon in /proc/PID/status")
	}
	return number(f.t, strings.Fields(rest)[0])
}

// descriptors is how many quixote-export has open.
func (f *flood) descriptors() int {
	f.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", f.cmd.Process.Pid))
	if err != nil {
		f.t.Fatal(err)
	}
	return len(all)
}

// fewDescriptors is what the threads of quixote-export may keep open to be read
// again, 64 each.
const fewDescriptors = 256

// oneEach wants that n tasks have opened the file, each once, and gives the
// number of pids that they had.
func (s *stream) oneEach(file string, n int) int {
	s.t.Helper()
	tasks, pids := make(map[uint64]bool), make(map[uint32]bool)
	for _, e := range s.opens(file) {
		if tasks[e.TNum] {
			s.t.Fatalf("task %d has opened the file twice", e.TNum)
		}
		tasks[e.TNum], pids[e.PID] = true, true
	}
	if len(tasks) != n {
		s.t.Errorf("%d tasks have opened the file, want %d", len(tasks), n)
	}
	return len(pids)
}

// Twenty thousand processes leave nothing behind.
func TestFloodOfProcesses(t *testing.T) {
	t.Parallel()
	const n = 20_000
	f := startFlood(t, options{}, "turn", strconv.Itoa(n))
	f.reaches("quarter")
	memory, descriptors := f.memory(), f.descriptors()
	f.next()
	f.reaches("end")
	const most = 8 << 10 // KiB, which is 500 bytes a process
	now := f.memory()
	t.Logf("memory after a quarter %d KiB, at the end %d KiB", memory, now)
	if now > memory+most {
		t.Errorf("memory has grown from %d to %d KiB", memory, now)
	}
	if now := f.descriptors(); now > descriptors+fewDescriptors {
		t.Errorf("descriptors: %d, and then %d", descriptors, now)
	}
	f.next()
	s := f.ended()
	s.oneEach(f.file, n)
	if execs := s.by("true"); len(execs) < n/10 {
		t.Errorf("%d events of executed programs", len(execs))
	}
}

// Two thousand processes live at the same time, and act at the same time.
func TestFloodAtOnce(t *testing.T) {
	t.Parallel()
	const n = 2000
	f := startFlood(t, options{}, "alive", strconv.Itoa(n))
	f.reaches("alive")
	f.next()
	s := f.ended()
	if pids := s.oneEach(f.file, n); pids != n {
		t.Errorf("%d pids, want %d", pids, n)
	}
}

// A task with a large table of descriptors costs none of ours.
func TestFloodOfDescriptors(t *testing.T) {
	t.Parallel()
	const n = 4096
	f := startFlood(t, options{}, "descriptors", strconv.Itoa(n))
	f.reaches("none")
	before := f.descriptors()
	f.next()
	f.reaches("open")
	if now := f.descriptors(); now > before+fewDescriptors {
		t.Errorf("descriptors: %d, and then %d", before, now)
	}
	f.next()
	s := f.ended()
	if opens, chmods := len(s.opens(f.file)), len(s.of(tsem.InodeSetattr)); opens != n || chmods != n {
		t.Errorf("%d opens and %d changes of the mode, want %d of each", opens, chmods, n)
	}
}

// Tasks that kill and are killed in the midst of anything. What they have done
// is recorded, and nothing that they have not begun.
func TestStormOfKills(t *testing.T) {
	t.Parallel()
	f := startFlood(t, options{}, "storm", "600")
	var opens, kills [2]int
	if _, err := fmt.Sscan(f.line(), &opens[0], &opens[1], &kills[0], &kills[1]); err != nil {
		t.Fatal(err)
	}
	s := f.ended()
	for _, row := range []struct {
		what string
		n    int
		want [2]int // begun, done
	}{
		{"opens", len(s.opens(f.file)), opens},
		{"kills", len(s.of(tsem.TaskKill)), kills},
	} {
		if row.n < row.want[1] || row.n > row.want[0] {
			t.Errorf("%d %s are recorded, %d were begun and %d done", row.n, row.what, row.want[0], row.want[1])
		}
	}
	t.Logf("%d opens, %d kills", opens[1], kills[1])
}

// A hundred pids for three thousand processes: who has a pid is not who had it.
func TestPidsAreReused(t *testing.T) {
	needRoot(t)
	need(t, "unshare")
	t.Parallel()
	before := pidMax(t)
	// Older kernels have one limit for all namespaces: we would change it.
	if major, minor := kernelVersion(t); major < 6 || major == 6 && minor < 14 {
		t.Skip("needs a limit of pids for each namespace (Linux 6.14)")
	}
	const n, most = 3000, 400
	under := []string{"unshare", "-pf", "--mount-proc", "sh", "-c", `echo "$0" > /proc/sys/kernel/pid_max && exec "$@"`, strconv.Itoa(most)}
	if out, err := exec.Command(under[0], append(under[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("needs pid namespaces with a limit of their own: %v: %s", err, out)
	}
	if now := pidMax(t); now != before {
		t.Fatalf("the limit of all was changed from %d to %d", before, now)
	}
	f := startFlood(t, options{under: under}, "turn", strconv.Itoa(n))
	f.reaches("quarter")
	f.next()
	f.reaches("end")
	f.next()
	s := f.ended()
	if pids := s.oneEach(f.file, n); pids > most {
		t.Errorf("%d processes had %d pids", n, pids)
	}
}

func pidMax(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	return number(t, strings.TrimSpace(string(b)))
}

func kernelVersion(t *testing.T) (major, minor int) {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major, minor
}
