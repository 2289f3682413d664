// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quixote-export/internal/record"
	"quixote-export/internal/sink/file"
	"quixote-export/tsem"
)

// rotating is a memory that can be rotated.
type rotating struct {
	memory
	old   []string // what was written before
	fixed bool     // no new one can be had
	close error
	last  int // calls of Last
}

func (r *rotating) Reopen(finish func()) func() error {
	if r.fixed {
		return nil
	}
	finish()
	r.old = append(r.old, r.text.String())
	r.text.Reset()
	return func() error { return r.close }
}

func (r *rotating) Last() { r.last++ }

func TestReopenBeginsAPart(t *testing.T) {
	m, other := &rotating{memory: memory{name: "m"}}, &memory{name: "other"}
	e := New([]Sink{m, other}, Options{Start: markers()})
	e.Reopen() // nothing is open yet
	source := &script{batches: []*record.Batch{batch(1, 2), batch(3, 5), batch(6, 6)}, end: io.EOF}
	source.lost.Add(record.CauseRingFull, 7)
	source.before = func(i int) {
		switch i {
		case 1:
			e.Reopen()
		case 2:
			e.Reopen()
			m.fixed = true
			e.Reopen()
		}
	}
	if err := e.Run(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	s := e.Finish(3)
	e.Reopen() // too late, and without effect
	got := append(m.old, m.text.String())
	want := []string{"start 1 2 end(2 lost=7 status=)", "start 3 4 5 end(3 lost=7 status=)", "start 6 end(1 lost=7 status=3)"}
	if len(got) != len(want) {
		t.Fatalf("%d parts", len(got))
	}
	for i, text := range got {
		if b := brief(t, text); b != want[i] {
			t.Errorf("part %d: got  %s\nwant %s", i+1, b, want[i])
		}
		if part := fmt.Sprintf(`"part": "%d"`, i+1); strings.Contains(text, part) != (i > 0) {
			t.Errorf("part %d begins with %.200s", i+1, text)
		}
		_, bytes, _ := strings.Cut(text, `"bytes": "`)
		if want := fmt.Sprint(strings.Index(text, `{"export": {"type": "end"}`)); !strings.HasPrefix(bytes, want+`"`) {
			t.Errorf("part %d: the end marker stands behind %s bytes and says %.10s", i+1, want, bytes)
		}
	}
	if got, want := brief(t, other.text.String()), "start 1 2 3 4 5 6 end(6 lost=7 status=3)"; got != want {
		t.Errorf("the other sink: got  %s\nwant %s", got, want)
	}
	if s.Sinks[0].Events != 6 || m.last != 3 {
		t.Errorf("%d events, room for last words taken %d times", s.Sinks[0].Events, m.last)
	}
}

func TestReopenAfterAFailure(t *testing.T) {
	calls := 0
	m := &rotating{memory: memory{name: "m", fail: func(b *record.Batch) error {
		if calls++; calls > 2 && calls < 6 { // batch 2, lost record, lost record again
			return full(0)
		}
		return nil
	}}}
	e := New([]Sink{m}, Options{Start: markers()})
	source := &script{batches: []*record.Batch{batch(1, 2), batch(3, 4), batch(5, 5), batch(6, 6)}, end: io.EOF}
	source.before = func(i int) {
		if i == 3 {
			m.close = errors.New("cannot sync")
			e.Reopen()
		}
	}
	e.Run(t.Context(), source)
	s := e.Finish(0)
	got := append(m.old, m.text.String())
	if len(got) != 2 || brief(t, got[0]) != "start 1 2" || brief(t, got[1]) != "start lost(2+3 output_full m) lost(5+ sync_error m) 6 end(1 lost= status=0)" {
		t.Errorf("%d parts: %s, %s", len(got), brief(t, got[0]), brief(t, got[len(got)-1]))
	}
	if got := s.Losses().String(); got != "3 output_full, an unknown number sync_error" {
		t.Errorf("losses: %s", got)
	}
}

func TestAnErrorThatLastsIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{name: "m", fail: func(*record.Batch) error { return full(0) }}
		told := 0
		e := New([]Sink{m}, Options{Failed: func(string, error) { told++ }})
		source := &script{end: io.EOF}
		for n := range 150 {
			source.batches = append(source.batches, batch(n+1, n+1))
		}
		source.before = func(int) { time.Sleep(time.Second) }
		e.Run(t.Context(), source)
		e.Finish(0)
		if told != 3 {
			t.Errorf("told %d times in 151 seconds, want 3", told)
		}
	})
}

func TestASinkWhoseRecordsAreGone(t *testing.T) {
	m := &vanishing{memory{name: "m"}}
	e := New([]Sink{m}, Options{})
	e.Run(t.Context(), &script{batches: []*record.Batch{batch(1, 4)}, end: io.EOF})
	if got := e.Finish(0).Sinks[0].Losses.String(); got != "4 output_deleted" {
		t.Errorf("losses: %q", got)
	}
}

type vanishing struct{ memory }

func (v *vanishing) Close() error {
	return &record.WriteError{Cause: record.CauseOutputDeleted, Err: errors.New("deleted")}
}

// steady yields 50,000 records a second until it has yielded all.
type steady struct {
	next, all int
	began     time.Time
	batch     record.Batch
}

func (s *steady) Next(ctx context.Context) (*record.Batch, error) {
	const each = 500
	if s.next > s.all {
		return nil, io.EOF
	}
	due := s.began.Add(time.Duration(s.next) * time.Second / 50_000)
	time.Sleep(time.Until(due))
	s.batch.Reset()
	for range each {
		s.batch.Append(tsem.FileOpen, []byte(event(s.next)))
		s.next++
	}
	return &s.batch, nil
}

func (s *steady) Losses() record.Losses { return record.Losses{} }

// Twenty rotations while records come at full speed.
func TestRotationsLoseAndDoubleNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.exp")
	sink, err := file.New(path, os.Stdout, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := New([]Sink{sink}, Options{Start: markers(), FlushInterval: 50 * time.Millisecond})
	const all, rotations = 100_000, 20
	rotated := make(chan error)
	go func() {
		for n := 0; n < rotations; {
			err := os.Rename(path, filepath.Join(dir, fmt.Sprintf("%02d", n)))
			if err == nil {
				e.Reopen()
				n++
			} else if !errors.Is(err, os.ErrNotExist) {
				rotated <- err
				return
			}
			time.Sleep(all / 50_000 * time.Second / (rotations + 10))
		}
		rotated <- nil
	}()
	if err := e.Run(t.Context(), &steady{next: 1, all: all, began: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := <-rotated; err != nil {
		t.Fatal(err)
	}
	if s := e.Finish(0); s.Lost() || s.Events != all {
		t.Errorf("%+v", s)
	}
	next := 1
	for n := range rotations + 1 {
		name := filepath.Join(dir, fmt.Sprintf("%02d", n))
		if n == rotations {
			name = path
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first := next
		for line := range strings.Lines(string(text)) {
			if line == event(next)+"\n" {
				next++
			}
		}
		lines := strings.Count(string(text), "\n")
		end := fmt.Sprintf(`"events": "%d"`, next-first)
		if lines != next-first+2 || !strings.HasPrefix(string(text), `{"export": {"type": "start"}`) || !strings.Contains(string(text), end) {
			t.Errorf("part %d: %d lines, events %d to %d", n+1, lines, first, next-1)
		}
	}
	if next != all+1 {
		t.Errorf("the parts hold events up to %d, want %d", next-1, all)
	}
}
