// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// entry is one record of a ring, as it was recorded by TestEveryEventIsToldInFull
// with QUIXOTE_BPF_RECORD set.
type entry struct {
	b    []byte
	note bool
}

// writeEntry writes the length of b, with the top bit set for a note, and b.
func writeEntry(w io.Writer, b []byte, note bool) {
	n := uint32(len(b))
	if note {
		n |= 1 << 31
	}
	var size [4]byte
	binary.LittleEndian.PutUint32(size[:], n)
	w.Write(size[:])
	w.Write(b)
}

// recorded reads the entries of testdata.
func recorded(t testing.TB) (entries []entry) {
	t.Helper()
	f, err := os.Open("testdata/ring.gz")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) >= 4 {
		n := binary.LittleEndian.Uint32(b)
		note := n>>31 != 0
		n &= 1<<31 - 1
		entries = append(entries, entry{b[4 : 4+n], note})
		b = b[4+n:]
	}
	return entries
}

// replay makes a decoder that has read all of entries, and returns those that
// are events. Their files are not on this host, and have all been found.
func replay(t testing.TB, entries []entry) (*decoder, []entry) {
	t.Helper()
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	files := newDigests(alg, 0)
	digest := alg.Z()
	files.find = func(*head, *fileState, *tsem.Path, uint32) (tsem.Digest, string) { return digest, "" }
	d := newDecoder(alg, model.Default(), files)
	var events []entry
	for _, e := range entries {
		if e.note {
			d.note(e.b)
			continue
		}
		ev := d.decode(e.b)
		if ev == nil {
			if !d.note(e.b) {
				t.Fatalf("an entry cannot be read: %x", e.b[:min(len(e.b), 32)])
			}
			continue
		}
		events = append(events, e)
	}
	return d, events
}

func TestRecordedEntriesAreRead(t *testing.T) {
	entries := recorded(t)
	d, events := replay(t, entries)
	seen := make(map[tsem.Type]bool)
	var p tsem.Parser
	for _, e := range events {
		ev := d.decode(e.b)
		seen[ev.Type] = true
		line := ev.AppendJSON(nil)
		if _, err := p.Parse(line); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		// Cut short it is no event, and nothing is read beyond its end.
		if len(e.b) > headSize && ev.Type != tsem.TunDevCreate && ev.Type != tsem.TunDevOpen && d.decode(e.b[:len(e.b)-8]) != nil {
			t.Errorf("an event of type %s that is cut short is taken", ev.Type)
		}
	}
	if len(seen) < 70 {
		t.Errorf("%d types were recorded", len(seen))
	}
	n := testing.AllocsPerRun(5, func() {
		line := make([]byte, 0, 16<<10)
		for _, e := range events {
			line = d.decode(e.b).AppendJSON(line[:0])
		}
	})
	if n > float64(len(events))/100 {
		t.Errorf("%v allocations for %d events", n, len(events))
	}
}

// BenchmarkDecode goes from what was recorded of the ring to JSON.
func BenchmarkDecode(b *testing.B) {
	d, events := replay(b, recorded(b))
	line := make([]byte, 0, 64<<10)
	b.ReportAllocs()
	n := 0
	begun := cpuTime(b)
	for b.Loop() {
		e := events[n%len(events)]
		line = d.decode(e.b).AppendJSON(line[:0])
		n++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	// What a core does, however busy the machine is with others.
	b.ReportMetric(float64(b.N)/(cpuTime(b)-begun).Seconds(), "events/cpu-s")
}

// cpuTime is what this process has had of the processors until now.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func FuzzDecode(f *testing.F) {
	for _, e := range recorded(f)[:20] {
		f.Add(e.b)
	}
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDecoder(alg, model.Default(), newDigests(alg, 0))
		if e := d.decode(b); e != nil {
			var p tsem.Parser
			if _, err := p.Parse(e.AppendJSON(nil)); err != nil {
				t.Error(err)
			}
		}
		d.note(b)
	})
}
