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
	"syscall"
	"testing"
	"time"

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
	for next := maker(context, first); n > 0; n-- {
		records = append(records, next())
	}
	return records
}

// maker makes up records of a context, one after the other.
func maker(context uint64, first int) func() []byte {
	i := -1
	return func() []byte {
		i++
		e := tsem.Event{
			PID: 4711, TNum: 4712, Context: context, Number: uint64(first + i), Process: []byte("made"),
			TaskID: make(tsem.Digest, 32), PTaskID: make(tsem.Digest, 32), TS: uint64(1000 * (first + i)),
		}
		e.SetCell(tsem.TaskKill, &tsem.KillCell{Target: make(tsem.Digest, 32), Sig: uint32(i)})
		return append(e.AppendJSON(nil), '\n')
	}
}

// runBounded runs a command that must not hang.
func runBounded(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(8*time.Minute, func() {
		t.Errorf("%q hangs", c.Args)
		c.Process.Kill()
	})
	defer hung.Stop()
	c.Wait()
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
	runBounded(t, c)
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

// The kernel, and so the stand-in, answers the thread whose child has made the
// context. Whatever else it says, root's events are never taken for those of
// the workload.
func TestTSEMNumberOfTheContext(t *testing.T) {
	for name, rule := range map[string]standin.Rule{
		"by manager": standin.ByManager, "root context otherwise": standin.ByManagerOrRoot, "own": standin.ByOwn,
	} {
		t.Run(name, func(t *testing.T) {
			want := madeUp(1, 1, 3)
			p := tsemPlane(t, standin.Options{
				Newer: rule == standin.ByManagerOrRoot, Rule: rule, RootExport: true,
				Created: func(c *standin.Context) { c.Push(want...) },
			})
			p.Kernel.Root().Push(madeUp(0, 1, 50)...)
			out, said, status := watchTSEM(t, p, []string{"--no-markers"}, "true")
			if status != 0 || said != "" || !bytes.Equal(out, bytes.Join(want, nil)) {
				t.Errorf("status %d, said %q, %s", status, said, out)
			}
		})
	}
}

// answers is a kernel's answer to every command.
func answers(errno syscall.Errno) func(string) syscall.Errno {
	return func(string) syscall.Errno { return errno }
}

// opening is a kernel's answer to who opens a file.
func opening(file string, errno syscall.Errno) func(string, int) syscall.Errno {
	return func(name string, _ int) syscall.Errno {
		if name == file {
			return errno
		}
		return 0
	}
}

// What the kernel refuses ends in one line with the cause, at once.
func TestTSEMRefused(t *testing.T) {
	for _, row := range []struct {
		name    string
		options standin.Options
		flags   []string
		command []string
		status  int
		said    string
	}{
		{"model", standin.Options{}, []string{"-M", "nosuch"}, []string{"true"}, 125, `no model "nosuch"`},
		{"digest", standin.Options{NoDigests: []string{"sm3"}}, []string{"-h", "sm3"}, []string{"true"}, 125, `no digest "sm3"`},
		{"crash by digest", standin.Options{}, []string{"-h", "hmac(sha256)"}, []string{"true"}, 125, "unknown digest"},
		{"model that breaks the command", standin.Options{}, []string{"-M", "a b"}, []string{"true"}, 125, "no blanks"},
		{"model that is too long", standin.Options{}, []string{"-M", strings.Repeat("m", 100)}, []string{"true"}, 125, "too long"},
		{"command with -M", standin.Options{Wrote: answers(syscall.EINVAL)}, []string{"-M", "m"}, []string{"true"}, 125, `does not take the command "export nsref=initial digest=sha256 model=m": invalid argument`},
		{"command", standin.Options{Wrote: answers(syscall.EINVAL)}, nil, []string{"true"}, 125, `does not take the command "export nsref=initial digest=sha256": invalid argument`},
		{"command, with a bad address", standin.Options{Wrote: answers(syscall.EFAULT)}, nil, []string{"true"}, 125, "bad address"},
		{"no memory", standin.Options{Wrote: answers(syscall.ENOMEM)}, nil, []string{"true"}, 125, "cannot allocate memory"},
		{"no access by the write", standin.Options{Wrote: answers(syscall.EACCES)}, nil, []string{"true"}, 125, "CAP_MAC_ADMIN"},
		{"an error without its sign", standin.Options{Takes: 12}, nil, []string{"true"}, 125, "it takes 12 bytes of 35"},
		{"no access to control", standin.Options{Opened: opening("control", syscall.EACCES)}, nil, []string{"true"}, 125, "no access to"},
		{"control is not for us", standin.Options{Opened: opening("control", syscall.EPERM)}, nil, []string{"true"}, 125, "no access to"},
		{"no control", standin.Options{Opened: opening("control", syscall.ENOENT)}, nil, []string{"true"}, 125, "there is no control plane"},
		{"no capability for id", standin.Options{Opened: opening("id", syscall.EPERM)}, nil, []string{"true"}, 125, "id: operation not permitted"},
		{"sealed id", standin.Options{Opened: opening("id", syscall.EACCES)}, nil, []string{"true"}, 125, "id: permission denied"},
		{"no id for anybody", standin.Options{Opened: opening("id", syscall.ENOENT)}, nil, []string{"true"}, 125, "no safe way"},
		{"no access to the stream", standin.Options{Opened: opening("stream", syscall.EACCES)}, nil, []string{"true"}, 125, "cannot open the stream"},
		{"no access to the stream, newer", standin.Options{Newer: true, Opened: opening("stream", syscall.EACCES)}, nil, []string{"true"}, 125, "cannot open the stream"},
		{"no stream", standin.Options{Opened: opening("stream", syscall.ENOENT)}, nil, []string{"true"}, 125, "cannot open the stream"},
		{"no such program", standin.Options{}, nil, []string{"/nosuch/program"}, 127, "cannot run /nosuch/program"},
		{"no program", standin.Options{}, nil, []string{"/etc/passwd"}, 126, "cannot run /etc/passwd"},
		{"not active", standin.Options{LSM: "capability,landlock"}, []string{"--source", "tsem"}, []string{"true"}, 125, "has no TSEM, or it is not active"},
		{"no root export", standin.Options{}, []string{"-R"}, nil, 125, "tsem_mode=root_export_only"},
		{"no root export, newer", standin.Options{Newer: true}, []string{"-R"}, nil, 125, "tsem_mode=root_export_only"},
		{"root export from within a context", standin.Options{Newer: true, RootExport: true, Opened: opening("aggregate", syscall.EACCES)}, []string{"-R"}, nil, 125, "in a context of the kernel's itself"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := tsemPlane(t, row.options)
			out, said, status := watchTSEM(t, p, row.flags, row.command...)
			if status != row.status || !strings.Contains(said, row.said) || strings.Count(said, "\n") != 1 || len(out) != 0 {
				t.Errorf("status %d, said %q, %d bytes of output", status, said, len(out))
			}
		})
	}
}

