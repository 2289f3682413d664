// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"quixote-export/internal/ledger"
	"quixote-export/tsem"
)

// Records come in groups of the size that was asked for, all of them, in order,
// first those that somebody else has left.
func TestGroups(t *testing.T) {
	l, _, err := ledger.Keep(filepath.Join(t.TempDir(), "ledger"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	event := tsem.Event{Type: tsem.Capable, Cell: &tsem.CapableCell{}}
	record := func(r *Recorder, n int) {
		r.Lock()
		defer r.Unlock()
		for range n {
			r.Append(&event)
		}
	}
	record(New(0, l), 25) // and nobody takes them

	r := New(0, l)
	r.Group(10)
	r.Resume(25)
	record(r, 13)
	r.End(io.EOF)
	next := uint64(1)
	var sizes []int
	for {
		b, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, b.Len())
		if got := l.Between(b.At, b.At+uint64(len(b.Buf))); string(got) != string(b.Buf) {
			t.Errorf("a batch is not what is at %d of the ledger", b.At)
		}
		for i := range b.Len() {
			if n, _ := b.Number(i); n != next || b.Types[i] != tsem.Capable {
				t.Errorf("event %d of type %v, want %d", n, b.Types[i], next)
			}
			next++
		}
	}
	if next != 39 || len(sizes) != 4 || sizes[0] != 10 || sizes[3] != 8 {
		t.Errorf("%d events in groups of %v", next-1, sizes)
	}
}
