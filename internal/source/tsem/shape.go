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
	ahead  int  // room that it wants ahead of a record
	digest int  // hex digits of a digest
	cut    bool // and no more
	fixed  []byte
}

const timeMember = `, "time": "`

// timeLayout is RFC 3339 with all nanoseconds, in UTC.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// kernelDigits is how many hex digits a kernel writes of a digest as a rule: the
// reader's own context, not the workload's, counts, and that is the root context.
const kernelDigits = 64

func newShaper(o orders) shaper {
	s := shaper{digest: 2 * o.Digest, cut: 2*o.Digest < kernelDigits}
	if o.Timestamp {
		s.ahead = len(timeMember) + len(timeLayout) + 1
	}
	return s
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
	if s.cut {
		line = cutDigests(line, s.digest)
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
func cutDigests(line []byte, want int) []byte {
	out := 0
	i := 0
	for {
		n := bytes.Index(line[i:], []byte(`": "`))
		if n < 0 {
			break
		}
		before := line[i : i+n]
		start := i + n + len(`": "`)
		end := start
		for end < len(line) && (line[end]-'0' <= 9 || line[end]-'a' <= 5) {
			end++
		}
		keep := end
		if end-start == kernelDigits && end < len(line) && line[end] == '"' && isDigest(before) && zeros(line[start+want:end]) {
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

// digestDigits is how many hex digits the identity of the task has.
func digestDigits(line []byte) int {
	_, rest, _ := bytes.Cut(line, []byte(`"task_id": "`))
	return max(bytes.IndexByte(rest, '"'), 0)
}