// What a reader may meet costs no record that the kernel gave.
func TestTSEMHazards(t *testing.T) {
	long := madeUp(1, 2, 1)[0]
	long = bytes.Replace(long, []byte(`"sig": "`), []byte(`"sig": "`+strings.Repeat("0", 5000)), 1)
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) {
		c.Push(madeUp(1, 1, 1)...)
		c.Push(long) // the first of that length is lost in the kernel
		c.Push(bytes.Replace(long, []byte(`"number": "2"`), []byte(`"number": "3"`), 1))
		c.Fail(syscall.EINTR)
		c.Fail(syscall.ENODATA)
		c.Fail(0)
		c.Push(madeUp(1, 5, 1)...) // two processors
		c.Push(madeUp(1, 4, 1)...)
		c.Push([]byte(`{"export": {"type": "event"}, }` + "\n")) // number 6
		c.Push(madeUp(1, 7, 2)...)
	}})
	out, said, status := watchTSEM(t, p, nil, "true")
	s := readTSEM(t, out)
	var got []uint64
	for _, e := range s.events {
		got = append(got, e.Number)
	}
	if want := []uint64{1, 3, 5, 4, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if len(s.lost) != 1 || s.lost[0].After != 1 || s.lost[0].Count != "1" || s.lost[0].Cause != "number_gap" {
		t.Errorf("losses: %+v", s.lost)
	}
	if status != 123 || !strings.Contains(said, "lost: 1 number_gap") || !strings.Contains(said, "repaired: 1 of") {
		t.Errorf("status %d, said %q", status, said)
	}
	if s.start == nil || s.start.Source != "tsem" || s.start.Context != 1 {
		t.Errorf("start: %+v", s.start)
	}
}

