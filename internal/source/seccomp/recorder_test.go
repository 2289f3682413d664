// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"quixote-export/internal/derive"
	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

func newLedger(t *testing.T, size int) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(size)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openEvent() []derive.Event {
	return []derive.Event{{Type: tsem.FileOpen, Cell: &tsem.FileCell{}}}
}

func TestRecorderNumbers(t *testing.T) {
	r := newRecorder(7, false, newLedger(t, ledger.DefaultSize))
	who := head(&task.Task{TID: 1}, &tsem.COE{})
	r.record(who, openEvent())
	r.lost(record.CauseNotDerived, 3, true)
	r.record(who, append(openEvent(), openEvent()...))
	if r.recordIf(func() bool { return false }, who, openEvent()) {
		t.Error("an event was recorded though its call was not made")
	}
	r.recordIf(func() bool { return true }, who, openEvent())
	r.end(io.EOF)
	b, err := r.next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var numbers []uint64
	var p tsem.Parser
	for i := range b.Len() {
		rec, err := p.Parse(b.Record(i))
		if err != nil {
			t.Fatal(err)
		}
		if rec.Kind == tsem.KindLost {
			if !bytes.Contains(b.Record(i), []byte(`"after": "1", "count": "3", "cause": "not_derived"`)) {
				t.Errorf("the loss is %s", b.Record(i))
			}
			continue
		}
		numbers = append(numbers, rec.Event.Number)
	}
	want := []uint64{1, 5, 6, 7}
	if len(numbers) != len(want) {
		t.Fatalf("numbers %v, want %v", numbers, want)
	}
	for i := range want {
		if numbers[i] != want[i] {
			t.Fatalf("numbers %v, want %v", numbers, want)
		}
	}
	if n, exact := r.lostSoFar().Total(); n != 3 || !exact {
		t.Errorf("lost %d, exact %v", n, exact)
	}
	if _, err := r.next(context.Background()); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

// A task whose event finds no room waits until the exporter has taken what is
// there; nothing is dropped.
func TestRecorderWaitsForRoom(t *testing.T) {
	l := newLedger(t, os.Getpagesize())
	r := newRecorder(1, false, l)
	who := head(&task.Task{TID: 1}, &tsem.COE{})
	r.enter(0, append(bytes.Repeat([]byte{' '}, l.Size()-10), '\n'))
	done := make(chan bool)
	go func() {
		r.record(who, openEvent())
		close(done)
	}()
	for _, want := range []tsem.Type{0, tsem.FileOpen} {
		b, err := r.next(context.Background())
		if err != nil || b.Len() != 1 || b.Types[0] != want {
			t.Fatalf("got %v, %v", b, err)
		}
		if want == 0 {
			select {
			case <-done:
				t.Fatal("an event was kept beyond the bound")
			default:
			}
		}
	}
	<-done
}

func TestRecorderHeedsItsContext(t *testing.T) {
	r := newRecorder(1, false, newLedger(t, ledger.DefaultSize))
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := r.next(ctx)
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
