// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/internal/record"
	"quixote-export/internal/vm/inside"
	"quixote-export/tsem"
)

// The test binary is also the workload: first a process that waits and then
// executes its arguments, and then, called with the name of an act, one that
// does it.
const (
	waits = "QUIXOTE_BPF_TEST_WAITS"
	acts  = "QUIXOTE_BPF_TEST_ACTS"
)

// The thread that is marked must be the one that executes the workload.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	switch {
	case IsRelease(os.Args):
		os.Exit(0)
	case os.Getenv(waits) != "":
		os.Unsetenv(waits)
		var b [1]byte
		unix.Read(3, b[:])
		unix.CloseOnExec(3)
		err := unix.Exec(os.Args[1], os.Args[1:], os.Environ())
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(127)
	case os.Getenv(acts) != "":
		os.Exit(act(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// needBPF skips where such programs cannot be loaded.
func needBPF(t testing.TB) {
	t.Helper()
	inside.NeedBPF(t, Probe())
}

// stream is what came of a workload.
type stream struct {
	lines  [][]byte
	events []*tsem.Event
	lost   record.Losses
	status int
	pid    int
}

// watched runs a command in a context and returns its stream.
func watched(t testing.TB, opts Options, tap func([]byte, bool), argv ...string) *stream {
	t.Helper()
	var err error
	if opts.Ledger, err = ledger.New(ledger.DefaultSize); err != nil {
		t.Fatal(err)
	}
	if opts.Algorithm == nil {
		if opts.Algorithm, err = tsem.AlgorithmByName("sha256"); err != nil {
			t.Fatal(err)
		}
	}
	if opts.Model == nil {
		opts.Model = model.Default()
	}
	opts.Context, opts.DigestLimit, opts.Log = 1, 1<<30, slog.New(slog.DiscardHandler)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", append([]string{path}, argv[1:]...)...)
	cmd.Env = append(os.Environ(), waits+"=1")
	cmd.ExtraFiles = []*os.File{r}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	begun := time.Now()
	src, err := attach(cmd.Process.Pid, opts, tap)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("loaded in %v", time.Since(begun).Round(time.Millisecond))
	w.Write([]byte{1})
	s := &stream{pid: cmd.Process.Pid}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	for {
		b, err := src.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			s.add(t, bytes.Clone(b.Record(i)))
		}
	}
	<-src.Done()
	s.lost = src.Losses()
	err = <-waited
	s.status = cmd.ProcessState.ExitCode()
	if err != nil || out.Len() > 0 {
		t.Logf("the workload: %v\n%s", err, &out)
	}
	return s
}

func (s *stream) add(t testing.TB, line []byte) {
	t.Helper()
	s.lines = append(s.lines, line)
	var p tsem.Parser
	r, err := p.Parse(line)
	if err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if r.Kind == tsem.KindEvent || r.Kind == tsem.KindAsyncEvent {
		s.events = append(s.events, r.Event)
	}
}
