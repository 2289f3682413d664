// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// event is record number n as a source writes it.
func event(n int) string {
	return fmt.Sprintf(`{"event": {"context": "3", "number": "%d", "process": "p"}}`, n)
}

// batch makes a batch of events first to last.
func batch(first, last int) *record.Batch {
	b := &record.Batch{Context: 3}
	for n := first; n <= last; n++ {
		b.Append(tsem.Type(1+n%2), []byte(event(n)))
	}
	return b
}

// script is a source that yields prepared batches and then an error.
type script struct {
	batches []*record.Batch
	before  func(i int) // called before batch i
	end     error
	lost    record.Losses
	next    int
}

func (s *script) Next(ctx context.Context) (*record.Batch, error) {
	if s.before != nil {
		s.before(s.next)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s.next == len(s.batches) {
		return nil, s.end
	}
	s.next++
	return s.batches[s.next-1], nil
}

func (s *script) Losses() record.Losses { return s.lost }

// memory is a sink that keeps what it takes, and fails when told to.
type memory struct {
	name    string
	text    strings.Builder
	flushed int // bytes
	flushes int
	closed  int
	fail    func(b *record.Batch) error // nil takes everything
	sync    error
}

func (m *memory) Name() string { return m.name }

func (m *memory) Write(b *record.Batch) error {
	var err error
	if m.fail != nil {
		err = m.fail(b)
	}
	taken, _ := record.Taken(err, b.Len())
	if taken > 0 {
		m.text.Write(b.Buf[:b.Ends[taken-1]])
	}
	return err
}

func (m *memory) Flush() error {
	m.flushes++
	m.flushed = m.text.Len()
	return m.sync
}

func (m *memory) Close() error { m.closed++; return nil }

// brief shortens a stream to what tests compare: a word for each line.
func brief(t *testing.T, stream string) string {
	t.Helper()
	var words []string
	for line := range strings.Lines(stream) {
		value := func(key string) string {
			_, rest, _ := strings.Cut(line, `"`+key+`": "`)
			v, _, _ := strings.Cut(rest, `"`)
			return v
		}
		switch {
		case strings.Contains(line, `"type": "start"`):
			words = append(words, "start")
		case strings.Contains(line, `"type": "lost"`):
			words = append(words, fmt.Sprintf("lost(%s+%s %s %s)", value("after"), value("count"), value("cause"), value("sink")))
		case strings.Contains(line, `"type": "end"`):
			words = append(words, fmt.Sprintf("end(%s lost=%s status=%s)", value("events"), value("lost"), value("status")))
		default:
			words = append(words, value("number"))
		}
	}
	return strings.Join(words, " ")
}

func markers() *tsem.Start { return &tsem.Start{Run: "r"} }

func full(taken int) error {
	return &record.WriteError{Taken: taken, Cause: record.CauseOutputFull, Err: errors.New("no space")}
}

func TestEverySinkGetsEverythingInOrder(t *testing.T) {
	a, b := &memory{name: "a"}, &memory{name: "b"}
	e := New([]Sink{a, b}, Options{Start: markers()})
	source := &script{batches: []*record.Batch{batch(1, 3), {}, batch(4, 4)}, end: io.EOF}
	if err := e.Run(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	s := e.Finish(7)
	const want = "start 1 2 3 4 end(4 lost=0 status=7)"
	for _, m := range []*memory{a, b} {
		if got := brief(t, m.text.String()); got != want {
			t.Errorf("%s: got %s, want %s", m.name, got, want)
		}
		if m.closed != 1 || m.flushes == 0 {
			t.Errorf("%s: %d flushes, closed %d times", m.name, m.flushes, m.closed)
		}
	}
	if s.Events != 4 || s.Lost() || s.Bytes != uint64(4*len(event(1))+4) {
		t.Errorf("summary: %+v", s)
	}
	if len(s.ByType) != 2 || s.ByType[0].Count != 2 || s.ByType[1].Count != 2 {
		t.Errorf("by type: %+v", s.ByType)
	}
	_, bytes, _ := strings.Cut(a.text.String(), `"bytes": "`)
	if want := fmt.Sprint(strings.Index(a.text.String(), `{"export": {"type": "end"}`)); !strings.HasPrefix(bytes, want+`"`) {
		t.Errorf("the end marker stands behind %s bytes and says %.10s", want, bytes)
	}
}

func TestWithoutMarkers(t *testing.T) {
	m := &memory{}
	e := New([]Sink{m}, Options{})
	e.Run(t.Context(), &script{batches: []*record.Batch{batch(1, 2)}, end: io.EOF})
	e.Finish(0)
	if got := brief(t, m.text.String()); got != "1 2" {
		t.Errorf("got %s", got)
	}
}

func TestNothingIsWrittenWithoutRecords(t *testing.T) {
	for _, row := range []struct {
		name  string
		start *tsem.Start
		end   func(*Exporter)
	}{
		{"no markers, no records", nil, func(e *Exporter) { e.Finish(0) }},
		{"abandoned", markers(), func(e *Exporter) { e.Abandon() }},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := &memory{fail: func(*record.Batch) error { t.Error("Write was called"); return nil }}
			e := New([]Sink{m}, Options{Start: row.start})
			e.Run(t.Context(), &script{end: io.EOF})
			row.end(e)
			if m.closed != 1 {
				t.Errorf("closed %d times", m.closed)
			}
		})
	}
}

