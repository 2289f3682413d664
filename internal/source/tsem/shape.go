// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"time"
)

// A shaper makes of what the kernel gave the line that is exported. Of nearly
// every record there is nothing to make.
type shaper struct {
	checker
	ahead  int // room that it wants ahead of a record
	digest int // hex digits of a digest; 0: as many as the kernel writes
	width  int // how many it writes, once an event has shown it
	fixed  []byte
}

const timeMember = `, "time": "`

// timeLayout is RFC 3339 with all nanoseconds, in UTC.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func newShaper(o orders) shaper {
	s := shaper{ahead: aheadOf(o)}
	if o.Context {
		s.digest = 2 * o.Digest
	}
	return s
}

func aheadOf(o orders) int {
	if o.Timestamp {
		return len(timeMember) + len(timeLayout) + 1
	}
	return 0
}

// measure learns from the first event how many digits a digest has: as many as
// one of the reader's own context, which is the root context, whatever was asked
// for the workload's. Where the kernel has cut them it tells to how many.
func (s *shaper) measure(line []byte, h *header) (cut int) {
	if s.width != 0 || s.digest == 0 || h.typed == 0 {
		return 0
	}
	const identity = `", "task_id": "`
	i := bytes.Index(line[h.typed:], []byte(identity))
	if i < 0 {
		return 0
	}
	start := h.typed + i + len(identity)
	s.width = hexDigits(line[start:])
	if s.width >= s.digest {
		return 0
	}
	return s.width
}

// hexDigits counts those at the beginning of text.
func hexDigits(text []byte) int {
	n := 0
	for n < len(text) && (text[n]-'0' <= 9 || text[n]-'a' <= 5) {
		n++
	}
	return n
}

// shape takes a record in room, behind the part of it that is ahead, and gives
// the line in its place, or elsewhere if it has become longer.
func (s *shaper) shape(room []byte, h *header) (line []byte, repaired bool) {
	raw := bytes.TrimSuffix(room[s.ahead:], []byte{'\n'})
	if !s.valid(raw, h) {
		s.fixed = append(s.fixed[:0], room[:s.ahead]...)
		s.fixed = append(repair(s.fixed, raw, h), '\n')
		room, repaired = s.fixed, true
		if string(room[s.ahead:s.ahead+h.exported]) != string(raw[:h.exported]) {
			h.exported = bytes.Index(room[s.ahead:], []byte(`"}`)) + 1
		}
	} else if len(raw) == len(room)-s.ahead {
		room = append(room, '\n')
	}
	line = room[s.ahead:]
	if s.width > s.digest && s.digest > 0 {
		line = cutDigests(line, s.width, s.digest)
	}
	if s.ahead == 0 || h.exported == 0 {
		return line, repaired
	}
	// The export object moves forward, so that the time fits behind it.
	line = room[:s.ahead+len(line)]
	copy(line, line[s.ahead:s.ahead+h.exported])
	at := append(line[:h.exported], timeMember...)
	at = time.Now().UTC().AppendFormat(at, timeLayout)
	_ = append(at, '"')
	return line, repaired
}

// digests are the members that are digests, besides the address of a socket of
// another family.
var digests = [][]byte{
	[]byte("task_id"), []byte("p_task_id"), []byte("digest"), []byte("owner"), []byte("target"),
	[]byte("source"), []byte("child"), []byte("task"),
}

var otherAddress = []byte(`"af_other": {"address`)

// cutDigests takes the zeros off that a kernel adds to digests which are shorter
// than it writes, in place.
func cutDigests(line []byte, width, want int) []byte {
	out := 0
	i := 0
	for {
		n := bytes.Index(line[i:], []byte(`": "`))
		if n < 0 {
			break
		}
		before := line[i : i+n]
		start := i + n + len(`": "`)
		end := start + hexDigits(line[start:])
		keep := end
		if end-start == width && end < len(line) && line[end] == '"' && isDigest(before) && zeros(line[start+want:end]) {
			keep = start + want
		}
		out += copy(line[out:], line[i:keep])
		i = end
	}
	out += copy(line[out:], line[i:])
	return line[:out]
}

// isDigest tells whether the member whose name ends here is one.
func isDigest(before []byte) bool {
	if bytes.HasSuffix(before, otherAddress) {
		return true
	}
	name := before[bytes.LastIndexByte(before, '"')+1:]
	for _, d := range digests {
		if bytes.Equal(d, name) {
			return true
		}
	}
	return false
}

func zeros(digits []byte) bool {
	for _, c := range digits {
		if c != '0' {
			return false
		}
	}
	return true
}
