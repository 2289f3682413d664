// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/source/tsem/standin"
	"quixote-export/tsem"
)

// numbered is a record with that number and a value of so many digits.
func numbered(number, digits int) []byte {
	line := madeUp(1, number, 1)[0]
	return bytes.Replace(line, []byte(`"sig": "`), []byte(`"sig": "`+strings.Repeat("0", digits)), 1)
}

// eventNumbers reads a stream and gives the numbers of its events.
func eventNumbers(t *testing.T, out []byte) (got []uint64, s *stream) {
	t.Helper()
	s = readTSEM(t, out)
	for _, e := range s.events {
		got = append(got, e.Number)
	}
	return got, s
}

// The kernel loses a record that its buffer has no room for, each time that it
// makes a larger one, and never the next. Those that it gives come whole, as long
// as they may be.
func TestTSEMLongRecords(t *testing.T) {
	t.Parallel()
	var given [][]byte
	var want []uint64
	lost, room := 0, 4096
	for i, digits := range []int{0, 4096, 4096, 9000, 9000, 20_000, 20_000, 40_000, 40_000, 90_000, 90_000, 200_000, 200_000, 3e6, 3e6, 3e6, 3e6, 3e6, 3e6, 1} {
		given = append(given, numbered(i+1, digits))
		if len(given[i]) >= room {
			lost++
			room *= 2
		} else {
			want = append(want, uint64(i+1))
		}
	}
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(given...) }})
	out, said, status := watchTSEM(t, p, []string{"--no-markers"}, "true")
	got, _ := eventNumbers(t, out)
	if !slices.Equal(got, want) || status != 123 || !strings.Contains(said, fmt.Sprintf("lost: %d number_gap", lost)) {
		t.Errorf("events %v, want %v; status %d, said %q", got, want, status, said)
	}
	for _, number := range want {
		if !bytes.Contains(out, given[number-1]) {
			t.Errorf("record %d is not as it was given", number)
		}
	}
}

// Where files may not be large, the ring is smaller than a record can be. Nothing
// waits for what cannot come, and what does not fit is counted.
func TestTSEMSmallRing(t *testing.T) {
	t.Parallel()
	need(t, "prlimit")
	for _, size := range []int{8 << 10, 64 << 10} { // with a page of its own
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			given := madeUp(1, 1, 300)
			given = append(given, numbered(301, 100_000), numbered(302, 100_000))
			given = append(given, madeUp(1, 303, 100)...)
			p := tsemPlane(t, standin.Options{RootExport: true, Room: 1 << 20, Created: func(c *standin.Context) { c.Push(given...) }})
			c := exec.Command("prlimit", fmt.Sprintf("--fsize=%d", size), exportProgram(t), "--securityfs", p.Dir,
				"-X", "--no-markers", "-o", "-", "--", "true")
			var out, said bytes.Buffer
			c.Stdout, c.Stderr = &out, &said
			runBounded(t, c)
			got, s := eventNumbers(t, out.Bytes())
			if len(got) != 400 || got[299] != 300 || got[300] != 303 || c.ProcessState.ExitCode() != 123 {
				t.Errorf("%d events, status %d, said %q", len(got), c.ProcessState.ExitCode(), &said)
			}
			if len(s.lost) != 2 || s.lost[0].After != 300 || s.lost[1].After != 301 || s.lost[0].Cause != "record_too_long" {
				t.Errorf("losses %+v", s.lost)
			}
			p.Kernel.Root().Push(madeUp(0, 1, 500)...)
			c = exec.Command("prlimit", fmt.Sprintf("--fsize=%d", size), exportProgram(t), "--securityfs", p.Dir, "-R", "--no-markers", "-o", "-")
			out.Reset()
			c.Stdout = &out
			runBounded(t, c)
			if !bytes.Equal(out.Bytes(), bytes.Join(madeUp(0, 1, 500), nil)) {
				t.Errorf("of 500 events of the root context came %d", bytes.Count(out.Bytes(), []byte{'\n'}))
			}
		})
	}
}

