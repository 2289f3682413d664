// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
	"quixote-export/internal/spool"
	"quixote-export/tsem"
)

// BenchmarkOutage takes records of some 800 bytes through the spool as an
// outage does: written in batches of a source while the broker is away, then
// read as a publisher takes them, 1,000 in flight. CPU/record is that of user
// and kernel together.
func BenchmarkOutage(b *testing.B) {
	for _, size := range []int{10, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			q, err := spool.Open(filepath.Join(b.TempDir(), "spool"), spool.Options{Limit: 16 << 30})
			if err != nil {
				b.Fatal(err)
			}
			s := New(Options{Name: "b", Spool: q, Notice: func(string) {}})
			s.topic = "test"
			e := tsem.Event{PID: 1, Context: 3, Number: 1, Process: make([]byte, 250)}
			for i := range e.Process {
				e.Process[i] = 'x'
			}
			e.SetCell(tsem.FileOpen, tsem.NewCell(tsem.FileOpen))
			batch := &record.Batch{Context: 3}
			for range size {
				batch.Append(tsem.FileOpen, e.AppendJSON(nil))
			}
			// An outage has begun: nothing of what follows stays in memory.
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
			s.mu.Lock()
			err = s.spill()
			s.mu.Unlock()
			if err != nil {
				b.Fatal(err)
			}
			const inFlight = 1000
			drain := func() {
				f, given := (*feed)(s), 0
				for s.Waiting() > 0 {
					for given < inFlight {
						if _, ok := f.Next(1 << 20); !ok {
							break
						}
						given++
					}
					f.Settled(given, nil)
					given = 0
				}
			}
			used := cpu()
			b.ResetTimer()
			for written := 0; written < b.N; {
				for n := 0; n < 200_000 && written < b.N; n += size {
					if err := s.Write(batch); err != nil {
						b.Fatal(err)
					}
					written += size
				}
				drain()
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu()-used)/float64(b.N), "CPU-ns/record")
			b.SetBytes(int64(len(batch.Buf) / size))
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func cpu() int64 {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
