// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"slices"
)

// Ack notes that the first n records that are not acknowledged yet are where
// they should be. They were returned by Next. An error says that they may come
// out again after kill -9; it is the only harm.
func (q *Queue) Ack(n int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errClosed
	}
	if held := q.held(q.read); n < 0 || n > held {
		return fmt.Errorf("cannot acknowledge %d records of the spool %s: %d were read", n, q.dir.path, held)
	}
	if n == 0 {
		return nil
	}
	left := uint64(n)
	for len(q.gaps) > 0 && left >= q.gaps[0].first-q.head {
		left -= q.gaps[0].first - q.head
		q.head = q.gaps[0].after
		q.gaps = q.gaps[1:]
	}
	q.head += left
	err := q.ack.write(q.head)
	if derr := q.dropRead(); err == nil {
		err = derr
	}
	return err
}

// dropRead deletes the segments that are acknowledged as a whole. The last one
// stays, to be written to.
func (q *Queue) dropRead() error {
	n := 0
	for n+1 < len(q.segments) && q.segments[n+1].first <= q.head {
		n++
	}
	return q.drop(n)
}

// drop deletes the first n segments.
func (q *Queue) drop(n int) error {
	for _, s := range q.segments[:n] {
		if err := q.dir.remove(s.name()); err != nil {
			return err
		}
		if s.file != nil {
			s.file.Close()
		}
		q.bytes -= s.size
		q.segments = q.segments[1:]
		q.folder = true
	}
	return nil
}

// A gap is a run of numbers whose records are lost.
type gap struct{ first, after uint64 }

// addGap notes a gap, and returns how many of its numbers were in none.
func (q *Queue) addGap(g gap) uint64 {
	fresh := g.after - g.first
	merged := g
	kept := q.gaps[:0:0]
	for _, old := range q.gaps {
		if old.after < g.first || old.first > g.after {
			kept = append(kept, old)
			continue
		}
		fresh -= min(old.after, g.after) - max(old.first, g.first)
		merged = gap{min(old.first, merged.first), max(old.after, merged.after)}
	}
	at, _ := slices.BinarySearchFunc(kept, merged.first, func(g gap, n uint64) int {
		if g.first < n {
			return -1
		}
		return 1
	})
	q.gaps = slices.Insert(kept, at, merged)
	if q.gaps[0].first <= q.head {
		q.head = q.gaps[0].after
		q.gaps = q.gaps[1:]
	}
	return fresh
}
