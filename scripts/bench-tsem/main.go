// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Bench-tsem measures how the events of a TSEM kernel are read: the root context
// of a stand-in for its control plane is drained into a file, by quixote-export -R
// and by a bare loop in C, in turn and several times over. It prints medians and
// their ratios, and what memory a long run takes.
//
// The stand-in is a FUSE file system, which takes longer over a record than a
// kernel does. So times tell little about one; processor time does, but for that
// of the system, and so does the number of system calls.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"quixote-export/internal/source/tsem/standin"
	"quixote-export/tsem"
)

//go:embed loop/drain.c
var loop []byte

// settings of one run of the benchmark.
type settings struct {
	program       string
	rounds        int
	records, long int
}

func main() {
	var s settings
	flag.StringVar(&s.program, "program", "./quixote-export", "the program to measure")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each is run")
	flag.IntVar(&s.records, "records", 60_000, "how many records a run")
	flag.IntVar(&s.long, "long", 1_000_000, "how many records the run has whose memory is measured")
	flag.Parse()
	err := s.run(os.Stdout)
	if missing := (*lacking)(nil); errors.As(err, &missing) {
		fmt.Println("bench-tsem: skipped,", err)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-tsem:", err)
		os.Exit(1)
	}
}

// lacking is something that this machine has not.
type lacking struct{ what string }

func (l *lacking) Error() string { return l.what }

// way is one who drains.
type way struct {
	name    string
	command []string
}

func (s *settings) run(out io.Writer) error {
	dir, err := os.MkdirTemp("", "bench-tsem")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := filepath.Abs(s.program)
	if err != nil {
		return err
	}
	drain, err := compile(dir)
	if err != nil {
		return err
	}
	plane, err := mount(dir)
	if err != nil {
		return err
	}
	defer plane.Close()
	output := filepath.Join(dir, "out")
	ways := []way{
		{"loop in C", []string{drain, filepath.Join(plane.Dir, "tsem/external_tma/0"), output}},
		{"quixote-export -R", []string{program, "--securityfs", plane.Dir, "-R", "--no-markers", "-o", output}},
	}
	if err := s.compare(out, plane, ways, output); err != nil {
		return err
	}
	return s.memory(out, plane, ways[1].command)
}

// compile makes the loop.
func compile(dir string) (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", &lacking{"as it needs a C compiler (cc)"}
	}
	code, program := filepath.Join(dir, "drain.c"), filepath.Join(dir, "drain")
	if err := os.WriteFile(code, loop, 0o600); err != nil {
		return "", err
	}
	if text, err := exec.Command(cc, "-O2", "-o", program, code).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot compile the loop: %w: %s", err, text)
	}
	return program, nil
}

// mount mounts the stand-in.
func mount(dir string) (*standin.Plane, error) {
	if os.Geteuid() != 0 {
		return nil, &lacking{"as it needs root"}
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return nil, &lacking{"as it needs FUSE (Debian package fuse3)"}
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return nil, &lacking{"as it needs FUSE: " + err.Error()}
	}
	at := filepath.Join(dir, "securityfs")
	if err := os.Mkdir(at, 0o700); err != nil {
		return nil, err
	}
	return standin.Mount(at, standin.Options{RootExport: true})
}

// events makes up records of the root context, of the usual length, one after the
// other.
func events() func() []byte {
	e := tsem.Event{
		PID: 4711, TNum: 4712, Process: []byte("bench"),
		TaskID: bytes.Repeat([]byte{0xa5}, 32), PTaskID: bytes.Repeat([]byte{0x5a}, 32),
	}
	file := tsem.File{
		Flags: 32768, Digest: bytes.Repeat([]byte{0x77}, 32),
		Inode: tsem.Inode{Mode: 0o100644, Magic: 0xef53, SID: []byte("vda1")},
		Path:  tsem.Path{HasDev: true, Dev: tsem.Dev{Major: 254, Minor: 1}, Type: "root", Pathname: []byte("/usr/share/doc/a-package/copyright")},
	}
	e.SetCell(tsem.FileOpen, &tsem.FileCell{File: file})
	var line []byte
	return func() []byte {
		e.Number, e.TS = e.Number+1, e.TS+1000
		line = append(e.AppendJSON(line[:0]), '\n')
		return line
	}
}

