// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// leave makes a queue of three batches and closes it, and returns the segment
// and where each batch begins in it.
func leave(t *testing.T, dir string) (segment string, starts []int64) {
	t.Helper()
	q := open1(t, dir, Options{})
	for i := range 3 {
		starts = append(starts, q.Bytes())
		put(t, q, numbered(2*i, 2*i+2)...)
	}
	starts = append(starts, q.Bytes())
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "00000000000000000000.seg"), starts
}

func readBytes(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeBytes(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A writer that was killed leaves a segment that ends anywhere: what is whole
// comes out, what is torn is cut off and told, and the queue goes on.
func TestTornAtEveryByte(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	path, starts := leave(t, dir)
	whole := readBytes(t, path)
	for length := range len(whole) + 1 {
		writeBytes(t, path, whole[:length])
		q := open1(t, dir, Options{})
		batches := 0
		for int64(length) >= starts[batches] && batches < 3 && int64(length) >= starts[batches+1] {
			batches++
		}
		torn := int64(length) - starts[batches]
		if d := q.Damage(); d != (Damage{Torn: torn}) {
			t.Fatalf("at %d: damage %+v, want %d bytes torn", length, d, torn)
		}
		put(t, q, "behind")
		want := append(numbered(0, 2*batches), "behind")
		if q.Len() != len(want) {
			t.Fatalf("at %d: length %d, want %d", length, q.Len(), len(want))
		}
		wantLines(t, take(t, q, 9), want)
		if d := q.Damage(); d.Records != 0 || d.Unknown {
			t.Fatalf("at %d: damage %+v", length, d)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Of a batch that is damaged nothing comes out, and its records are counted,
// before those behind it are handed out. At the end of the last segment the
// count can be unknown.
func TestEveryBitFlipped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	path, starts := leave(t, dir)
	whole := readBytes(t, path)
	for at := range len(whole) {
		bit := rand.IntN(8)
		damaged := slices.Clone(whole)
		damaged[at] ^= 1 << bit
		writeBytes(t, path, damaged)
		hit := 0
		for int64(at) >= starts[hit+1] {
			hit++
		}
		q := open1(t, dir, Options{})
		put(t, q, "behind")
		var got []string
		before := -1
		for {
			buf, ends, err := q.Next(1)
			if err != nil {
				t.Fatal(err)
			}
			if len(ends) == 0 {
				break
			}
			if d := q.Damage(); before < 0 && (d.Records > 0 || d.Unknown) {
				before = len(got)
			}
			got = append(got, strings.TrimSuffix(string(buf), "\n"))
		}
		want := slices.Concat(numbered(0, 2*hit), numbered(2*hit+2, 6), []string{"behind"})
		wantLines(t, got, want)
		d := q.Damage()
		tail := hit == 2 && int64(at) < starts[2]+headerSize
		if ok := d.Records == 2 && !d.Unknown || tail && d.Unknown; !ok {
			t.Fatalf("bit %d of byte %d: damage %+v", bit, at, d)
		}
		if !d.Unknown && before != 2*hit {
			t.Fatalf("byte %d: told behind %d records, want %d", at, before, 2*hit)
		}
		// Once more, and to the end: it is counted once.
		q.Rewind()
		wantLines(t, take(t, q, 9), want)
		if err := q.Ack(len(want)); err != nil {
			t.Fatal(err)
		}
		if q.Damage() != d || q.Len() != 0 {
			t.Fatalf("byte %d: damage %+v, then %+v; length %d", at, d, q.Damage(), q.Len())
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// Acknowledging goes over what is damaged, one record at a time as well, and
// what comes later is not told again.
func TestAcknowledgingOverDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	path, starts := leave(t, dir)
	whole := readBytes(t, path)
	whole[starts[1]+headerSize+9] ^= 1
	writeBytes(t, path, whole)
	for _, want := range []string{"record 0", "record 1", "record 4", "record 5"} {
		q := open1(t, dir, Options{})
		wantLines(t, take(t, q, 1), []string{want})
		if err := q.Ack(1); err != nil {
			t.Fatal(err)
		}
		take(t, q, 9)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if names := files(t, dir); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

// A middle segment that is cut short, emptied or deleted is a known number of
// records that are lost.
func TestASegmentThatIsDamagedAsAWhole(t *testing.T) {
	line := strings.Repeat("z", 999)
	for name, spoil := range map[string]func(path string) error{
		"cut":     func(path string) error { return os.Truncate(path, 30_000) },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"zeros":   func(path string) error { return os.WriteFile(path, make([]byte, 70_000), 0o600) },
		"garbage": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat(magic, 9000)), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "spool")
			q := open1(t, dir, Options{Limit: 1 << 20})
			for i := range 300 {
				put(t, q, fmt.Sprintf("%03d %s", i, line))
			}
			q.Close()
			names := files(t, dir)
			if len(names) < 4 {
				t.Fatalf("files %v, want four segments", names)
			}
			if err := spoil(filepath.Join(dir, names[1])); err != nil {
				t.Fatal(err)
			}
			q = open1(t, dir, Options{Limit: 1 << 20})
			got := take(t, q, 1000)
			if d := q.Damage(); d.Unknown || d.Torn != 0 || int(d.Records)+len(got) != 300 || d.Records < 10 || q.Len() != len(got) {
				t.Errorf("%d records, length %d, damage %+v", len(got), q.Len(), d)
			}
			if !slices.IsSorted(got) || !strings.HasPrefix(got[len(got)-1], "299 ") {
				t.Errorf("not in order, or not to the end")
			}
			if err := q.Ack(len(got)); err != nil || q.Len() != 0 {
				t.Errorf("length %d, %v", q.Len(), err)
			}
		})
	}
}

// The place of the first record survives the loss of either slot, and of both:
// then records come out again.
func TestTheHeadHasTwoSlots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{})
	put(t, q, numbered(0, 9)...)
	take(t, q, 9)
	q.Ack(3)
	q.Ack(2)
	q.Close()
	head := filepath.Join(dir, headName)
	whole := readBytes(t, head)
	for _, row := range []struct{ spoiled, want int }{{0, 5}, {slotApart, 3}} {
		for at := range slotSize {
			b := slices.Clone(whole)
			b[row.spoiled+at] ^= 0x55
			writeBytes(t, head, b)
			q := open1(t, dir, Options{})
			got := take(t, q, 9)
			q.Close()
			// One of them held the last number.
			if !slices.Equal(got, numbered(row.want, 9)) && !slices.Equal(got, numbered(8-row.want, 9)) {
				t.Fatalf("byte %d: %q", row.spoiled+at, got)
			}
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 5), make([]byte, 5000)} {
		writeBytes(t, head, b)
		q := open1(t, dir, Options{})
		wantLines(t, take(t, q, 9), numbered(0, 9))
		q.Close()
	}
}

// A power failure can keep the acknowledgement and lose the record. Its number
// is not used again, or a new record would pass for acknowledged.
func TestAHeadBehindTheRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{})
	put(t, q, numbered(0, 4)...)
	take(t, q, 4)
	q.Ack(3)
	q.Close()
	if err := os.Truncate(filepath.Join(dir, "00000000000000000000.seg"), 0); err != nil {
		t.Fatal(err)
	}
	q = open1(t, dir, Options{})
	put(t, q, "new")
	wantLines(t, take(t, q, 9), []string{"new"})
	q.Close()
	q = open1(t, dir, Options{})
	wantLines(t, take(t, q, 9), []string{"new"})
}

// FuzzSegment opens whatever a segment holds: no panic, no record that was not
// appended, and the queue goes on.
func FuzzSegment(f *testing.F) {
	buf, ends := batch("a", "bc", "")
	one := append(appendFrame(nil, 0, buf, ends, 0), buf...)
	two := append(appendFrame(nil, 3, buf, ends, 0), buf...)
	f.Add(one)
	f.Add(slices.Concat(one, two))
	f.Add(slices.Concat(one, one, two[:20], two))
	f.Add([]byte(magic + magic))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := filepath.Join(t.TempDir(), "spool")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeBytes(t, filepath.Join(dir, "00000000000000000000.seg"), text)
		q, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		put(t, q, "behind")
		got := take(t, q, 1<<20)
		if len(got) == 0 || got[len(got)-1] != "behind" {
			t.Fatalf("the new record is not the last: %q", got)
		}
		if n := q.Len(); n != len(got) {
			t.Errorf("length %d, and %d records", n, len(got))
		}
		q.Rewind()
		wantLines(t, take(t, q, 1<<20), got)
		if err := q.Ack(len(got)); err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if names := files(t, dir); len(names) != 0 {
			t.Errorf("left: %v", names)
		}
	})
}
