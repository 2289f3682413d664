// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/mqtt/mqtttest"
	"quixote-export/tsem"
)

// A host is exports of the whole host from a collector of its own, which tells
// only of the tasks that run one program: so many other tests can run.
type host struct {
	t       *testing.T
	program string
	busybox string // that program
	dir     string
	place   []string // flags that say where the collector is
}

// onHost skips where nobody can tell of the whole host.
func onHost(t *testing.T) *host {
	t.Helper()
	needRoot(t)
	need(t, "busybox")
	h := &host{t: t, program: exportProgram(t), dir: t.TempDir()}
	sources, err := exec.Command(h.program, "--sources").Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sources, []byte("none for the whole host")) || bytes.Contains(sources, []byte("tsem for the whole host")) {
		t.Skipf("no programs can tell of the whole host:\n%s", sources)
	}
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	h.busybox = filepath.Join(h.dir, "busybox")
	if out, err := exec.Command("cp", path, h.busybox).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mount := filepath.Join(h.dir, "bpf")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	h.place = []string{"--pins", filepath.Join(mount, fmt.Sprintf("test-%d-%d", os.Getpid(), rand.Uint32()))}
	t.Cleanup(func() {
		exec.Command(h.program, append([]string{"--remove-collector"}, h.place...)...).Run()
		unix.Unmount(mount, unix.MNT_DETACH)
	})
	return h
}

// install starts the collector, to tell of the shell.
func (h *host) install(more ...string) {
	h.t.Helper()
	h.installFor(h.busybox, more...)
}

func (h *host) installFor(program string, more ...string) {
	h.t.Helper()
	if status, said := h.run(append([]string{"--install-collector", "--only", "exe:" + program}, more...)...); status != 0 {
		h.t.Fatalf("status %d: %s", status, said)
	}
}

func (h *host) command(args ...string) *exec.Cmd {
	c := exec.Command(h.program, append(args, h.place...)...)
	c.Dir = h.dir
	return c
}

// run runs the program, and returns its status and all it has said.
func (h *host) run(args ...string) (status int, said string) {
	h.t.Helper()
	c := h.command(args...)
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		h.t.Fatal(err)
	}
	// What has gone or changed since has no digest, and that is told.
	return c.ProcessState.ExitCode(), digestsMissing.ReplaceAllString(string(out), "")
}

var digestsMissing = regexp.MustCompile(`(?m)^quixote-export: digests that could not be had: .*\n`)

// act runs a script of the shell that is told of; $B is how it calls its own
// commands.
func (h *host) act(script string) {
	h.t.Helper()
	c := exec.Command(h.busybox, "sh", "-c", script)
	c.Dir = h.dir
	c.Env = []string{"B=" + h.busybox}
	if out, err := c.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
}

// exported is what lies in a file: each event follows the one before, but for
// what is told to be lost; one that comes again is the same.
type exportedHost struct {
	events, again, lost, last uint64
	text                      string
}

func (h *host) read(name string, after uint64) (x exportedHost) {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.parse(string(text), after)
}