// readTSEM reads records that a kernel has written: they need not be as ours.
func readTSEM(t *testing.T, out []byte) *stream {
	t.Helper()
	s := &stream{t: t}
	for line := range bytes.Lines(out) {
		var p tsem.Parser
		r, err := p.Parse(line)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case r.Event != nil:
			s.events = append(s.events, r.Event)
		case r.Lost != nil:
			s.lost = append(s.lost, r.Lost)
		case r.Start != nil:
			s.start = r.Start
		}
	}
	return s
}

// A stream that another context takes the place of ends with an error, and the
// workload with it.
func TestTSEMForeignEvents(t *testing.T) {
	p := tsemPlane(t, standin.Options{Created: func(c *standin.Context) { c.Push(madeUp(9, 1, 1)...) }})
	_, said, status := watchTSEM(t, p, nil, "sleep", "1000")
	if status != 125 || !strings.Contains(said, "event of context 9 to the reader of context 1") {
		t.Errorf("status %d, said %q", status, said)
	}
}

func TestTSEMRoot(t *testing.T) {
	for _, newer := range []bool{false, true} {
		t.Run(fmt.Sprintf("newer=%v", newer), func(t *testing.T) {
			p := tsemPlane(t, standin.Options{Newer: newer, RootExport: true})
			want := madeUp(0, 40, 250)
			p.Kernel.Root().Push(want...)
			out, said, status := watchTSEM(t, p, []string{"-R", "--no-markers"})
			if status != 0 || said != "" || !bytes.Equal(out, bytes.Join(want, nil)) {
				t.Errorf("status %d, said %q, %d lines", status, said, bytes.Count(out, []byte{'\n'}))
			}
		})
	}
}

func TestTSEMFollow(t *testing.T) {
	t.Run("shell", func(t *testing.T) {
		p := tsemPlane(t, standin.Options{RootExport: true})
		p.Kernel.Root().Push(madeUp(0, 1, 5)...)
		u := follow(t, p, "-q", "2")
		u.holds(u.o.output, `"number": "5"`)
		p.Kernel.Root().Push(madeUp(0, 1, 10)[5:]...)
		if _, err := io.WriteString(u.in, "exit 3\n"); err != nil {
			t.Fatal(err)
		}
		u.ended(3)
		u.whole(10)
	})
	t.Run("no shell", func(t *testing.T) {
		p := tsemPlane(t, standin.Options{RootExport: true})
		p.Kernel.Root().Push(madeUp(0, 1, 5)...)
		u := follow(t, p, "--no-shell")
		u.holds(u.o.output, `"number": "5"`) // after a second, as the group is not full
		u.cmd.Process.Signal(syscall.SIGTERM)
		u.ended(0)
		u.whole(5)
	})
}

// following is an export of the root context that goes on.
type following struct {
	*under
	in io.Writer
}

func follow(t *testing.T, p *standin.Plane, flags ...string) following {
	t.Helper()
	u := &under{t: t, o: options{output: filepath.Join(openDir(t), "out.exp")}}
	args := append([]string{"--securityfs", p.Dir, "-R", "-f", "-o", u.o.output, "--no-markers"}, flags...)
	c := exec.Command(exportProgram(t), args...)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	u.errors = filepath.Join(openDir(t), "stderr")
	file, err := os.Create(u.errors)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c.Stderr = file
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	u.cmd = c
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return following{u, in}
}

// whole checks that events 1 to n were written.
func (f following) whole(n int) {
	f.t.Helper()
	want := string(bytes.Join(madeUp(0, 1, n), nil))
	if got := f.content(f.o.output); got != want {
		f.t.Errorf("got %d lines, want %d", strings.Count(got, "\n"), n)
	}
}
