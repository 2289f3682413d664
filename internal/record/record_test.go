// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"quixote-export/tsem"
)

func TestBatchKeepsRecordsApart(t *testing.T) {
	var b Batch
	b.Append(3, []byte(`{"a": "1"}`))
	b.Buf = append(b.Buf, `{"lost": "1"}`...)
	b.EndRecord(0)
	b.Append(4, nil)

	if got, want := string(b.Buf), "{\"a\": \"1\"}\n{\"lost\": \"1\"}\n\n"; got != want {
		t.Errorf("Buf is %q, want %q", got, want)
	}
	var lines []string
	for i := range b.Len() {
		lines = append(lines, string(b.Record(i)))
	}
	if want := []string{`{"a": "1"}`, `{"lost": "1"}`, ""}; !slices.Equal(lines, want) {
		t.Errorf("records are %q, want %q", lines, want)
	}
	if want := []tsem.Type{3, 0, 4}; !slices.Equal(b.Types, want) {
		t.Errorf("types are %v, want %v", b.Types, want)
	}
	if n := b.Events(0, 3); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	if n := b.Events(1, 2); n != 0 {
		t.Errorf("%d events in the lost record, want 0", n)
	}
	b.Context = 7
	b.Reset()
	if b.Len() != 0 || len(b.Buf) != 0 || len(b.Types) != 0 || b.Context != 0 {
		t.Errorf("after Reset: %+v", b)
	}
}

func TestAppendDoesNotAllocateAfterReset(t *testing.T) {
	var b Batch
	line := []byte(`{"export": {"type": "event"}}`)
	fill := func() {
		b.Reset()
		for range 100 {
			b.Append(1, line)
		}
	}
	fill()
	if n := testing.AllocsPerRun(10, fill); n != 0 {
		t.Errorf("%v allocations a batch, want 0", n)
	}
}

func TestNumber(t *testing.T) {
	const head = `{"export": {"type": "event"}, "event": {"pid": "12", "tnum": "7", "context": "1", `
	for _, row := range []struct {
		name   string
		typ    tsem.Type
		line   string
		number uint64
		ok     bool
	}{
		{"event", 1, head + `"number": "5", "process": "demo"`, 5, true},
		{"with time", 1, `{"export": {"type": "event", "time": "2025-01-01T00:00:00Z"}, "event": {"number": "18446744073709551615", "process": "x"`, 1<<64 - 1, true},
		{"no event", 0, head + `"number": "5", "process": "demo"`, 0, false},
		{"old kernel", 1, `{"export": {"type": "event"}, "event": {"pid": "12", "process": "demo", "type": "x"`, 0, false},
		{"process that plays a number", 1, `{"event": {"pid": "12", "process": "x"number": "9""`, 0, false},
		{"not closed", 1, head + `"number": "5`, 0, false},
		{"not a number", 1, head + `"number": "5x", `, 0, false},
		{"too large", 1, head + `"number": "18446744073709551616", `, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b Batch
			b.Append(1, []byte("{}"))
			b.Append(row.typ, []byte(row.line))
			if n, ok := b.Number(1); n != row.number || ok != row.ok {
				t.Errorf("got %d, %v, want %d, %v", n, ok, row.number, row.ok)
			}
		})
	}
}

func TestLosses(t *testing.T) {
	var l Losses
	if !l.None() || l.String() != "" {
		t.Errorf("the zero value says %q", l)
	}
	l.Add(CauseRingFull, 0)
	if !l.None() {
		t.Error("losing 0 events is a loss")
	}
	l.Add(CauseRingFull, 10)
	l.Add(CauseRingFull, 7)
	if n, exact := l.Total(); n != 17 || !exact {
		t.Errorf("total %d, %v, want 17, true", n, exact)
	}
	var more Losses
	more.AddUnknown(CauseSourceEnded)
	more.AddUnknown(CauseOutputError)
	more.Add(CauseOutputError, 5)
	if more.None() {
		t.Error("an unknown number is no loss")
	}
	l.Merge(more)
	if n, exact := l.Total(); n != 22 || exact {
		t.Errorf("total %d, %v, want 22, false", n, exact)
	}
	if n, exact := l.Count(CauseRingFull); n != 17 || !exact {
		t.Errorf("ring_full %d, %v, want 17, true", n, exact)
	}
	const want = "17 ring_full, an unknown number source_ended, at least 5 output_error"
	if l.String() != want {
		t.Errorf("got  %q\nwant %q", l, want)
	}
}

func TestEveryCauseHasAWordAndAMeaning(t *testing.T) {
	words := map[string]bool{}
	n := 0
	for c := range Causes() {
		n++
		if c.String() == "" || c.Meaning() == "" || words[c.String()] {
			t.Errorf("cause %d: word %q, meaning %q", uint8(c), c, c.Meaning())
		}
		words[c.String()] = true
	}
	if n != causeCount-1 {
		t.Errorf("%d causes, want %d", n, causeCount-1)
	}
	if s := Cause(0).String() + Cause(200).String() + Cause(200).Meaning(); s != "cause_0cause_200unknown to this version" {
		t.Errorf("causes outside the table: %q", s)
	}
}

func TestTaken(t *testing.T) {
	short := &WriteError{Taken: 3, Cause: CauseOutputFull, Err: errors.New("full")}
	for _, row := range []struct {
		name  string
		err   error
		taken int
		cause Cause
	}{
		{"no error", nil, 5, 0},
		{"part", short, 3, CauseOutputFull},
		{"part, wrapped", fmt.Errorf("sink: %w", short), 3, CauseOutputFull},
		{"more than there was", &WriteError{Taken: 9, Cause: CauseOutputFull, Err: short}, 5, CauseOutputFull},
		{"any other error", errors.New("no"), 0, CauseOutputError},
	} {
		t.Run(row.name, func(t *testing.T) {
			if n, c := Taken(row.err, 5); n != row.taken || c != row.cause {
				t.Errorf("got %d, %v, want %d, %v", n, c, row.taken, row.cause)
			}
		})
	}
}