func (h *host) parse(text string, after uint64) (x exportedHost) {
	h.t.Helper()
	x.text, x.last = text, after
	seen := make(map[uint64]string)
	var p tsem.Parser
	for line := range strings.Lines(text) {
		rec, err := p.Parse([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil {
			h.t.Fatalf("%v in %q", err, line)
		}
		switch rec.Kind {
		case tsem.KindLost:
			n, err := strconv.ParseUint(rec.Lost.Count, 10, 64)
			if err != nil || rec.Lost.After != x.last {
				h.t.Fatalf("after event %d: %s", x.last, line)
			}
			x.lost += n
			x.last += n
		case tsem.KindEvent, tsem.KindAsyncEvent:
			if before, ok := seen[rec.Event.Number]; ok {
				if x.again++; before != line {
					h.t.Fatalf("event %d differs\n%s%s", rec.Event.Number, before, line)
				}
				continue
			}
			if rec.Event.Number != x.last+1 {
				h.t.Fatalf("event %d follows %d", rec.Event.Number, x.last)
			}
			if rec.Event.Context != 0 {
				h.t.Fatalf("context %d: %s", rec.Event.Context, line)
			}
			seen[rec.Event.Number] = line
			x.last = rec.Event.Number
			x.events++
		}
	}
	return x
}

// opened counts how often a file of the folder was opened.
func (x *exportedHost) opened(h *host, name string) (n int) {
	for line := range strings.Lines(x.text) {
		if strings.Contains(line, `"type": "file_open"`) && strings.Contains(line, `"`+filepath.Join(h.dir, name)+`"`) {
			n++
		}
	}
	return n
}

// What was done with no exporter alive is exported, every act, in order, and the
// next time what was done since.
func TestHostIsKept(t *testing.T) {
	t.Parallel()
	h := onHost(t)
	h.install()
	h.act("for i in 1 2 3; do $B touch f$i; done; $B mv f1 g; $B rm g")
	if status, said := h.run("-R", "-o", "one"); status != 0 || said != "" {
		t.Fatalf("status %d: %s", status, said)
	}
	h.act("$B touch later")
	if status, said := h.run("-R", "-o", "two"); status != 0 || said != "" {
		t.Fatalf("status %d: %s", status, said)
	}
	one := h.read("one", 0)
	at := 0
	for _, want := range []string{
		`"` + filepath.Join(h.dir, "f1") + `"`, `"` + filepath.Join(h.dir, "f2") + `"`, `"` + filepath.Join(h.dir, "f3") + `"`, `"type": "inode_rename"`, `"type": "inode_unlink"`,
	} {
		i := strings.Index(one.text[at:], want)
		if i < 0 {
			t.Fatalf("no %s behind byte %d of\n%s", want, at, one.text)
		}
		at += i
	}
	two := h.read("two", one.last)
	if two.opened(h, "later") != 1 || two.opened(h, "f1") != 0 || one.lost+two.lost > 0 {
		t.Errorf("lost %d, and there is\n%s", one.lost+two.lost, two.text)
	}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"-R", "-o", "x", "--exclude", "uid:0"}, "another --exclude or --only"},
		{[]string{"-R", "-o", "x", "-M", "exec"}, "another -M"},
		{[]string{"-R", "-o", "x", "-u"}, "another -u"},
		{[]string{"-R", "-o", "x", "-h", "sha512"}, "-h"},
	} {
		if status, said := h.run(row.args...); status != 125 || strings.Count(said, "\n") != 1 || !strings.Contains(said, row.want) {
			t.Errorf("%v: status %d: %s", row.args, status, said)
		}
	}
	if _, err := os.Stat(filepath.Join(h.dir, "x")); err == nil {
		t.Error("a refused export has made its output")
	}
}

// What does not fit in the ring is counted, in the kernel and in the stream.
func TestHostFlood(t *testing.T) {
	t.Parallel()
	h := onHost(t)
	h.install("--ring", "64K")
	h.act("i=0; while [ $i -lt 2000 ]; do echo >f$((i % 7)); i=$((i + 1)); done")
	status, said := h.run("-R", "-o", "out")
	x := h.read("out", 0)
	_, kept := h.run("--collector-status")
	if status != 123 || x.lost == 0 || x.events == 0 || !strings.Contains(said, fmt.Sprintf("lost: %d ring_full", x.lost)) ||
		!strings.Contains(kept, fmt.Sprintf("%d (ring_full)", x.lost)) {
		t.Errorf("status %d, %d events, %d lost, it said %q and\n%s", status, x.events, x.lost, said, kept)
	}
	// With room again nothing more is lost.
	h.act("$B touch after")
	if status, said := h.run("-R", "-o", "next"); status != 0 || said != "" {
		t.Errorf("status %d: %s", status, said)
	}
	if y := h.read("next", x.last); y.lost > 0 || y.opened(h, "after") != 1 {
		t.Errorf("lost %d in\n%s", y.lost, y.text)
	}
}

