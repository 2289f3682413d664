// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"os"
	"testing"

	"quixote-export/tsem"
)

func samples(t testing.TB) [][]byte {
	t.Helper()
	text, err := os.ReadFile("../../../tsem/testdata/samples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.SplitAfter(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})
}

func TestKindsOfAllRecords(t *testing.T) {
	var p tsem.Parser
	seen := make(map[string]bool)
	for _, line := range samples(t) {
		r, err := p.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		want := string(r.EventType)
		if r.Kind != tsem.KindEvent && r.Kind != tsem.KindAsyncEvent {
			want = r.Kind.String()
		}
		if got := string(kindOf(line)); got != want {
			t.Errorf("got %q, want %q: %.200s", got, want, line)
		}
		seen[want] = true
		if r.Event != nil {
			at := placeOf(line)
			if !at.event || at.context != r.Event.Context || at.number != r.Event.Number {
				t.Errorf("it is at %+v: %.200s", at, line)
			}
		}
	}
	if len(seen) < 80 {
		t.Errorf("%d kinds in the samples", len(seen))
	}
}

func TestKindsOfOtherLines(t *testing.T) {
	const head = `{"export": {"type": "event"}, "event": {"pid": "1", "process": `
	start, lost := tsem.Start{Run: "r"}, tsem.Lost{Cause: "c"}
	for line, want := range map[string]string{
		string(start.AppendJSON(nil)):                               "start",
		string(lost.AppendJSON(nil)):                                "lost",
		head + `"x\", \"type\": \"lie", "type": "file_open", "ttd"`: "file_open",
		head + `"x", "process_b64": "eA==", "type": "file_open"`:    "file_open",
		head + `"x`:               "event",
		head + `"x", "type": "`:   "event",
		head + `"x", "type": ""}`: "event",
		`{"export": {"type": "event", "time": "t"}, "event": {"process": "x", "type": "kill"`: "kill",
		`{"export": {"type": "event"}, "event": {"type": "kill"`:                              "kill",
		`{"export": {"type": "`: "unknown",
		"":                      "unknown",
		"no record":             "unknown",
	} {
		if got := string(kindOf([]byte(line))); got != want {
			t.Errorf("got %q, want %q: %s", got, want, line)
		}
	}
}

// FuzzKind compares with the parser what both can read.
func FuzzKind(f *testing.F) {
	for _, line := range samples(f)[:5] {
		f.Add(line)
	}
	f.Add([]byte(`{"export": {"type": "lost"}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		kind := kindOf(line)
		e := tsem.Event{Process: line, PID: 1}
		e.SetCell(tsem.FileOpen, tsem.NewCell(tsem.FileOpen))
		if got := string(kindOf(e.AppendJSON(nil))); got != "file_open" {
			t.Errorf("an event of a process called %q is of kind %q", line, got)
		}
		if len(kind) > len(line) && string(kind) != "unknown" {
			t.Errorf("%q of %q", kind, line)
		}
	})
}

func BenchmarkKind(b *testing.B) {
	line := samples(b)[1]
	for range b.N {
		kindOf(line)
	}
}