// sample is what one run took.
type sample struct{ wall, user, system time.Duration }

func (s *settings) compare(out io.Writer, plane *standin.Plane, ways []way, output string) error {
	samples := make([][]sample, len(ways))
	var size int64
	for range s.rounds {
		for i, w := range ways {
			plane.Kernel.Root().Feed(s.records, events())
			os.Remove(output)
			got, err := measure(w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			st, err := os.Stat(output)
			if err != nil {
				return err
			}
			if size == 0 {
				size = st.Size()
			}
			if st.Size() != size || plane.Kernel.Root().Queued() > 0 {
				return fmt.Errorf("%s has not written all %d records", w.name, s.records)
			}
			samples[i] = append(samples[i], got)
		}
	}
	first := medians(samples[0])
	fmt.Fprintf(out, "%d records of %d bytes, medians of %d rounds\n", s.records, size/int64(s.records), s.rounds)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "who drains\trecords/s\ttime, the loop's is 1\tuser CPU a record\tsystem CPU a record\t")
	for i, w := range ways {
		got := medians(samples[i])
		each := func(d time.Duration) string {
			return fmt.Sprintf("%.2f µs", float64(d.Microseconds())/float64(s.records))
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.2f\t%s\t%s\t\n", w.name,
			float64(s.records)/got.wall.Seconds(), float64(got.wall)/float64(first.wall), each(got.user), each(got.system))
	}
	return table.Flush()
}

func measure(w way) (sample, error) {
	var said bytes.Buffer
	c := exec.Command(w.command[0], w.command[1:]...)
	c.Stderr = &said
	began := time.Now()
	if err := c.Run(); err != nil {
		return sample{}, fmt.Errorf("%w: %s", err, &said)
	}
	return sample{time.Since(began), c.ProcessState.UserTime(), c.ProcessState.SystemTime()}, nil
}

func medians(all []sample) (m sample) {
	middle := func(of func(sample) time.Duration) time.Duration {
		var values []time.Duration
		for _, one := range all {
			values = append(values, of(one))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	m.wall = middle(func(s sample) time.Duration { return s.wall })
	m.user = middle(func(s sample) time.Duration { return s.user })
	m.system = middle(func(s sample) time.Duration { return s.system })
	return m
}

// memory looks at the processes of a long run early, and when it is nearly over.
func (s *settings) memory(out io.Writer, plane *standin.Plane, command []string) error {
	root := plane.Kernel.Root()
	before := root.Taken()
	root.Feed(s.long, events())
	c := exec.Command(command[0], append(slices.Clone(command[1:len(command)-1]), os.DevNull)...)
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var early, late int
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("a long run: %w: %s", err, &said)
			}
			fmt.Fprintf(out, "memory of all processes: %.1f MB after %d records, %.1f MB after nearly %d\n",
				float64(early)/1024, s.long/10, float64(late)/1024, s.long)
			return nil
		case <-look.C:
			taken := root.Taken() - before
			if taken >= s.long/10 && early == 0 {
				early = resident(c.Process.Pid)
			}
			if taken >= s.long*9/10 {
				late = max(late, resident(c.Process.Pid))
			}
		}
	}
}

// resident is the memory in kB of a process and those below it, where what they
// share counts once.
func resident(pid int) (kB int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "Pss:"); found {
			kB, _ = strconv.Atoi(strings.Fields(value)[0])
		}
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, word := range strings.Fields(string(children)) {
		if child, err := strconv.Atoi(word); err == nil {
			kB += resident(child)
		}
	}
	return kB
}