func TestASinkThatFails(t *testing.T) {
	// The first events fail, later ones do not: calls counts Write calls.
	failing := func(first, last, taken int) func(*record.Batch) error {
		calls := 0
		return func(*record.Batch) error {
			if calls++; calls < first || calls > last {
				return nil
			}
			return full(taken)
		}
	}
	for _, row := range []struct {
		name string
		fail func(*record.Batch) error
		want string
		lost string
	}{
		{"for good, from the beginning", failing(1, 99, 0), "", "9 output_full"},
		{"for good, in the middle", failing(3, 99, 0), "start 1 2 3", "6 output_full"},
		{"within a batch", failing(3, 99, 1), "start 1 2 3 4", "5 output_full"},
		{"for a while", failing(3, 3, 1), "start 1 2 3 4 lost(4+2 output_full m) 7 8 9 end(7 lost=2 status=0)", "2 output_full"},
		{"until the end", failing(3, 4, 0), "start 1 2 3 lost(3+6 output_full m) end(3 lost=6 status=0)", "6 output_full"},
		{"at the start only", failing(1, 1, 0), "start lost(0+3 output_full m) 4 5 6 7 8 9 end(6 lost=3 status=0)", "3 output_full"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, other := &memory{name: "m", fail: row.fail}, &memory{name: "other"}
			told := 0
			e := New([]Sink{m, other}, Options{Start: markers(), Failed: func(sink string, err error) {
				if told++; sink != "m" || err == nil {
					t.Errorf("told of sink %s: %v", sink, err)
				}
			}})
			source := &script{batches: []*record.Batch{batch(1, 3), batch(4, 6), batch(7, 9)}, end: io.EOF}
			if err := e.Run(t.Context(), source); err != nil {
				t.Error(err)
			}
			if told != 1 {
				t.Errorf("told %d times by the end of Run, want 1", told)
			}
			s := e.Finish(0)
			if got := brief(t, m.text.String()); !strings.HasPrefix(got, row.want) || row.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			if got, want := brief(t, other.text.String()), "start 1 2 3 4 5 6 7 8 9 end(9 lost=0 status=0)"; got != want {
				t.Errorf("the other sink got  %s\nwant %s", got, want)
			}
			if got := s.Sinks[0].Losses.String(); got != row.lost || s.Sinks[0].Err == nil {
				t.Errorf("losses %q (%v), want %q", got, s.Sinks[0].Err, row.lost)
			}
			if !s.Sinks[1].Losses.None() || s.Sinks[1].Err != nil || !s.Source.None() || !s.Lost() {
				t.Errorf("summary: %+v", s)
			}
			if m.closed != 1 || other.closed != 1 {
				t.Error("a sink was not closed")
			}
		})
	}
}

func TestAMissedLossRecordMakesTheCountUnknown(t *testing.T) {
	calls := 0
	m := &memory{name: "m", fail: func(*record.Batch) error {
		if calls++; calls == 3 {
			return full(0)
		}
		return nil
	}}
	second := batch(2, 3)
	second.Append(0, []byte(`{"export": {"type": "lost"}}`))
	e := New([]Sink{m}, Options{Start: markers()})
	e.Run(t.Context(), &script{batches: []*record.Batch{batch(1, 1), second, batch(9, 9)}, end: io.EOF})
	e.Finish(0)
	if got, want := brief(t, m.text.String()), "start 1 lost(1+ output_full m) 9 end(2 lost=2 status=0)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestASourceThatBreaksOff(t *testing.T) {
	broken := errors.New("listener is gone")
	cancelled, cancel := context.WithCancel(t.Context())
	for _, row := range []struct {
		name   string
		ctx    context.Context
		source *script
		err    error
		cause  string
	}{
		{"with an error", t.Context(), &script{end: broken}, broken, "source_ended"},
		{"because it was told to", cancelled, &script{before: func(i int) {
			if i == 1 {
				cancel()
			}
		}}, context.Canceled, "run_stopped"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := &memory{name: "m"}
			row.source.batches = []*record.Batch{batch(1, 2)}
			row.source.lost.Add(record.CauseRingFull, 4)
			e := New([]Sink{m}, Options{Start: markers()})
			if err := e.Run(row.ctx, row.source); !errors.Is(err, row.err) {
				t.Errorf("Run: %v, want %v", err, row.err)
			}
			s := e.Finish(1)
			want := "start 1 2 lost(2+ " + row.cause + " ) end(2 lost= status=1)"
			if got := brief(t, m.text.String()); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if got, want := s.Source.String(), "4 ring_full, an unknown number "+row.cause; got != want {
				t.Errorf("losses %q, want %q", got, want)
			}
		})
	}
}