// groupsMounted is where control groups of version 2 are.
func groupsMounted(t *testing.T) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); strings.Contains(line, " - cgroup2 ") && fields[3] == "/" {
			return fields[4]
		}
	}
	t.Skip("no control groups of version 2 are mounted")
	return ""
}

// Tasks in a control group, or below it, are left out wherever groups are mounted.
func TestHostGroups(t *testing.T) {
	t.Parallel()
	h := onHost(t)
	name := fmt.Sprintf("quixote-test-%d", rand.Uint32())
	unit := name + ".service"
	top := filepath.Join(groupsMounted(t), name)
	groups := []string{top, filepath.Join(top, unit), filepath.Join(top, "other"), filepath.Join(top, unit, "below")}
	for _, group := range groups {
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Skip("no control groups can be made: ", err)
		}
		t.Cleanup(func() { os.Remove(group) })
	}
	if status, said := h.run("--install-collector", "--exclude", "unit:no-such-"+unit); status != 125 || !strings.Contains(said, "no such unit runs") {
		t.Errorf("status %d: %s", status, said)
	}
	h.install("--exclude", "cgroup:/"+name+"/other,unit:"+unit)
	for i, group := range append([]string{""}, groups...) {
		// The shell goes there, and opens a file.
		script := fmt.Sprint(": >f", i)
		if group != "" {
			script = "echo $$ >" + filepath.Join(group, "cgroup.procs") + "; " + script
		}
		h.act(script)
	}
	if status, said := h.run("-R", "-o", "out"); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	x := h.read("out", 0)
	for i, want := range []int{1, 1, 0, 0, 0} {
		if n := x.opened(h, fmt.Sprint("f", i)); n != want {
			t.Errorf("in group %d of %v a file was opened %d times, want %d", i, groups, n, want)
		}
	}
}

// An exporter that is killed while it drains loses nothing; what comes twice is
// the same.
func TestHostReaderIsKilled(t *testing.T) {
	t.Parallel()
	h := onHost(t)
	h.install()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for i := range 20 {
		h.act(fmt.Sprintf("i=0; while [ $i -lt 300 ]; do echo >f$((i %% 7)); i=$((i + 1)); done; $B touch round%d", i))
		c := h.command("-R", "-q", "10", "-o", "out")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond) // the point is that it may be anywhere
		c.Process.Kill()
		c.Wait()
	}
	status, said := h.run("-R", "-o", "out")
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	x := h.read("out", 0)
	t.Logf("%d events, %d of them twice", x.events, x.again)
	if x.lost > 0 {
		t.Errorf("lost %d", x.lost)
	}
	for i := range 20 {
		if n := x.opened(h, fmt.Sprintf("round%d", i)); n < 1 {
			t.Errorf("round %d is missing", i)
		}
	}
}

// With -f a shell runs on the terminal while the export goes on, and is told of.
func TestHostShell(t *testing.T) {
	t.Parallel()
	h := onHost(t)
	h.install()
	h.act("$B touch before")
	c := h.command("-R", "-f", "-o", "out")
	term := onTerminal(t, c)
	term.await(prompt)
	second, said := h.run("-R", "-o", "other")
	if second != 125 || !strings.Contains(said, "another quixote-export exports the root context: only one can") {
		t.Errorf("a second reader: status %d: %s", second, said)
	}
	term.enter(h.busybox + " touch within; exit 6")
	if status := term.status(); status != 6 {
		t.Errorf("status %d", status)
	}
	x := h.read("out", 0)
	if x.opened(h, "before") != 1 || x.opened(h, "within") != 1 {
		t.Errorf("there is\n%s", x.text)
	}
}

