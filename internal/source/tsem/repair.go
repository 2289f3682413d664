// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/base64"
	"strings"

	"quixote-export/tsem"
)

// repair makes valid JSON of a record, without line feed, that is none: since
// the kernel does not escape the names in it, or has made a slip. The names keep
// their bytes. What cannot be understood at all is kept whole, in base64.
func repair(b, line []byte, h *header) []byte {
	if fixed, ok := repairSlip(b, line); ok {
		return fixed
	}
	m := matcher{line: line}
	if h.typ != nil {
		form, known := formOf(string(h.typ))
		if known && m.matches(form) {
			return m.rewrite(b)
		}
	} else if m.matches(formLog) {
		return m.rewrite(b)
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

func repairSlip(b, line []byte) ([]byte, bool) {
	if head, found := bytes.CutSuffix(line, danglingComma); found && bytes.HasPrefix(head, wordExport) && !bytes.Contains(head[len(wordExport):], []byte{'"'}) {
		return append(append(b, head...), `"}}`...), true
	}
	first, last := bytes.Index(line, eventMember), bytes.LastIndex(line, eventMember)
	if first < 0 || last <= first || line[last-1] != '}' || !bytes.Contains(line[first:last], []byte(queueType)) {
		return nil, false
	}
	rest := append(bytes.Clone(line[:first]), line[last:]...)
	var h header
	h.read(rest)
	if string(h.typ) != queueType {
		return nil, false
	}
	if valid(rest, &h) {
		return append(b, rest...), true
	}
	return repair(b, rest, &h), true
}

// lostEvent tells whether a line is all there is of an event that the kernel
// cannot write: it has used up a number.
func lostEvent(line []byte) bool {
	return bytes.HasSuffix(line, danglingComma) && bytes.HasPrefix(line, wordExport)
}

// A step is one part of a form.
type step struct {
	kind     byte   // value, text, object or its end
	name     string // of the member
	optional bool
	skip     int // the step behind it
}

const (
	stepValue  = ' '
	stepText   = '$'
	stepObject = '{'
	stepEnd    = '}'
)

// steps takes a form to pieces.
func steps(form string) []step {
	var list []step
	var open []int // objects around, innermost last
	var read func(string)
	read = func(form string) {
		for word := range strings.FieldsSeq(form) {
			if part, ok := parts[word]; ok {
				read(part)
				continue
			}
			s := step{kind: stepValue}
			word, s.optional = strings.CutPrefix(word, "?")
			switch last := word[len(word)-1]; last {
			case stepText, stepObject, stepEnd:
				s.kind, word = last, word[:len(word)-1]
			}
			s.name, s.skip = word, len(list)+1
			switch s.kind {
			case stepObject:
				open = append(open, len(list))
			case stepEnd:
				list[open[len(open)-1]].skip = len(list) + 1
				open = open[:len(open)-1]
			}
			list = append(list, s)
		}
	}
	read(form)
	return append(list, step{kind: stepEnd})
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

func (m *matcher) matches(form string) bool {
	m.steps, m.texts, m.dead = steps(form), m.texts[:0], make(map[[2]int]bool)
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
			at, i = at+1, i+1
			continue
		}
		j, ok := m.label(i, s.name)
		if !ok {
			if !s.optional {
				return false
			}
			at = s.skip
			continue
		}
		if j >= len(m.line) {
			return false
		}
		if s.kind == stepObject {
			if m.line[j] != '{' {
				return false
			}
			at, i = at+1, j+1
			continue
		}
		if m.line[j] != '"' {
			return false
		}
		if s.kind == stepText {
			return m.matchText(at, j+1)
		}
		for j++; j < len(m.line) && made(m.line[j]); j++ {
		}
		if j >= len(m.line) || m.line[j] != '"' {
			return false
		}
		at, i = at+1, j+1
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
	m.dead[[2]int{at, i}] = true
	return false
}

// label passes over the name of a member, and what is between it and the one
// before.
func (m *matcher) label(i int, name string) (int, bool) {
	if m.line[i-1] != '{' {
		var ok bool
		if i, ok = after(m.line, i, []byte(", ")); !ok {
			return i, false
		}
		if i < len(m.line) && m.line[i] == ' ' {
			i++
		}
	}
	if len(m.line)-i < len(name)+4 || m.line[i] != '"' || string(m.line[i+1:i+1+len(name)]) != name {
		return i, false
	}
	return after(m.line, i+1+len(name), []byte(`": `))
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
