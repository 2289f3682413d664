// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"testing"

	"quixote-export/internal/ledger"
)

// BenchmarkLook takes what the supervisor does with each record.
func BenchmarkLook(b *testing.B) {
	l, err := ledger.New(ledger.DefaultSize)
	if err != nil {
		b.Fatal(err)
	}
	raw, _ := rename("/tmp/some/folder/a-file", "/tmp/some/folder/another-file", "bench")
	const n = 1000
	for i := range n {
		if !l.Commit(raw, uint64(i+1)) {
			b.Fatal("the ledger is full")
		}
	}
	s := newSource(-1, Options{Ledger: l})
	b.SetBytes(int64(n * len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		s.batch.Reset()
		s.look()
		if s.batch.Len() != n {
			b.Fatalf("%d records", s.batch.Len())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