// Errors that pass, and reads that give nothing, cost no record.
func TestTSEMReadsThatFail(t *testing.T) {
	t.Parallel()
	given := madeUp(1, 1, 60)
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) {
		for i, errno := range []syscall.Errno{syscall.ENOMEM, syscall.EAGAIN, syscall.EIO, syscall.EINTR, syscall.ENODATA, 0} {
			for n := range 10 {
				c.Push(given[10*i+n])
				if n%4 == 1 {
					c.Fail(errno)
					c.Fail(errno)
				}
			}
		}
	}})
	out, said, status := watchTSEM(t, p, []string{"--no-markers"}, "true")
	if status != 0 || said != "" || !bytes.Equal(out, bytes.Join(given, nil)) {
		t.Errorf("status %d, said %q, %d lines", status, said, bytes.Count(out, []byte{'\n'}))
	}
}

// A stream that can be read no more ends the run with an error, and the workload;
// what is missing is said.
func TestTSEMStreamBreaks(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		errno syscall.Errno
		said  string
	}{
		{"with an error", syscall.EIO, "cannot read the stream of events of context 1: input/output error"},
		{"with nothing", 0, "gives nothing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) {
				c.Push(madeUp(1, 1, 3)...)
				c.FailForEver(row.errno)
			}})
			out, said, status := watchTSEM(t, p, nil, "sleep", "1000")
			got, s := eventNumbers(t, out)
			if status != 125 || !strings.Contains(said, row.said) || len(got) != 3 {
				t.Errorf("status %d, said %q, events %v", status, said, got)
			}
			if len(s.lost) != 1 || s.lost[0].Cause != "source_ended" || s.lost[0].Count != "" {
				t.Errorf("losses %+v", s.lost)
			}
		})
	}
}

// Whoever of ours dies, and at whatever step of the beginning: the run ends, says
// so, and leaves nothing of itself.
func TestTSEMDeathAtTheBeginning(t *testing.T) {
	for _, rule := range []standin.Rule{standin.ByManager, standin.ByOwn} {
		for _, step := range []string{"control", "write", "created", "id", "stream"} {
			for _, victim := range []string{"child", "reader"} {
				t.Run(fmt.Sprintf("rule %d, %s, %s", rule, step, victim), func(t *testing.T) {
					t.Parallel()
					var mu sync.Mutex
					var c *exec.Cmd
					reached := 0
					strike := func(at string) syscall.Errno {
						mu.Lock()
						defer mu.Unlock()
						if at != step {
							return 0
						}
						reached++
						watchdog := child(c.Process.Pid)
						if victim == "reader" {
							syscall.Kill(watchdog, syscall.SIGKILL)
						} else if pid := child(watchdog); pid != 0 {
							syscall.Kill(pid, syscall.SIGKILL)
						}
						return 0
					}
					p := tsemPlane(t, standin.Options{
						Rule:    rule,
						Opened:  func(name string, _ int) syscall.Errno { return strike(name) },
						Wrote:   func(string) syscall.Errno { return strike("write") },
						Created: func(c *standin.Context) { strike("created"); c.Push(madeUp(1, 1, 2)...) },
					})
					dir := openDir(t)
					mark := "QUIXOTE_MARK=" + dir
					mu.Lock()
					c = exec.Command(exportProgram(t), "--securityfs", p.Dir, "-X", "-o", filepath.Join(dir, "out.exp"), "--", "sleep", "1000")
					c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", mark)
					var said bytes.Buffer
					c.Stderr = &said
					if err := c.Start(); err != nil {
						mu.Unlock()
						t.Fatal(err)
					}
					mu.Unlock()
					done := make(chan error, 1)
					go func() { done <- c.Wait() }()
					eventually(t, "the end of the run", func() bool {
						select {
						case err := <-done:
							done <- err
							return true
						default:
							return false
						}
					})
					if status := c.ProcessState.ExitCode(); reached == 0 || status != 125 && status != 137 || said.Len() == 0 && status == 125 {
						t.Errorf("status %d after %d strikes, said %q", status, reached, &said)
					}
					eventually(t, "that nothing is left", func() bool { return len(marked(mark, 0)) == 0 })
				})
			}
		}
	}
}

