// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Bench measures what being watched costs: everyday workloads by themselves,
// under quixote-export with full records to a file, under a program that lets the
// same calls go on at once (the floor: what stopping them costs by itself), and
// under strace, in turn and several times over. It prints medians and their
// ratios to the workload by itself; machines are noisy, so nothing else can be
// compared.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"quixote-export/internal/derive"
	"quixote-export/internal/model"
)

func main() {
	floor(os.Args[1:])
	rounds := flag.Int("rounds", 5, "how often each is run")
	program := flag.String("program", "./quixote-export", "the program to measure")
	only := flag.String("only", "", "a part of the name of the workloads to run")
	flag.Parse()
	if err := run(os.Stdout, *program, *only, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// workload is one command line for sh, in a folder of its own.
type workload struct {
	name, prepare, run string
}

// workloads are what people run: many look-ups, reading and hashing, compiling,
// interpreters, short processes.
func workloads() []workload {
	const sources = `i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo "#include <stdio.h>
int f$i(void) { return printf(\"%d\", $i); }" > f$i.c; done
printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\nclean:\n\trm -f *.o\n' > Makefile`
	// A packed history, as a clone has: each commit changes one of 50 files.
	const history = `git init -q . && awk 'BEGIN { for (c = 1; c <= 3000; c++) {
s = ""; for (i = 1; i <= 200; i++) s = s (i % 7 == c % 7 ? c : i) "\n"
printf "commit refs/heads/master\ncommitter a <a@example.org> %d +0000\ndata 7\nchange\n\n", c
printf "M 100644 inline d%d/f%d\ndata %d\n%s\n", c % 5, c % 50, length(s), s } }' | git fast-import --quiet`
	return []workload{
		{"find /usr", "", "find /usr"},
		{"git log --stat", history, "git log --stat master"},
		{"make -j2, 100 C files", sources, "make -s clean; make -s -j2"},
		{"20 python starts", "", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /usr/bin/python3 -c 'import json, socket'; done"},
		{"500 x /bin/true", "", "i=0; while [ $i -lt 500 ]; do i=$((i+1)); /bin/true; done"},
	}
}

// way is how a workload is run: a prefix of its command.
type way struct {
	name   string
	prefix []string
}

// Places in the list of ways; strace is there where it is installed.
const (
	watched = 1
	strace  = 4
)

func ways(program, dir string) ([]way, error) {
	calls, err := traced()
	if err != nil {
		return nil, err
	}
	list := []way{
		{"alone", nil},
		{"quixote-export", []string{program, "-X", "-o", filepath.Join(dir, "bench.exp"), "--"}},
		{"floor", []string{"/proc/self/exe", floorMark}},
	}
	if _, err := exec.LookPath("strace"); err != nil {
		return list, nil
	}
	return append(list,
		way{"strace --seccomp-bpf", []string{"strace", "-f", "--seccomp-bpf", "-e", "trace=" + calls, "-o", "/dev/null"}},
		way{"strace -f", []string{"strace", "-f", "-o", "/dev/null"}},
	), nil
}

// traced is the calls that the seccomp source stops, for strace to do the same.
func traced() (string, error) {
	arches, err := derive.Arches(runtime.GOARCH, derive.Interest{Model: model.Default()})
	if err != nil {
		return "", err
	}
	var names []string
	for _, row := range arches[0].Rows {
		names = append(names, "?"+row.Name) // strace may not know it
	}
	slices.Sort(names)
	return strings.Join(names, ","), nil
}

func run(out io.Writer, program, only string, rounds int) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	how, err := ways(program, dir)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "workload\talone\t")
	for _, w := range how[1:] {
		fmt.Fprintf(table, "%s\t", w.name)
	}
	if len(how) == strace+1 {
		fmt.Fprint(table, "added, of strace -f\t")
	}
	fmt.Fprintln(table)
	for i, load := range workloads() {
		if !strings.Contains(load.name, only) {
			continue
		}
		folder := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		if err := sh(folder, nil, load.prepare); err != nil {
			return fmt.Errorf("cannot prepare %s: %w", load.name, err)
		}
		times := make([][]time.Duration, len(how))
		for range rounds {
			for j, w := range how {
				began := time.Now()
				if err := sh(folder, w.prefix, load.run); err != nil {
					return fmt.Errorf("%s, %s: %w", load.name, w.name, err)
				}
				times[j] = append(times[j], time.Since(began))
			}
		}
		alone := median(times[0])
		fmt.Fprintf(table, "%s\t%.3f s\t", load.name, alone.Seconds())
		for j := range how[1:] {
			fmt.Fprintf(table, "%.2f\t", float64(median(times[j+1]))/float64(alone))
		}
		if len(how) == strace+1 {
			added := median(times[watched]) - alone
			fmt.Fprintf(table, "%.2f\t", float64(added)/float64(median(times[strace])-alone))
		}
		fmt.Fprintln(table)
		table.Flush()
	}
	if only != "" {
		return nil
	}
	if err := start(out, how[watched], dir, rounds); err != nil {
		return err
	}
	return memory(out, how[watched], dir)
}

func sh(dir string, prefix []string, script string) error {
	args := append(slices.Clone(prefix), "sh", "-c", script)
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	var errs strings.Builder
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, errs.String())
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
