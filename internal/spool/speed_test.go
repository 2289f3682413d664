// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNeitherWritingNorReadingAllocatesForARecord(t *testing.T) {
	q := open1(t, filepath.Join(t.TempDir(), "spool"), Options{})
	buf, ends := batch(slices.Repeat([]string{strings.Repeat("x", 700)}, 100)...)
	allocs := testing.AllocsPerRun(200, func() {
		if err := q.Append(buf, ends); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 100; {
			_, got, err := q.Next(100)
			if err != nil {
				t.Fatal(err)
			}
			n += len(got)
			if err := q.Ack(len(got)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > 50 { // a few for each call
		t.Errorf("%v allocations for 100 records", allocs)
	}
}

// BenchmarkWriteAndRead is the whole way of a record of 700 bytes through the
// queue, in batches as a source makes them.
func BenchmarkWriteAndRead(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			q, err := Open(filepath.Join(b.TempDir(), "spool"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			buf, ends := batch(slices.Repeat([]string{strings.Repeat("x", 699)}, size)...)
			b.SetBytes(700)
			b.ReportAllocs()
			read, written := 0, 0
			drain := func() {
				for read < written {
					_, got, err := q.Next(1000)
					if err == nil {
						err = q.Ack(len(got))
					}
					if err != nil || len(got) == 0 {
						b.Fatal(len(got), err)
					}
					read += len(got)
				}
			}
			b.ResetTimer()
			for written < b.N {
				if err := q.Append(buf, ends); err != nil {
					b.Fatal(err)
				}
				written += size
				if written-read > 500_000 {
					drain()
				}
			}
			drain()
		})
	}
}
