// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "slices"

// numbers watches the numbers of a context's events. The kernel gives an event
// its number before it queues it, and on several processors two can be queued in
// the other order; so a number that is passed over has some time to come.
type numbers struct {
	next uint64 // one above the highest that has come; 0 before the first
	gaps []gap  // that are open, in order
	seen uint64 // events

	late, doubled uint64
}

// gap is a run of numbers that have not come.
type gap struct {
	first, last uint64
	since       uint64 // events that had come by then
}

// patience is how many events may come before one that is missing is lost.
const patience = 512

// expect tells which number comes first, where that is known.
func (n *numbers) expect(first uint64) { n.next = first }

// came notes the number of an event.
func (n *numbers) came(number uint64) {
	n.seen++
	switch {
	case number == n.next || n.next == 0:
	case number > n.next:
		n.gaps = append(n.gaps, gap{n.next, number - 1, n.seen})
	default:
		n.fill(number)
		return
	}
	n.next = number + 1
}

// fill closes the gap that a late event has left.
func (n *numbers) fill(number uint64) {
	i := slices.IndexFunc(n.gaps, func(g gap) bool { return g.first <= number && number <= g.last })
	if i < 0 {
		n.doubled++
		return
	}
	n.late++
	g := n.gaps[i]
	var rest []gap
	if g.first < number {
		rest = append(rest, gap{g.first, number - 1, g.since})
	}
	if number < g.last {
		rest = append(rest, gap{number + 1, g.last, g.since})
	}
	n.gaps = slices.Replace(n.gaps, i, i+1, rest...)
}

// lost gives the first gap that nobody waits for any more: any at all, or one
// that has been open for long.
func (n *numbers) lost(any bool) (g gap, ok bool) {
	if len(n.gaps) == 0 || !any && n.seen-n.gaps[0].since < patience {
		return gap{}, false
	}
	g = n.gaps[0]
	n.gaps = slices.Delete(n.gaps, 0, 1)
	return g, true
}

// open tells whether something is missing that may still come.
func (n *numbers) open() bool { return len(n.gaps) > 0 }
