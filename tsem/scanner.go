// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values that are skipped. The records
// themselves are six objects deep.
const maxDepth = 64

// A scanner goes through the JSON of one line, member by member:
//
//	for at := s.begin(); s.more(&at); {
//		s.u32("uid", &to.UID)
//		s.text("s_id", &to.SID)
//	}
//
// reads an object. Each reading method looks whether the next member is the
// one it is named for, and then reads the value and goes on to the next
// member. In the order of the format one turn reads all; another order takes
// more turns, and a member that nobody wants in a whole turn is skipped.
//
// The first error sticks and ends every loop.
type scanner struct {
	line []byte
	pos  int
	name []byte // of the member at hand; nil behind the end of the object
	err  error

	// arena holds the decoded bytes of the record. Hardly anything is longer
	// than what it is decoded from; if the arena has to grow, what was taken
	// from it before stays where it was.
	arena []byte
}

func (s *scanner) reset(line []byte) {
	s.line, s.pos, s.name, s.err = line, 0, nil, nil
	if cap(s.arena) < len(line) {
		s.arena = make([]byte, 0, len(line)+len(line)/2)
	}
	s.arena = s.arena[:0]
}

// fail notes the first error, at the present position.
func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = &SyntaxError{Offset: s.pos, What: what}
	}
	s.name = nil
}

func (s *scanner) failAt(pos int, what string) {
	s.pos = pos
	s.fail(what)
}

// peek passes over white space and returns the byte behind it, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.line); s.pos++ {
		switch c := s.line[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// ahead takes two bytes with white space between them, or nothing.
func (s *scanner) ahead(first, second byte) bool {
	pos := s.pos
	if s.peek() == first {
		s.pos++
		if s.peek() == second {
			s.pos++
			s.name = nil
			return true
		}
	}
	s.pos = pos
	return false
}

// begin enters an object. Its result is for more.
func (s *scanner) begin() (at int) {
	switch {
	case s.err != nil:
	case s.peek() != '{':
		s.fail("not an object")
	default:
		s.pos++
		if s.peek() == '}' {
			s.pos++
			s.name = nil
			break
		}
		s.key()
	}
	return -1
}

// more reports whether there are members left to look at.
func (s *scanner) more(at *int) bool {
	if s.name != nil && s.pos == *at {
		s.skip()
		s.advance()
	}
	*at = s.pos
	return s.name != nil
}

func (s *scanner) is(name string) bool { return string(s.name) == name }

// key reads the name of a member and the colon.
func (s *scanner) key() {
	if s.peek() != '"' {
		s.fail("no member name")
		return
	}
	name := s.decoded()
	if s.err != nil {
		return
	}
	if s.peek() != ':' {
		s.fail("no colon behind a member name")
		return
	}
	s.pos++
	s.peek()
	s.name = name
}

// advance goes from behind a value to the next member.
func (s *scanner) advance() {
	if s.err != nil {
		return
	}
	switch s.peek() {
	case ',':
		s.pos++
		s.key()
	case '}':
		s.pos++
		s.name = nil
	default:
		s.fail("neither comma nor brace behind a value")
	}
}

func (s *scanner) endOfLine() {
	if s.err == nil && (s.peek() != 0 || s.pos < len(s.line)) {
		s.fail("text behind the record")
	}
}

// raw reads a string and returns what is between its quotes.
func (s *scanner) raw() (text []byte, escaped bool) {
	if s.peek() != '"' {
		s.fail("not a string")
		return nil, false
	}
	start := s.pos + 1
	i := start
	for {
		i += unbroken(s.line[i:])
		if i == len(s.line) {
			s.failAt(start-1, "a string without end")
			return nil, false
		}
		switch s.line[i] {
		case '"':
			s.pos = i + 1
			return s.line[start:i], escaped
		case '\\':
			n := escapeLength(s.line[i:])
			if n == 0 {
				s.failAt(i, "a bad escape")
				return nil, false
			}
			escaped = true
			i += n
		default:
			s.failAt(i, "a control character in a string")
			return nil, false
		}
	}
}

// decoded reads a string. The result is part of the line or of the arena, and
// nil only after an error.
func (s *scanner) decoded() []byte {
	text, escaped := s.raw()
	if !escaped {
		return text
	}
	start := len(s.arena)
	s.arena = appendUnescaped(s.arena, text)
	return s.arena[start:len(s.arena):len(s.arena)]
}

// unbroken returns how many bytes at the beginning of text belong to a string:
// up to a quote, a backslash or a control character.
func unbroken(text []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		marks := ((w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < 0x20 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// escapeLength returns the length of the escape at the beginning of text, 0 if
// it is none.
func escapeLength(text []byte) int {
	switch {
	case len(text) < 2:
	case escapedBytes[text[1]] != 0:
		return 2
	case text[1] == 'u' && len(text) >= 6:
		for _, c := range text[2:6] {
			if hexValues[c] > 15 {
				return 0
			}
		}
		return 6
	}
	return 0
}

// escapedBytes holds what the letter of a two-character escape stands for.
var escapedBytes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// appendUnescaped decodes text, whose escapes have been checked. Half a
// surrogate pair becomes U+FFFD.
func appendUnescaped(b, text []byte) []byte {
	for len(text) > 0 {
		n := unbroken(text)
		b = append(b, text[:n]...)
		text = text[n:]
		if len(text) == 0 {
			break
		}
		if text[1] != 'u' {
			b = append(b, escapedBytes[text[1]])
			text = text[2:]
			continue
		}
		r := hexRune(text)
		text = text[6:]
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
				low = hexRune(text)
			}
			if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
				text = text[6:]
			}
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// hexRune is the number in \uXXXX.
func hexRune(text []byte) (r rune) {
	for _, c := range text[2:6] {
		r = r<<4 | rune(hexValues[c])
	}
	return r
}