// openOften opens a file so often, at most so many times a second; 0 is as often
// as it can. It writes how many seconds it took.
func openOften(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	rate, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	begun := time.Now()
	for i := range n {
		if rate > 0 && i%100 == 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		fd, err := unix.Open(args[0], unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		unix.Close(fd)
	}
	fmt.Print(time.Since(begun).Seconds())
	return nil
}

// opener makes the program that opens files often, which the collector is to tell
// of, and an empty file for it; and has an exporter without the race detector, of
// which memory and time are to be told.
func (h *host) opener() (program, file string) {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	if h.program, err = lean(); err != nil {
		h.t.Fatal(err)
	}
	program, file = filepath.Join(h.dir, actorName), filepath.Join(h.dir, "often")
	// A file of its own, or all acts of other tests would be told of.
	if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return program, file
}

// opensOften runs that program, and returns how many seconds it took, and how long
// it was on a processor.
func (h *host) opensOften(program, file string, n, rate int) (seconds float64, used time.Duration) {
	h.t.Helper()
	c := exec.Command(program, "opens", file, strconv.Itoa(n), strconv.Itoa(rate))
	out, err := c.Output()
	if err != nil {
		h.t.Fatal(err)
	}
	if seconds, err = strconv.ParseFloat(string(out), 64); err != nil {
		h.t.Fatal(err)
	}
	return seconds, c.ProcessState.UserTime() + c.ProcessState.SystemTime()
}

// onProcessor is how long a process with one thread was on a processor.
func onProcessor(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	var ns int64
	fmt.Sscan(string(text), &ns)
	return time.Duration(ns)
}

// A watch looks at what memory an exporter and its watchdog have, until it is
// ended.
type watch struct {
	end  chan struct{}
	most chan int
}

// watchMemory begins to look at a process.
func watchMemory(pid int) *watch {
	w := &watch{end: make(chan struct{}), most: make(chan int)}
	go func() {
		most := 0
		often := time.NewTicker(20 * time.Millisecond)
		defer often.Stop()
		for {
			most = max(most, memoryOf(pid))
			select {
			case <-often.C:
			case <-w.end:
				w.most <- most
				return
			}
		}
	}()
	return w
}

// memoryOf is what a process and its children have in KiB, but for the ring of the
// kernel and the memory of records, which they share and others tell twice.
func memoryOf(pid int) (kB int) {
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0 // it has ended
	}
	shared := false
	for line := range strings.Lines(string(smaps)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "Rss:") && !shared {
			n, _ := strconv.Atoi(fields[1])
			kB += n
		} else if !strings.HasSuffix(fields[0], ":") {
			shared = strings.Contains(line, "bpf-map") || strings.Contains(line, "/ledger")
		}
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			kB += memoryOf(n)
		}
	}
	return kB
}

// within ends the watch, and wants that it has found less than 64 MiB.
func (w *watch) within(t *testing.T) {
	t.Helper()
	close(w.end)
	most := <-w.most
	t.Logf("%d KiB of memory at most", most)
	if most == 0 || most > 64<<10 {
		t.Errorf("%d KiB of memory, want some, and no more than 64 MiB", most)
	}
}

// numberOf is the number of an event, without reading more of it: there are many.
func numberOf(line []byte) (n uint64, numbered bool) {
	_, rest, found := bytes.Cut(line, []byte(`"number": "`))
	for _, digit := range rest {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + uint64(digit-'0')
	}
	return n, found
}

// A tally counts the records of a stream as they come.
type tally struct {
	last, again, lost, opens uint64
	ended                    chan error // gets one when the stream has ended
}

