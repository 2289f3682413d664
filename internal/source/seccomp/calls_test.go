// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
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

func yes() bool { return true }
func no() bool  { return false }

func TestCallsAreNumbered(t *testing.T) {
	r := newCalls(7, false, newLedger(t, ledger.DefaultSize))
	who := head(&task.Task{TID: 1}, &tsem.COE{})
	r.record(who, openEvent())
	r.Lost(record.CauseNotDerived, 3, true)
	r.record(who, append(openEvent(), openEvent()...))
	if r.recordIf(no, no, who, openEvent()) {
		t.Error("an event was recorded though its call was not made")
	}
	r.recordIf(yes, yes, who, openEvent())
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

// While the task is let go its events are where they outlive us, but nobody is
// given them; when it could not be let go they are no more.
func TestCallsAreOfferedUntilTheTaskGoesOn(t *testing.T) {
	l := newLedger(t, ledger.DefaultSize)
	out := l.Output(0)
	out.Use()
	r := newCalls(1, false, l)
	who := head(&task.Task{TID: 1}, &tsem.COE{})
	for _, goes := range []bool{false, true} {
		let := func() bool {
			if n := bytes.Count(l.Left(out), []byte{'\n'}); n != 2 || l.LastNumber() != 2 {
				t.Errorf("%d records are left, the last is %d", n, l.LastNumber())
			}
			if l.Head() != 0 {
				t.Error("the exporter sees what is not certain")
			}
			return goes
		}
		if got := r.recordIf(let, no, who, append(openEvent(), openEvent()...)); got != goes {
			t.Errorf("recorded: %v, want %v", got, goes)
		}
		want := 0
		if goes {
			want = 2
		}
		if n := bytes.Count(l.Left(out), []byte{'\n'}); n != want || l.LastNumber() != uint64(want) {
			t.Errorf("%d records are left, the last is %d; want %d", n, l.LastNumber(), want)
		}
	}
	if b, err := r.Next(context.Background()); err != nil || b.Len() != 2 {
		t.Errorf("the exporter got %v, %v", b, err)
	}
}

// A call with more events than there is room for waits, but only once it is
// known to be waiting itself.
func TestCallsWithMoreEventsThanThereIsRoomFor(t *testing.T) {
	var events []derive.Event
	for range 40 {
		events = append(events, openEvent()...)
	}
	who := head(&task.Task{TID: 1}, &tsem.COE{})
	l := newLedger(t, os.Getpagesize())
	r := newCalls(1, false, l)
	if r.recordIf(yes, no, who, events) || l.LastNumber() != 0 {
		t.Errorf("events of a call that is no more were recorded, up to %d", l.LastNumber())
	}
	done := make(chan bool)
	go func() { done <- r.recordIf(yes, yes, who, events) }()
	for n := 0; n < len(events); {
		b, err := r.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		n += b.Len()
	}
	if !<-done || l.LastNumber() != 40 {
		t.Errorf("recorded up to %d", l.LastNumber())
	}
}

// What is owed comes before what is recorded later, whoever records it, and to
// owe it does not wait for room.
func TestCallsPayFirst(t *testing.T) {
	l := newLedger(t, os.Getpagesize())
	r := newCalls(1, false, l)
	event := func(pid int) tsem.Event { return head(&task.Task{TID: pid}, &tsem.COE{}) }
	for r.Roomy() {
		r.record(event(0), openEvent())
	}
	r.owe(event(1), openEvent())
	r.owe(event(2), openEvent())
	done := make(chan bool)
	go func() {
		defer close(done)
		r.recordIf(yes, yes, event(3), openEvent())
		r.owe(event(4), openEvent())
		r.Lost(record.CauseNotDerived, 0, false)
		r.owe(event(5), openEvent())
		r.pay()
		r.pay()
		r.End(io.EOF)
	}()
	var got []string
	var p tsem.Parser
	for {
		b, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			if rec, err := p.Parse(b.Record(i)); err == nil && rec.Kind == tsem.KindLost {
				got = append(got, "lost")
			} else if err == nil && rec.Event.PID != 0 {
				got = append(got, fmt.Sprint(rec.Event.PID))
			}
		}
	}
	<-done
	if want := "1 2 3 4 lost 5"; strings.Join(got, " ") != want {
		t.Errorf("recorded %v, want %s", got, want)
	}
}
