// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Bench-vm measures in a virtual machine what it costs to be watched by BPF
// programs on the security hooks of a stock kernel, beside bpftrace and strace.
// All is measured in one boot, one way after the other and several times over;
// what is printed are medians, and how often as long as by itself they are.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"quixote-export/internal/vm"
	"quixote-export/tsem"
)

//go:embed inside.sh
var script []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-vm:", err)
		os.Exit(1)
	}
}

// ways are those in which a workload is run, plain first.
var ways = []struct{ name, title string }{
	{"plain", "by itself"},
	{"elsewhere", "outside, while another is watched"},
	{"inside", "watched, records to a file"},
	{"tracing", "bpftrace, the same hooks"},
	{"stracing", "strace -f"},
}

func run(ctx context.Context) error {
	program := flag.String("program", "./quixote-export", "the `file` to measure, built without cgo")
	kernel := flag.String("kernel", "6.12", "the `series` of the kernel")
	turns := flag.Int("turns", 5, "how often each way is measured")
	flag.Parse()
	image, err := vm.Prepare(ctx, *kernel, func(what string) { fmt.Fprintln(os.Stderr, "bench-vm:", what) }, "bpftrace")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-vm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var hooks []byte
	for typ := range tsem.All() {
		if typ.Info().Export != tsem.NotExported {
			hooks = fmt.Appendf(hooks, "bpf_lsm_%s\n", typ)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "hooks"), hooks, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "inside.sh"), script, 0o755); err != nil {
		return err
	}
	var out bytes.Buffer
	status, err := image.Run(ctx, vm.Command{
		Args:   []string{"bash", "/work/inside.sh", strconv.Itoa(*turns)},
		Files:  []vm.Copy{{From: *program, To: "/usr/bin/quixote-export"}, {From: dir, To: "/work"}},
		Stdout: io.MultiWriter(&out, os.Stderr), Stderr: os.Stderr,
	})
	if err != nil {
		return err
	}
	if status != 0 {
		return fmt.Errorf("status %d; %s", status, &out)
	}
	text, err := report(out.String(), *turns)
	fmt.Print(text)
	return err
}

// report tells what was measured: lines of a workload, a way, microseconds.
func report(out string, turns int) (string, error) {
	var b strings.Builder
	took := make(map[string]map[string][]float64)
	for line := range strings.Lines(out) {
		var work, way string
		var t float64
		if _, err := fmt.Sscan(line, &work, &way, &t); err != nil {
			return "", fmt.Errorf("%q: %w", line, err)
		}
		if took[work] == nil {
			took[work] = make(map[string][]float64)
		}
		took[work][way] = append(took[work][way], t/1e6)
	}
	for _, work := range []string{"find", "compile"} {
		fmt.Fprintln(&b, work)
		median := func(way string) float64 {
			t := took[work][way]
			slices.Sort(t)
			return t[len(t)/2]
		}
		for _, w := range ways {
			t := took[work][w.name]
			if len(t) != turns {
				return "", fmt.Errorf("%s, %s was measured %d times", work, w.name, len(t))
			}
			m := median(w.name)
			fmt.Fprintf(&b, "  %-36s %7.2f s (%.2f to %.2f)  %5.2f\n", w.title, m, t[0], t[len(t)-1], m/median("plain"))
		}
		own := median("inside") - median("plain")
		for _, other := range ways[3:] {
			fmt.Fprintf(&b, "  time that %s adds, to ours: %.1f\n", other.title, (median(other.name)-median("plain"))/own)
		}
	}
	return b.String(), nil
}
