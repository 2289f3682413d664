// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

// queueSize is how many bytes of records are kept in memory until the broker
// has acknowledged them.
const queueSize = 2 << 20

// A queue keeps lines in a ring of bytes, in order. The memory of a line stays
// where it is until the line is popped. It has no lock.
type queue struct {
	size  int // of the ring, unless a line is longer
	ring  []byte
	lines []span // a ring of its own, a power of two
	first int    // place of the oldest line
	n     int
	given int // how many, from the oldest, were handed on
	bytes int // of all lines
}

// A span is where a line is in the ring, with its LF.
type span struct{ start, end int }

func newQueue(size int) *queue { return &queue{size: size, ring: make([]byte, size)} }

func (q *queue) at(i int) span { return q.lines[(q.first+i)&(len(q.lines)-1)] }

// line returns line i with its LF.
func (q *queue) line(i int) []byte {
	s := q.at(i)
	return q.ring[s.start:s.end]
}

// push copies a line behind the others; false: there is no room.
func (q *queue) push(line []byte) bool {
	if q.n == 0 && len(line) > len(q.ring) {
		q.ring = make([]byte, len(line))
	}
	start, ok := q.room(len(line))
	if !ok {
		return false
	}
	copy(q.ring[start:], line)
	if q.n == len(q.lines) {
		grown := make([]span, max(64, 2*len(q.lines)))
		for i := range q.n {
			grown[i] = q.at(i)
		}
		q.lines, q.first = grown, 0
	}
	q.lines[(q.first+q.n)&(len(q.lines)-1)] = span{start, start + len(line)}
	q.n++
	q.bytes += len(line)
	return true
}

// room finds n bytes in one piece.
func (q *queue) room(n int) (start int, ok bool) {
	if q.n == 0 {
		return 0, n <= len(q.ring)
	}
	begin, end := q.at(0).start, q.at(q.n-1).end
	if end > begin { // what is free is behind and before
		if n <= len(q.ring)-end {
			return end, true
		}
		return 0, n <= begin
	}
	return end, n <= begin-end
}

// pop takes the n oldest lines away.
func (q *queue) pop(n int) {
	for range n {
		s := q.at(0)
		q.bytes -= s.end - s.start
		q.first = (q.first + 1) & (len(q.lines) - 1)
		q.n--
		q.given--
	}
	if q.n == 0 && len(q.ring) > q.size {
		q.ring = make([]byte, q.size)
	}
}

// give hands on the next lines in one piece of memory, the last without its
// LF: one, and as many of the same sort as follow it, up to most lines and
// limit bytes. A first line that is longer comes alone.
func (q *queue) give(most, limit int, same func(a, b []byte) bool) (text []byte, lines int) {
	if q.given == q.n {
		return nil, 0
	}
	first := q.at(q.given)
	end := first.end
	for lines = 1; lines < most && q.given+lines < q.n; lines++ {
		s := q.at(q.given + lines)
		if s.start != end || s.end-1-first.start > limit || !same(q.ring[first.start:first.end], q.ring[s.start:s.end]) {
			break
		}
		end = s.end
	}
	q.given += lines
	return q.ring[first.start : end-1], lines
}

// copy returns all lines in one piece, with the end of each.
func (q *queue) copy() (buf []byte, ends []int) {
	buf, ends = make([]byte, 0, q.bytes), make([]int, 0, q.n)
	for i := range q.n {
		buf = append(buf, q.line(i)...)
		ends = append(ends, len(buf))
	}
	return buf, ends
}
