// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A queue does what a slice does, whatever order it is used in and however
// often it is closed and opened.
func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			dir := filepath.Join(t.TempDir(), "spool")
			options := Options{Limit: 2 << 20}
			q := open1(t, dir, options)
			var model []string // what is not acknowledged
			read, number := 0, 0
			full := 0
			for range 3000 {
				switch random.IntN(20) {
				case 0, 1, 2, 3, 4, 5, 6:
					var lines []string
					for range random.IntN(40) {
						size := random.IntN(1000)
						if random.IntN(500) == 0 {
							size = random.IntN(maxFrame * 3 / 2)
						}
						lines = append(lines, fmt.Sprint(number, strings.Repeat("-", size)))
						number++
					}
					err := q.Append(batch(lines...))
					if errors.Is(err, ErrFull) {
						full++
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					model = append(model, lines...)
				case 7, 8, 9, 10, 11, 12:
					got := take(t, q, random.IntN(60))
					wantLines(t, got, model[read:read+len(got)])
					read += len(got)
				case 13, 14, 15, 16:
					n := random.IntN(read + 1)
					if err := q.Ack(n); err != nil {
						t.Fatal(err)
					}
					model, read = model[n:], read-n
				case 17:
					q.Rewind()
					read = 0
				case 18:
					if err := q.Sync(); err != nil {
						t.Fatal(err)
					}
				case 19:
					if random.IntN(8) > 0 {
						break
					}
					if err := q.Close(); err != nil {
						t.Fatal(err)
					}
					q = open1(t, dir, options)
					read = 0
				}
				if q.Len() != len(model) {
					t.Fatalf("length %d, want %d", q.Len(), len(model))
				}
				if q.Bytes() > options.Limit {
					t.Fatalf("%d bytes", q.Bytes())
				}
			}
			wantLines(t, take(t, q, 1<<20), model[read:])
			if d := q.Damage(); d != (Damage{}) {
				t.Errorf("damage %+v", d)
			}
			t.Logf("%d records, %d at the end, %d times full", number, len(model), full)
		})
	}
}

// A writer, a reader, and one who syncs get along.
func TestAtTheSameTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{Limit: 4 << 20})
	const records = 40_000
	written := make(chan error, 1)
	done, synced := make(chan struct{}), make(chan error, 1)
	room := make(chan struct{}, 1)
	go func() {
		line := strings.Repeat("-", 300)
		for i := 0; i < records; {
			lines := make([]string, 0, 10)
			for j := range 10 {
				lines = append(lines, fmt.Sprint(i+j, " ", line))
			}
			err := q.Append(batch(lines...))
			if errors.Is(err, ErrFull) {
				<-room
				continue
			}
			if err != nil {
				written <- err
				return
			}
			i += 10
		}
		written <- nil
	}()
	go func() {
		for {
			select {
			case <-done:
				synced <- nil
				return
			default:
			}
			if err := q.Sync(); err != nil {
				synced <- err
				return
			}
		}
	}()
	for i := 0; i < records; {
		buf, ends, err := q.Next(7)
		if err != nil {
			t.Fatal(err)
		}
		start := 0
		for _, end := range ends {
			if want := fmt.Sprint(i, " "); !strings.HasPrefix(string(buf[start:end]), want) {
				t.Fatalf("got %.20q, want %q", buf[start:end], want)
			}
			start = end
			i++
		}
		if err := q.Ack(len(ends)); err != nil {
			t.Fatal(err)
		}
		select {
		case room <- struct{}{}:
		default:
		}
	}
	close(done)
	if err := errors.Join(<-written, <-synced); err != nil {
		t.Error(err)
	}
	if q.Len() != 0 {
		t.Errorf("%d records left", q.Len())
	}
	if names := files(t, dir); slices.Contains(names, "00000000000000000000.seg") {
		t.Errorf("a segment that was acknowledged is there: %v", names)
	}
}