// When the supervisor is killed, the workload is, and what the kernel had queued
// of it is delivered. When the watchdog is, what it had not read goes with it.
func TestTSEMKilled(t *testing.T) {
	for _, row := range []struct {
		name   string
		victim func(supervisor int) int
		status int
		all    bool
	}{
		{"supervisor", func(pid int) int { return pid }, -1, true},
		{"watchdog", child, 125, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			given := madeUp(1, 1, 5000)
			var mu sync.Mutex
			var made *standin.Context
			p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) {
				mu.Lock()
				defer mu.Unlock()
				made = c
				c.Push(given[:1000]...)
			}})
			dir := openDir(t)
			mark, output := "QUIXOTE_MARK="+dir, filepath.Join(dir, "out.exp")
			c := exec.Command(exportProgram(t), "--securityfs", p.Dir, "-X", "-o", output, "--", "sh", "-c", "setsid sleep 1000 & sleep 1000")
			c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", mark)
			var said bytes.Buffer
			c.Stderr = &said
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the first records", func() bool {
				out, _ := os.ReadFile(output)
				return bytes.Contains(out, []byte(`"number": "1000"`))
			})
			syscall.Kill(row.victim(c.Process.Pid), syscall.SIGSTOP) // so that it is behind
			mu.Lock()
			made.Push(given[1000:]...)
			mu.Unlock()
			syscall.Kill(row.victim(c.Process.Pid), syscall.SIGKILL)
			c.Wait()
			eventually(t, "that nothing is left", func() bool { return len(marked(mark, 0)) == 0 })
			out, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			got, s := eventNumbers(t, out)
			if status := c.ProcessState.ExitCode(); status != row.status || len(s.lost) != 1 || s.lost[0].Cause != "killed" {
				t.Errorf("status %d, losses %+v, said %q", status, s.lost, &said)
			}
			if len(got) < 1000 || row.all && len(got) != len(given) {
				t.Errorf("%d events", len(got))
			}
			for i, number := range got {
				if number != uint64(i+1) {
					t.Fatalf("event %d has the number %d", i+1, number)
				}
			}
		})
	}
}

// However fast they come, all of them are there.
func TestTSEMManyRecords(t *testing.T) {
	t.Parallel()
	const n = 200_000
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Feed(n, maker(1, 1)) }})
	output := filepath.Join(openDir(t), "out.exp")
	c := exec.Command(exportProgram(t), "--securityfs", p.Dir, "-X", "--stats", "-o", output, "--", "true")
	var said bytes.Buffer
	c.Stderr = &said
	runBounded(t, c)
	if status := c.ProcessState.ExitCode(); status != 0 || !strings.Contains(said.String(), "200000 events") || !strings.Contains(said.String(), "nothing lost") {
		t.Errorf("status %d, said %q", status, &said)
	}
	file, err := os.Open(output)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	number := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Bytes()
		if !bytes.Contains(line, []byte(`"event": {`)) {
			continue
		}
		if number++; !bytes.Contains(line, fmt.Appendf(nil, `"number": "%d"`, number)) {
			t.Fatalf("event %d is %s", number, line)
		}
	}
	if number != n {
		t.Errorf("%d events", number)
	}
}

// A reader that is slower than the kernel holds nothing up but itself: what the
// ring has no room for stays queued.
func TestTSEMSlowOutput(t *testing.T) {
	t.Parallel()
	given := madeUp(1, 1, 20_000)
	var made *standin.Context
	created := make(chan bool)
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) {
		made = c
		c.Push(given...)
		close(created)
	}})
	path := filepath.Join(openDir(t), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(exportProgram(t), "--securityfs", p.Dir, "-X", "--no-markers", "-o", path, "--", "sh", "-c", "exit 3")
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	<-created
	fifo, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	last := -1
	eventually(t, "that the ring is full", func() bool {
		taken := made.Taken()
		full := taken == last && taken*len(given[0]) > 7<<20
		last = taken
		return full
	})
	if made.Queued() == 0 {
		t.Errorf("all records were read, though nobody takes them")
	}
	out, err := io.ReadAll(fifo)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if status := c.ProcessState.ExitCode(); status != 3 || said.Len() > 0 || !bytes.Equal(out, bytes.Join(given, nil)) {
		t.Errorf("status %d, said %q, %d bytes", status, &said, len(out))
	}
}

