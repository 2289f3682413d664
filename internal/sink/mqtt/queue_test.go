// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The queue beside a simple model, with lines of all lengths.
func TestQueue(t *testing.T) {
	const size = 1000
	q := newQueue(size)
	var model []string
	given, next := 0, 0
	r := rand.New(rand.NewPCG(1, 2))
	wrapped := 0
	for range 200_000 {
		switch r.IntN(4) {
		case 0, 1:
			line := fmt.Sprint(next, strings.Repeat("x", r.IntN(80))) + "\n"
			if r.IntN(500) == 0 {
				line = fmt.Sprint(next, strings.Repeat("y", size+r.IntN(size))) + "\n"
			}
			used := q.bytes
			if !q.push([]byte(line)) {
				// At most a hole at the end of the ring is not used.
				if used+len(line)+200 <= size {
					t.Fatalf("no room for %d bytes beside %d", len(line), used)
				}
				continue
			}
			next++
			model = append(model, line)
			if q.n > 1 && q.at(q.n-1).start == 0 {
				wrapped++
			}
		case 2:
			most := 1 + r.IntN(4)
			text, n := q.give(most, 200, func(a, b []byte) bool { return len(b)%7 > 0 })
			if n == 0 {
				if given < len(model) {
					t.Fatal("nothing is given")
				}
				continue
			}
			want := strings.TrimSuffix(strings.Join(model[given:given+n], ""), "\n")
			if string(text) != want || n > 1 && len(text) > 200 {
				t.Fatalf("given %q, want %q", text, want)
			}
			given += n
		case 3:
			n := r.IntN(given + 1)
			q.pop(n)
			model, given = model[n:], given-n
		}
		if q.n != len(model) || q.given != given {
			t.Fatalf("%d lines, %d given, want %d, %d", q.n, q.given, len(model), given)
		}
	}
	buf, ends := q.copy()
	if string(buf) != strings.Join(model, "") || len(ends) != len(model) {
		t.Errorf("%d lines are copied, want %d", len(ends), len(model))
	}
	if wrapped < 100 {
		t.Errorf("the ring came round %d times", wrapped)
	}
}

func TestQueueKeepsWhatIsGivenInPlace(t *testing.T) {
	q := newQueue(1 << 10)
	all := func(a, b []byte) bool { return true }
	var kept [][2][]byte
	for i := range 10_000 {
		for q.push(fmt.Appendf(nil, "%d %s\n", i, strings.Repeat("z", i%50))) {
		}
		text, n := q.give(1+i%3, 100, all)
		if n > 0 {
			kept = append(kept, [2][]byte{text, bytes.Clone(text)})
		}
		if i%2 == 0 && len(kept) > 0 && q.given > 0 {
			if k := kept[0]; !bytes.Equal(k[0], k[1]) {
				t.Fatalf("%q was %q when it was given", k[0], k[1])
			}
			q.pop(bytes.Count(kept[0][1], []byte{'\n'}) + 1)
			kept = kept[1:]
		}
	}
}
