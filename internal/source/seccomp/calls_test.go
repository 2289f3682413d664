// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"context"
	"io"
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

func TestCallsAreNumbered(t *testing.T) {
	r := newCalls(7, false, newLedger(t, ledger.DefaultSize))
	who := head(&task.Task{TID: 1}, &tsem.COE{})
	r.record(who, openEvent())
	r.Lost(record.CauseNotDerived, 3, true)
	r.record(who, append(openEvent(), openEvent()...))
	if r.recordIf(func() bool { return false }, who, openEvent()) {
		t.Error("an event was recorded though its call was not made")
	}
	r.recordIf(func() bool { return true }, who, openEvent())
	r.End(io.EOF)
	b, err := r.Next(context.Background())
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
	if n, exact := r.Losses().Total(); n != 3 || !exact {
		t.Errorf("lost %d, exact %v", n, exact)
	}
	if _, err := r.Next(context.Background()); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}