// A context lives as long as its last process, and so does the export.
func TestTSEMOutlivesItsFirstProcess(t *testing.T) {
	for _, newer := range []bool{false, true} {
		t.Run(fmt.Sprintf("newer=%v", newer), func(t *testing.T) {
			given := madeUp(1, 1, 30)
			made := make(chan *standin.Context, 1)
			p := tsemPlane(t, standin.Options{Newer: newer, Rule: standin.ByManagerOrRoot, Created: func(c *standin.Context) {
				c.Push(given[:10]...)
				made <- c
			}})
			dir := openDir(t)
			output, gate := filepath.Join(dir, "out.exp"), filepath.Join(dir, "gate")
			if err := unix.Mkfifo(gate, 0o600); err != nil {
				t.Fatal(err)
			}
			c := exec.Command(exportProgram(t), "--securityfs", p.Dir, "-X", "--no-markers", "-o", output, "--",
				"sh", "-c", "(setsid sh -c 'read x < "+gate+"' &) ; exit 5")
			var said bytes.Buffer
			c.Stderr = &said
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			context := <-made
			hold, err := os.OpenFile(gate, os.O_WRONLY, 0) // which the background opens
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the end of the first process", func() bool {
				_, err := os.Stat(fmt.Sprintf("/proc/%d", context.Task))
				return err != nil
			})
			context.Push(given[10:20]...)
			eventually(t, "its later records", func() bool {
				out, _ := os.ReadFile(output)
				return bytes.Contains(out, []byte(`"number": "20"`))
			})
			context.Push(given[20:]...)
			hold.Close()
			c.Wait()
			out, _ := os.ReadFile(output)
			if status := c.ProcessState.ExitCode(); status != 5 || !bytes.Equal(out, bytes.Join(given, nil)) {
				t.Errorf("status %d, said %q, %d lines", status, &said, bytes.Count(out, []byte{'\n'}))
			}
		})
	}
}

// The records of a real kernel come out as they went in, and those that it has
// broken are counted.
func TestTSEMRecordedStream(t *testing.T) {
	t.Parallel()
	given := kernelRecords(t, "a_export_sha256_workload")
	p := tsemPlane(t, standin.Options{Room: 1 << 20, Created: func(c *standin.Context) { c.Push(given...) }})
	out, said, status := watchTSEM(t, p, []string{"--no-markers"}, "true")
	lost := regexp.MustCompile(`(?m)^{"export": {"type": "lost"}.*\n`).FindAll(out, -1)
	for _, line := range lost {
		out = bytes.Replace(out, line, nil, 1)
	}
	lines := bytes.SplitAfter(out, []byte{'\n'})
	repaired := 0
	for i, record := range given {
		if i >= len(lines) || !bytes.Equal(lines[i], record) {
			repaired++
		}
	}
	if !strings.Contains(said, fmt.Sprintf("repaired: %d of %d", repaired, len(given))) || repaired > 25 || repaired < 10 {
		t.Errorf("status %d, said %q; %d of %d records have changed", status, said, repaired, len(given))
	}
	if len(lines) != len(given)+1 || len(lost) != 1 || status != 123 { // the original has lost one
		t.Errorf("status %d; of %d records came %d; losses %q", status, len(given), len(lines)-1, lost)
	}
}

