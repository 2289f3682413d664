// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func newLedger(t testing.TB, size int) *Ledger {
	t.Helper()
	l, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// other is the view that another process would have.
func other(t *testing.T, l *Ledger) *Ledger {
	t.Helper()
	fd, err := unix.FcntlInt(l.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Open(os.NewFile(uintptr(fd), "records"))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Lines of any length, read and given up in pieces of any length, come out as
// they were put in, also for the other process, and nothing is given up that an
// output does not have.
func TestLedgerKeepsLines(t *testing.T) {
	l := newLedger(t, os.Getpagesize())
	o := l.Output(1)
	o.Use()
	peer := other(t, l)
	rng := rand.New(rand.NewPCG(1, 2))
	var want []byte // committed and not safe
	var safe, read uint64
	for n := range 20_000 {
		line := append(l.Room(), fmt.Sprintf("%d %s\n", n, bytes.Repeat([]byte{'x'}, rng.IntN(900)))...)
		for !l.Commit(line, uint64(n)) {
			if len(want) == 0 {
				t.Fatal("no room in an empty ring")
			}
			cut := bytes.IndexByte(want, '\n') + 1
			want = want[cut:]
			safe += uint64(cut)
			o.SetSafe(safe)
			read = l.Head()
			l.Release(read)
		}
		want = append(want, line...)
		if len(want) == len(line) {
			safe = l.Head() - uint64(len(line)) // it may have begun anew
		}
		if got := peer.Left(peer.Output(1)); !bytes.Equal(got, want) {
			t.Fatalf("line %d: left is %d bytes, want %d", n, len(got), len(want))
		}
		if peer.Number() != uint64(n) {
			t.Fatalf("number %d, want %d", peer.Number(), n)
		}
	}
}

func TestLedgerBeginsAnewWhenEmpty(t *testing.T) {
	l := newLedger(t, 1<<20)
	for range 10_000 {
		if !l.Commit(append(l.Room(), bytes.Repeat([]byte{'x'}, 999)...), 0) {
			t.Fatal("no room")
		}
		l.Release(l.Head())
	}
	if at := l.Head() % (1 << 20); at > 1<<17 {
		t.Errorf("an empty ring went on at %d", at)
	}
}

func TestLedgerRefusesNonsense(t *testing.T) {
	if _, err := New(5000); err == nil {
		t.Error("a size that is no power of two was taken")
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f); err == nil {
		t.Error("an empty file was taken for a ledger")
	}
	l := newLedger(t, os.Getpagesize())
	if l.Commit(make([]byte, l.Size()+1), 0) {
		t.Error("a line longer than the ring was committed")
	}
	if err := l.File().Truncate(10); err == nil {
		t.Error("the file could be cut")
	}
}

func BenchmarkCommit(b *testing.B) {
	l := newLedger(b, DefaultSize)
	line := bytes.Repeat([]byte{'x'}, 700)
	b.ReportAllocs()
	for b.Loop() {
		if !l.Commit(append(l.Room(), line...), 0) {
			l.Release(l.Head())
		}
	}
}