func TestABatchMayComeWithTheEnd(t *testing.T) {
	m := &memory{}
	e := New([]Sink{m}, Options{})
	if err := e.Run(t.Context(), lastBatch{}); err != nil {
		t.Error(err)
	}
	e.Finish(0)
	if got := brief(t, m.text.String()); got != "1 2" {
		t.Errorf("got %s", got)
	}
}

type lastBatch struct{}

func (lastBatch) Next(context.Context) (*record.Batch, error) { return batch(1, 2), io.EOF }
func (lastBatch) Losses() record.Losses                       { return record.Losses{} }

func TestSilentSourceIsFlushedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		e := New([]Sink{m}, Options{FlushInterval: time.Second})
		source := &script{batches: []*record.Batch{batch(1, 2), batch(3, 4), batch(5, 6)}, end: io.EOF}
		source.before = func(i int) {
			switch i {
			case 1: // within the interval: not yet
				time.Sleep(900 * time.Millisecond)
				synctest.Wait()
				if m.flushes != 0 {
					t.Errorf("%d flushes within the interval", m.flushes)
				}
			case 2: // the interval counts from the first record
				time.Sleep(101 * time.Millisecond)
				synctest.Wait()
				if m.flushes != 1 || m.flushed != m.text.Len() {
					t.Errorf("%d flushes, %d of %d bytes", m.flushes, m.flushed, m.text.Len())
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if m.flushes != 1 {
					t.Errorf("%d flushes though nothing was written", m.flushes)
				}
			case 3:
				time.Sleep(1001 * time.Millisecond)
				synctest.Wait()
				if m.flushes != 2 {
					t.Errorf("%d flushes, want 2", m.flushes)
				}
			}
		}
		e.Run(t.Context(), source)
		e.Finish(0)
		flushes := m.flushes
		time.Sleep(time.Hour)
		synctest.Wait()
		if m.flushes != flushes || m.closed != 1 {
			t.Errorf("flushed after the end, or closed %d times", m.closed)
		}
	})
}

func TestAFlushThatFailsLeavesDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{name: "m", sync: errors.New("input/output error")}
		told := 0
		e := New([]Sink{m}, Options{Start: markers(), Failed: func(string, error) { told++ }})
		source := &script{batches: []*record.Batch{batch(1, 2), batch(3, 4), batch(5, 5)}, end: io.EOF}
		source.before = func(i int) {
			if i > 0 {
				time.Sleep(2 * time.Second)
				synctest.Wait()
			}
		}
		e.Run(t.Context(), source)
		s := e.Finish(0)
		const want = "start 1 2 lost(2+ sync_error m) 3 4 5 end(5 lost= status=0)"
		if got := brief(t, m.text.String()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if told != 1 || s.Losses().String() != "an unknown number sync_error" {
			t.Errorf("told %d times, losses %q", told, s.Losses())
		}
	})
}

func BenchmarkPump(b *testing.B) {
	m := discard{}
	records := batch(1, 100)
	source := &script{end: io.EOF}
	for range b.N {
		source.batches = append(source.batches, records)
	}
	b.SetBytes(int64(len(records.Buf)))
	b.ReportAllocs()
	b.ResetTimer()
	e := New([]Sink{m}, Options{})
	e.Run(b.Context(), source)
	e.Finish(0)
}

type discard struct{}

func (discard) Name() string              { return "" }
func (discard) Write(*record.Batch) error { return nil }
func (discard) Flush() error              { return nil }
func (discard) Close() error              { return nil }

// With Keep what a sink does not take stays in the ledger from its first error on,
// and is no loss.
func TestKeep(t *testing.T) {
	l, _, err := ledger.Keep(filepath.Join(t.TempDir(), "ledger"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	sink := &fullSink{room: 3}
	e := New([]Sink{sink}, Options{Ledger: l, Keep: true})
	var want []byte
	for i := range 3 {
		var b record.Batch
		b.At = l.Head()
		for n := range 2 {
			line := fmt.Appendf(nil, "{\"n\": %d}", 2*i+n)
			if !l.Commit(append(append(l.Room(), line...), '\n'), 0) {
				t.Fatal("no room")
			}
			b.Append(1, line)
			if 2*i+n >= 3 {
				want = append(append(want, line...), '\n')
			}
		}
		e.take(&b)
	}
	s := e.Finish(0)
	if s.Lost() || !s.Kept() || sink.lines != 3 {
		t.Errorf("lost %v, kept %v, taken %d", s.Lost(), s.Kept(), sink.lines)
	}
	if got := l.Left(l.Output(0)); !bytes.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

// fullSink takes so many records.
type fullSink struct{ room, lines int }

func (s *fullSink) Name() string { return "full" }
func (s *fullSink) Flush() error { return nil }
func (s *fullSink) Close() error { return nil }
func (s *fullSink) Write(b *record.Batch) error {
	n := min(b.Len(), s.room-s.lines)
	s.lines += n
	if n < b.Len() {
		return &record.WriteError{Taken: n, Cause: record.CauseOutputFull, Err: errors.New("full")}
	}
	return nil
}