// read reads the stream to its end. Each event has to follow the one before.
func (c *tally) read(r io.Reader, file string) error {
	opens := []byte(`"` + file + `"`)
	var p tsem.Parser
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("after event %d: %w", c.last, err)
		}
		if n, numbered := numberOf(line); numbered {
			switch {
			case n > c.last+1:
				return fmt.Errorf("event %d is followed by %s", c.last, line)
			case n <= c.last:
				c.again++
				continue
			}
			c.last = n
			if bytes.Contains(line, opens) && bytes.Contains(line, []byte(`"type": "file_open"`)) {
				c.opens++
			}
			continue
		}
		rec, err := p.Parse(bytes.TrimSuffix(line, []byte{'\n'}))
		if err != nil {
			return fmt.Errorf("%w in %q", err, line)
		}
		switch rec.Kind {
		case tsem.KindLost:
			n, err := strconv.ParseUint(rec.Lost.Count, 10, 64)
			if err != nil || rec.Lost.After != c.last {
				return fmt.Errorf("after event %d: %s", c.last, line)
			}
			c.lost, c.last = c.lost+n, c.last+n
		case tsem.KindEnd:
			return nil
		}
	}
}

// For HOST_SECONDS (2) 50,000 events a second go to a broker, or as many as the host
// can make, and none is missing.
func TestHostToABroker(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto_sub")
	h := onHost(t)
	m := mqtttest.New(t, "allow_anonymous true", "max_inflight_messages 0", "max_queued_messages 0")
	name, port, _ := net.SplitHostPort(m.Address)
	listener := []string{"-h", name, "-p", port, "-i", "subscriber", "-c", "-q", "1", "-t", "test"}
	if text, err := exec.Command("mosquitto_sub", append(listener, "-E")...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_sub: %v: %s", err, text)
	}
	sub := exec.Command("mosquitto_sub", listener...)
	coming, err := sub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	program, file := h.opener()
	came := tally{ended: make(chan error, 1)}
	go func() { came.ended <- came.read(coming, file) }()
	t.Cleanup(func() {
		sub.Process.Kill()
		sub.Wait()
	})
	h.installFor(program, "--ring", "256M")
	c := h.command("-R", "-f", "--no-shell", "-b", m.Address, "-t", "test")
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	memory := watchMemory(c.Process.Pid)
	seconds, err := strconv.Atoi(os.Getenv("HOST_SECONDS"))
	if err != nil {
		seconds = 2
	}
	const rate = 50_000
	n := seconds * rate
	took, opener := h.opensOften(program, file, n, rate)
	behind := time.Now()
	c.Process.Signal(unix.SIGTERM)
	if err := c.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	t.Logf("%d events in %.1f seconds: %.0f a second; the last was delivered %.1f seconds later", n, took, float64(n)/took, time.Since(behind).Seconds())
	memory.within(t)
	if err := <-came.ended; err != nil {
		t.Fatal(err)
	}
	each := func(used time.Duration) float64 { return float64(used.Nanoseconds()) / 1000 / float64(n) }
	t.Logf("processor time for each event, in microseconds: %.1f who makes it, %.1f quixote-export, %.1f the broker, %.1f the subscriber",
		each(opener), each(c.ProcessState.UserTime()+c.ProcessState.SystemTime()), each(onProcessor(m.PID())), each(onProcessor(sub.Process.Pid)))
	if came.lost > 0 || came.opens != uint64(n) {
		t.Errorf("%d of %d opened files, lost %d", came.opens, n, came.lost)
	}
}

// A full ring takes no memory to speak of when it is read, and has all there was
// room for.
func TestHostFullRing(t *testing.T) {
	t.Parallel()
	h := onHost(t)
	program, file := h.opener()
	h.installFor(program, "--ring", "64M")
	const n = 300_000 // more than there is room for
	h.opensOften(program, file, n, 0)
	c := h.command("-R", "-o", "-")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	memory := watchMemory(c.Process.Pid)
	var came tally
	err = came.read(out, file)
	io.Copy(io.Discard, out)
	c.Wait()
	memory.within(t)
	if status := c.ProcessState.ExitCode(); err != nil || status != 123 {
		t.Fatalf("%v, status %d: %s", err, status, &said)
	}
	// Events are dropped that it made besides.
	if came.lost == 0 || came.opens == 0 || came.opens+came.lost < n {
		t.Errorf("%d opened files, lost %d, want %d", came.opens, came.lost, n)
	}
	t.Logf("%d events, lost %d", came.last-came.lost, came.lost)
}