// An event of a type that this version does not know is one.
func TestTSEMUnknownType(t *testing.T) {
	given := madeUp(1, 1, 3)
	given[1] = bytes.ReplaceAll(given[1], []byte("task_kill"), []byte("new_hook"))
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(given...) }})
	out, said, status := watchTSEM(t, p, []string{"--no-markers", "--stats"}, "true")
	want := regexp.MustCompile(`(?s)\s2  task_kill\n\s+1  \(unknown\)\n\s+3  all\n.*: 3 events`)
	if status != 0 || !want.MatchString(said) || !bytes.Equal(out, bytes.Join(given, nil)) {
		t.Errorf("status %d, said %q, %s", status, said, out)
	}
}

func TestTSEMShell(t *testing.T) {
	need(t, "bash")
	given := madeUp(1, 1, 5)
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(given...) }})
	path := filepath.Join(openDir(t), "out.exp")
	term := onTerminal(t, exec.Command(exportProgram(t), "--securityfs", p.Dir, "-P", "-o", path))
	term.await(prompt)
	term.enter("grep CapBnd /proc/self/status; exit 4")
	term.await("CapBnd:")
	term.await("5 events")
	if status := term.status(); status != 4 {
		t.Errorf("status %d, want 4", status)
	}
	out, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(out, bytes.Join(given, nil)) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTSEMContainer(t *testing.T) {
	given := madeUp(1, 1, 5)
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(given...) }})
	b := newBundle(t, "echo out; exit 7")
	r := b.run("--securityfs", p.Dir, "--source", "tsem")
	if r.status != 7 || r.out != "out\n" || len(r.events) != len(given) {
		t.Errorf("status %d, output %q, errors %q, %d events", r.status, r.out, r.errs, len(r.events))
	}
	if len(p.Commands()) != 1 {
		t.Errorf("commands: %q", p.Commands())
	}
}

// The workload has no CAP_MAC_ADMIN, not even where programs inherit it.
func TestTSEMWorkloadCannotControl(t *testing.T) {
	need(t, "setpriv")
	p := tsemPlane(t, standin.Options{})
	c := exec.Command("setpriv", "--inh-caps", "+mac_admin", "--ambient-caps", "+mac_admin", exportProgram(t),
		"--securityfs", p.Dir, "-X", "-o", filepath.Join(openDir(t), "out.exp"), "--", "grep", "^Cap", "/proc/self/status")
	out, err := c.CombinedOutput()
	sets := regexp.MustCompile(`Cap(Inh|Prm|Eff|Bnd|Amb):\s+([0-9a-f]{16})`).FindAllStringSubmatch(string(out), -1)
	if err != nil || len(sets) != 5 {
		t.Fatalf("%v: %s", err, out)
	}
	for _, set := range sets {
		var bits uint64
		fmt.Sscanf(set[2], "%x", &bits)
		if bits&(1<<unix.CAP_MAC_ADMIN) != 0 {
			t.Errorf("the workload has CAP_MAC_ADMIN: %s", set[0])
		}
	}
}

// The limit of open files, which the runtime raises, is what it was before the
// context is made: else its first record would be of our restoring it.
func TestTSEMLimitsAreRestoredBefore(t *testing.T) {
	need(t, "prlimit")
	limits := make(chan string, 1)
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", c.Task))
		limits <- string(text)
	}})
	c := exec.Command("prlimit", "--nofile=1000:2000", exportProgram(t),
		"--securityfs", p.Dir, "-X", "-o", filepath.Join(openDir(t), "out.exp"), "--", "sh", "-c", "ulimit -Sn; ulimit -Hn")
	out, err := c.CombinedOutput()
	if err != nil || string(out) != "1000\n2000\n" {
		t.Errorf("%v: %s", err, out)
	}
	select {
	case text := <-limits:
		if !regexp.MustCompile(`Max open files\s+1000\s+2000`).MatchString(text) {
			t.Errorf("when the context was made: %s", text)
		}
	default:
		t.Error("no context was made")
	}
}

func TestTSEMNeedsTheCapability(t *testing.T) {
	need(t, "setpriv")
	p := tsemPlane(t, standin.Options{})
	c := exec.Command("setpriv", "--bounding-set", "-mac_admin", exportProgram(t),
		"--securityfs", p.Dir, "-X", "--source", "tsem", "-o", filepath.Join(openDir(t), "out.exp"), "--", "true")
	out, _ := c.CombinedOutput()
	if status := c.ProcessState.ExitCode(); status != 125 || !strings.Contains(string(out), "CAP_MAC_ADMIN") || bytes.Count(out, []byte{'\n'}) != 1 {
		t.Errorf("status %d, said %q", status, out)
	}
}

