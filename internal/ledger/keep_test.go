// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// A ledger that is kept has, for whoever opens it next, the lines that some
// output lacks, and with them the mark of the last one.
func TestKeptLedgerGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	rng := rand.New(rand.NewPCG(3, 4))
	var want []byte // committed, and not safe
	number := uint64(0)
	for life := range 200 {
		l, old, err := Keep(path, os.Getpagesize())
		if err != nil {
			t.Fatal(err)
		}
		if old != (life > 0) {
			t.Fatalf("life %d: old is %v", life, old)
		}
		if got := l.Marked(); got[0] != number || l.Number() != number {
			t.Fatalf("life %d: mark %d and number %d, want %d", life, got[0], l.Number(), number)
		}
		if got := l.Between(l.Tail(), l.Head()); !bytes.Equal(got, want) {
			t.Fatalf("life %d: there is %q, want %q", life, got, want)
		}
		o := l.Output(0)
		o.Use()
		safe := l.Tail()
		o.SetSafe(safe)
		for range rng.IntN(40) {
			line := fmt.Appendf(l.Room(), "%d %s\n", number+1, bytes.Repeat([]byte{'x'}, rng.IntN(300)))
			l.SetMark(Mark{number + 1})
			for !l.Commit(line, number+1) {
				cut := bytes.IndexByte(want, '\n') + 1
				want = want[cut:]
				safe += uint64(cut)
				o.SetSafe(safe)
				l.Release(l.Head())
				if len(want) == 0 {
					safe = l.Head() // it may have begun anew
				}
			}
			number++
			want = append(want, line...)
		}
		if rng.IntN(3) == 0 { // the outputs have everything
			want = nil
			o.SetSafe(l.Head())
			l.Release(l.Head())
		}
		// What comes to be recorded when we are killed has no effect.
		l.SetMark(Mark{number + 1})
		l.Offer(append(l.Room(), "not certain\n"...), number+1)
	}
}

func TestKeptLedgerThatIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	if err := os.WriteFile(path, make([]byte, 2*os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Keep(path, os.Getpagesize()); err == nil {
		t.Error("nonsense was taken for a ledger")
	}
}

// Whoever was killed while an empty ring began anew has left a tail beyond the
// head.
func TestKeptLedgerThatBeganAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, _, err := Keep(path, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	l.SetMark(Mark{7})
	if !l.Commit(append(l.Room(), bytes.Repeat([]byte{'x'}, 999)...), 1) {
		t.Fatal("no room")
	}
	before := l.load(wordHead)
	l.Release(before)
	l.store(wordHead, before) // which comes last
	if l, _, err = Keep(path, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	if l.Marked()[0] != 7 || l.Head() != l.Tail() || l.Head() <= before {
		t.Errorf("mark %v, from %d to %d", l.Marked(), l.Tail(), l.Head())
	}
	if line := append(l.Room(), "y\n"...); !l.Commit(line, 2) || string(l.Between(l.Tail(), l.Head())) != "y\n" {
		t.Error("nothing can be written any more")
	}
}
