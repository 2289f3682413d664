// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/base64"

	"quixote-export/tsem"
)

// repair makes a record, without line feed, what it should be: since the kernel
// does not escape the names in it, or has made a slip, it is no JSON, or has
// members that are none. The names keep their bytes. What is no JSON and cannot
// be understood at all is kept whole, in base64.
func repair(b, line []byte, h *header) []byte {
	if fixed, ok := repairSlip(b, line, h); ok {
		return fixed
	}
	if f := formOf(line, h); f != nil {
		m := matcher{line: line}
		if m.matches(f) {
			return m.rewrite(b)
		}
	}
	b = append(b, `{"export": {"type": "unreadable"}, "unreadable": {"record_b64": "`...)
	b = base64.StdEncoding.AppendEncode(b, line)
	return append(b, `"}}`...)
}

// Two events that the kernel cannot write. Of tun_dev_attach there is an export
// object, a comma and nothing else. tun_dev_attach_queue is written twice, into
// one object and without a comma between; only the second has all its members.
const queueType = "tun_dev_attach_queue"

var (
	danglingComma = []byte(`"}, }`)
	eventMember   = []byte(`"event": {`)
)

func repairSlip(b, line []byte, h *header) ([]byte, bool) {
	if head, found := bytes.CutSuffix(line, danglingComma); found && bytes.HasPrefix(head, wordExport) && !bytes.Contains(head[len(wordExport):], []byte{'"'}) {
		return append(append(b, head...), `"}}`...), true
	}
	first, last := bytes.Index(line, eventMember), bytes.LastIndex(line, eventMember)
	if string(h.typ) != queueType || last <= first || line[last-1] != '}' {
		return nil, false
	}
	rest := append(bytes.Clone(line[:first]), line[last:]...)
	h.read(rest)
	if string(h.typ) == queueType && new(checker).valid(rest, h) {
		return append(b, rest...), true
	}
	return repair(b, rest, h), true
}

// lostEvent tells whether a line is all there is of an event that the kernel
// cannot write: it has used up a number.
func lostEvent(line []byte) bool {
	return bytes.HasSuffix(line, danglingComma) && bytes.HasPrefix(line, wordExport)
}

// A matcher finds where the texts of a record end. That is where the rest of it
// is as its form says, to its end: so a text can hold what looks like members.
type matcher struct {
	line  []byte
	steps []step
	texts []text
	dead  map[[2]int]bool // texts at a step and a position, of which none leads on
}

// text is what was found of one.
type text struct {
	name       string
	start, end int // between the quotes
}

func (m *matcher) matches(f *form) bool {
	m.steps, m.texts = f.steps, m.texts[:0]
	return len(m.line) > 0 && m.line[0] == '{' && m.match(0, 1)
}

// match tells whether the line from i is as the steps from at say.
func (m *matcher) match(at, i int) bool {
	for at < len(m.steps) {
		s := &m.steps[at]
		if s.kind == stepEnd {
			if i >= len(m.line) || m.line[i] != '}' {
				return false
			}
			at, i = s.next, i+1
			continue
		}
		j, ok := s.at(m.line, i)
		switch {
		case !ok && (s.optional || s.alternative):
			at = s.skip
			continue
		case !ok:
			return false
		case s.kind == stepText:
			return m.matchText(at, j)
		case s.kind == stepValue:
			for j < len(m.line) && made(m.line[j]) {
				j++
			}
			if j >= len(m.line) || m.line[j] != '"' {
				return false
			}
			j++
		}
		at, i = at+1, j
	}
	return i == len(m.line)
}

// matchText tries each quote as the end of a text that begins at i.
func (m *matcher) matchText(at, i int) bool {
	if m.dead[[2]int{at, i}] {
		return false
	}
	known := len(m.texts)
	for end := i; ; end++ {
		n := bytes.IndexByte(m.line[end:], '"')
		if n < 0 {
			break
		}
		end += n
		m.texts = append(m.texts[:known], text{m.steps[at].name, i, end})
		if m.match(at+1, end+1) {
			return true
		}
	}
	m.texts = m.texts[:known]
	if m.dead == nil {
		m.dead = make(map[[2]int]bool)
	}
	m.dead[[2]int{at, i}] = true
	return false
}

// made tells whether a byte can be in a value that the kernel makes.
func made(c byte) bool {
	return name[c] || c >= 'A' && c <= 'Z' || c == '+' || c == '/' || c == '=' || c == '-'
}

// rewrite writes the record with its texts as they should be.
func (m *matcher) rewrite(b []byte) []byte {
	from := 0
	for _, t := range m.texts {
		b = append(b, m.line[from:t.start-len(t.name)-len(`"": "`)]...)
		b = tsem.AppendText(b, t.name, m.line[t.start:t.end])
		from = t.end + 1
	}
	return append(b, m.line[from:]...)
}