// Where securityfs is not mounted the program looks into one of its own.
func TestTSEMMountsSecurityfs(t *testing.T) {
	needRoot(t)
	need(t, "unshare", "mount", "umount", "mountpoint")
	if known, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(known, []byte("securityfs")) {
		t.Skip("needs a kernel with securityfs")
	}
	program := exportProgram(t)
	tsemLine := func(script string) string {
		out, err := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", program).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	const there = `mountpoint -q /sys/kernel/security`
	mounted := tsemLine(`{ ` + there + ` || mount -t securityfs none /sys/kernel/security; } && exec "$1" --sources`)
	unmounted := tsemLine(`while ` + there + `; do umount -R -l /sys/kernel/security; done; "$1" --sources; ! ` + there)
	if mounted != unmounted || !strings.Contains(mounted, "tsem") {
		t.Errorf("mounted   %s\nunmounted %s", mounted, unmounted)
	}
}

// The debug log has what was asked of the kernel and how it answered.
func TestTSEMDebugLog(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		options standin.Options
		flags   []string
		want    []string
	}{
		{"accepted", standin.Options{Newer: true}, nil, []string{
			`did="write export nsref=initial digest=sha256" file=DIR/tsem/control answer="35 bytes taken" at=`,
			`did=read file=DIR/tsem/id answer="\"1\"" at=`,
			`did=open file=DIR/tsem/external_tma/1 answer="ENOENT (no such file or directory)"`,
			`did=open file=DIR/tsem/export answer="descriptor `,
		}},
		{"own number", standin.Options{Rule: standin.ByOwn}, nil, []string{
			`did=read file=DIR/tsem/id answer="\"0\"" at=`, `did=read file=DIR/tsem/id answer="\"1\"" at=`,
		}},
		{"no model", standin.Options{}, []string{"-M", "m"}, []string{
			`did="write export nsref=initial digest=sha256 model=m" file=DIR/tsem/control answer="EINVAL (invalid argument)" at=`,
			`did="write export nsref=initial digest=sha256" file=DIR/tsem/control answer="35 bytes taken"`,
		}},
		{"no stream", standin.Options{Opened: opening("stream", syscall.EACCES)}, nil, []string{
			`did=open file=DIR/tsem/external_tma/1 answer="EACCES (permission denied)"`,
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := tsemPlane(t, row.options)
			log := filepath.Join(openDir(t), "debug")
			watchTSEM(t, p, append(row.flags, "-d", log), "true")
			text, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			rest := string(text)
			for _, want := range row.want {
				_, after, found := strings.Cut(rest, strings.ReplaceAll(want, "DIR", p.Dir))
				if !found {
					t.Fatalf("the log has, at its place, no %s:\n%s", want, text)
				}
				line, _, _ := strings.Cut(after, "\n")
				if !strings.Contains(line, " took=") {
					t.Errorf("without a duration: %s", line)
				}
				rest = after
			}
		})
	}
}

// What -R exports is what was queued when it began, even where events come as fast
// as they are read, and the export makes some itself.
func TestTSEMRootEnds(t *testing.T) {
	t.Parallel()
	p := tsemPlane(t, standin.Options{RootExport: true})
	root := p.Kernel.Root()
	root.Push(madeUp(0, 1, 300)...)
	later, stamp := maker(0, 301), regexp.MustCompile(`"ts": "[0-9]+"`)
	root.Feed(100_000, func() []byte { return stamp.ReplaceAll(later(), []byte(`"ts": "18000000000000000000"`)) })
	out, said, status := watchTSEM(t, p, []string{"-R", "--no-markers"})
	if got, _ := eventNumbers(t, out); status != 0 || said != "" || len(got) < 300 || len(got) > 1000 || !bytes.HasPrefix(out, bytes.Join(madeUp(0, 1, 300), nil)) {
		t.Errorf("status %d, said %q, %d events", status, said, len(got))
	}
}

