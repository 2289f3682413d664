// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"unicode/utf8"

	"quixote-export/tsem"
)

// A checker tells records that can pass as they are from those that cannot. The
// acts of one task follow one another, as a rule, and half of each record says who
// that is; so it remembers what it has found to be good of the last one.
type checker struct {
	who []byte // from behind the type to the time stamp
	coe []byte // from behind the time stamp to the members of the type
}

// valid tells whether a record, without its line feed, is one of valid JSON as
// the kernel meant it.
//
// A name that is not escaped can leave valid JSON: by members of its own. But it
// cannot leave what its type of event has, and nothing else. For whatever quotes
// it brings make more members, and what truly follows it is still to come: so one
// would have to be there twice, or in another's place. Where two kinds of a member
// could follow one another, the form has only one of them. So a record that is as
// its form says is true. One that is not, since another kernel has another form,
// is true too, unless there is a way to read it by its form.
func (c *checker) valid(line []byte, h *header) bool {
	if h.process != 0 {
		// The name must not end before it does.
		if h.end == 0 || tsem.Plain(line[h.process:]) != h.end-h.process && !escapedTo(line, h.process, h.end) {
			return false
		}
	}
	f := formOf(line, h)
	if f != nil && c.fits(f, line, h.typed) {
		return true
	}
	if !utf8.Valid(line) || bytes.IndexByte(line, '\n') >= 0 || !json.Valid(line) {
		return false
	}
	return f == nil || !(&matcher{line: line}).matches(f)
}

// fits tells whether a record is as the form says, with its texts escaped as
// they should be. Of an event only what is behind its type, which ends before i,
// is looked at.
func (c *checker) fits(f *form, line []byte, i int) bool {
	if i == 0 {
		return f.fits(line, 0, len(f.steps), 1) == len(line)
	}
	who := i
	if begins(line[i:], c.who) {
		i += len(c.who)
	} else if i = f.fits(line, behindType, stepTime, i); i < 0 {
		return false
	} else {
		c.who = append(c.who[:0], line[who:i]...)
	}
	if i = f.fits(line, stepTime, stepTime+1, i); i < 0 {
		return false
	}
	coe := i
	if begins(line[i:], c.coe) {
		i += len(c.coe)
	} else if i = f.fits(line, stepTime+1, stepCell, i); i < 0 {
		return false
	} else {
		c.coe = append(c.coe[:0], line[coe:i]...)
	}
	return f.fits(line, stepCell, len(f.steps), i) == len(line)
}

// fits tells where a line, which from i is as the steps of the form from at up to
// end say, goes on. It is negative where it is not.
func (f *form) fits(line []byte, at, end, i int) int {
	for at < end {
		s := &f.steps[at]
		if s.kind == stepEnd {
			if i >= len(line) || line[i] != '}' {
				return -1
			}
			at, i = s.next, i+1
			continue
		}
		j, ok := s.at(line, i)
		if !ok {
			if !s.optional && !s.alternative {
				return -1
			}
			at = s.skip
			continue
		}
		if s.kind != stepObject {
			// Most values are small numbers.
			for end := j + 4; j < end && j < len(line) && line[j]-'0' <= 9; j++ {
			}
			if j, ok = str(line, j); !ok {
				return -1
			}
		}
		at, i = at+1, j
	}
	return i
}

// at tells where the value of the member begins, if that is what follows at i:
// behind a brace or a comma.
func (s *step) at(line []byte, i int) (int, bool) {
	if line[i-1] != '{' {
		if i+2 >= len(line) || line[i] != ',' || line[i+1] != ' ' {
			return i, false
		}
		i += 2
		if line[i] == ' ' { // ptrace_access_check has two
			i++
		}
	}
	end := i + len(s.label)
	if end > len(line) || string(line[i:end]) != s.label {
		return i, false
	}
	return end, true
}

// begins tells whether a line begins with what is mostly the same, and not empty.
// It needs no vector instructions, which emulated machines are slow at.
func begins(line, with []byte) bool {
	if len(with) == 0 || len(line) < len(with) {
		return false
	}
	line = line[:len(with)]
	for len(with) >= 8 {
		if binary.NativeEndian.Uint64(line) != binary.NativeEndian.Uint64(with) {
			return false
		}
		line, with = line[8:], with[8:]
	}
	return string(line) == string(with)
}

// str passes over the rest of a string, which goes on at i.
func str(line []byte, i int) (int, bool) {
	for i < len(line) {
		if line[i] != '"' {
			i += tsem.Plain(line[i:])
		}
		if i == len(line) {
			break
		}
		switch c := line[i]; {
		case c == '"':
			return i + 1, true
		case c == '\\':
			n := escape(line[i:])
			if n == 0 {
				return i, false
			}
			i += n
		case c < ' ':
			return i, false
		default:
			r, n := utf8.DecodeRune(line[i:])
			if r == utf8.RuneError && n == 1 {
				return i, false
			}
			i += n
		}
	}
	return i, false
}

// escapedTo tells whether the text from i ends, as a string of JSON does, at end.
func escapedTo(line []byte, i, end int) bool {
	stop, ok := str(line, i)
	return ok && stop-1 == end
}

// escape is the length of the escape that text begins with, 0 if it is none.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}
