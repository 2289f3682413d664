// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// A panic while a call is derived costs its events, which is told, and the
// thread, which may have been left with the rights of the task.
func TestPanicIsALoss(t *testing.T) {
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s, err := newSource(Options{
		Context: 3, Algorithm: alg, Model: model.Default(), Ledger: newLedger(t, ledger.DefaultSize),
		Log: slog.New(slog.NewTextHandler(&log, nil)), Notice: func(string) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		s.Sealed()
		<-s.Done()
	}()
	p := &port{s: s, listener: -1, killable: true}
	p.started.Store(true)
	w := p.relay.add(newWorker())
	w.p, p.relay.holder = p, w
	run := func(d *derive.Deriver) {
		w.deriver = d
		w.n.TID, w.n.Arch = uint32(unix.Gettid()), nativeArch(t)
		w.n.NR, w.n.Args = unix.SYS_GETPGID, [6]uint64{uint64(os.Getppid())}
		w.answer()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	run(nil) // nothing can be derived without one
	if !w.spent {
		t.Error("the thread is used again")
	}
	if w.task != nil || w.state.Load() != idle {
		t.Error("the call is still being handled")
	}
	if got := s.Losses().String(); got != "an unknown number not_derived" {
		t.Errorf("losses: %s", got)
	}
	if !strings.Contains(log.String(), "worker_test.go") {
		t.Errorf("the log does not say where: %s", log.String())
	}
	task, err := s.shared.Tasks.Current(unix.Gettid(), nil)
	if err != nil || !task.Handling.TryLock() {
		t.Fatalf("the task is still held (%v)", err)
	}
	task.Handling.Unlock()
	b, err := s.Next(t.Context())
	if err != nil || b.Len() != 1 || !strings.Contains(string(b.Buf), `"after": "0", "count": "", "cause": "not_derived"`) {
		t.Errorf("got %s, %v", b.Buf, err)
	}
}

// nativeArch is the architecture of the calls of this program.
func nativeArch(t *testing.T) uint32 {
	t.Helper()
	arches, err := derive.Arches(runtime.GOARCH, derive.Interest{Model: model.Default()})
	if err != nil {
		t.Fatal(err)
	}
	return arches[0].Audit
}