// Somebody else who reads the root context takes events away, which is told.
func TestTSEMRootIsShared(t *testing.T) {
	p := tsemPlane(t, standin.Options{RootExport: true})
	root := p.Kernel.Root()
	given := madeUp(0, 1, 100)
	root.Push(given[:20]...)
	root.Push(given[30:50]...)
	root.Push(given[55:]...)
	out, said, status := watchTSEM(t, p, []string{"-R"})
	got, s := eventNumbers(t, out)
	if status != 123 || len(got) != 85 || len(s.lost) != 2 || strings.Count(said, "somebody else reads them too") != 1 || !strings.Contains(said, "lost: 15 number_gap") {
		t.Errorf("status %d, said %q, %d events, losses %+v", status, said, len(got), s.lost)
	}
	out, said, status = watchTSEM(t, p, []string{"-R", "--no-markers"})
	if status != 0 || len(out) != 0 || !strings.Contains(said, "no event of the root context is queued") {
		t.Errorf("status %d, said %q, %s", status, said, out)
	}
}

// The length of a digest is that of the root context's, whichever that is.
func TestTSEMDigests(t *testing.T) {
	t.Parallel()
	zeros := func(n int) string { return strings.Repeat("0", n) }
	value := func(n int) string { return strings.Repeat("a5", n/2) }
	for _, row := range []struct {
		flag        string
		given, want string // task_id
		said        string
	}{
		{"md5", value(32) + zeros(32), value(32), ""},
		{"sha1", value(40) + zeros(24), value(40), ""},
		{"sha1", value(40) + zeros(88), value(40), ""}, // of a sha512 root context
		{"sha512", value(64), value(64), "of the 128 hex digits of each it gives 64"},
		{"sha256", value(64), value(64), ""},
	} {
		t.Run(fmt.Sprintf("%s, %d digits", row.flag, len(row.given)), func(t *testing.T) {
			t.Parallel()
			given := madeUp(1, 1, 2)
			var want [][]byte
			for i, line := range given {
				given[i] = bytes.ReplaceAll(line, []byte(zeros(64)), []byte(row.given))
				want = append(want, bytes.ReplaceAll(line, []byte(zeros(64)), []byte(row.want)))
			}
			p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(given...) }})
			out, said, status := watchTSEM(t, p, []string{"--no-markers", "-h", row.flag}, "true")
			if status != 0 || !bytes.Equal(out, bytes.Join(want, nil)) {
				t.Errorf("status %d\ngot  %s\nwant %s", status, out, want)
			}
			if strings.Count(said, "\n") != min(len(row.said), 1) || !strings.Contains(said, row.said) {
				t.Errorf("said %q", said)
			}
		})
	}
}

// Whatever the kernel gives of kinds of records passes.
func TestTSEMKindsOfRecords(t *testing.T) {
	event := madeUp(1, 1, 1)[0]
	given := [][]byte{
		[]byte(`{"export": {"type": "aggregate"}, "aggregate": {"value": "` + strings.Repeat("0", 64) + `"}}` + "\n"),
		event,
		[]byte(`{"export": {"type": "log"}, "log": {"process": "p", "event": "mmap_file", "action": "LOG"}}` + "\n"),
		bytes.Replace(madeUp(1, 2, 1)[0], []byte(`"async_event"`), []byte(`"log"`), 1),
	}
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(given...) }})
	out, said, status := watchTSEM(t, p, []string{"--no-markers"}, "true")
	if status != 0 || said != "" || !bytes.Equal(out, bytes.Join(given, nil)) {
		t.Errorf("status %d, said %q, %s", status, said, out)
	}
	var p2 tsem.Parser
	if r, err := p2.Parse(bytes.TrimSuffix(given[3], []byte{'\n'})); err != nil || r.Event == nil || !r.Event.Log {
		t.Errorf("the second shape of a log is no event: %+v, %v", r, err)
	}
}
