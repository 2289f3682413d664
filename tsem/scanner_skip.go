// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// skip passes over the value at hand, checking that it is JSON.
func (s *scanner) skip() {
	// open remembers, innermost last, whether each value around is an object.
	var open [maxDepth]bool
	depth := 0
	for s.err == nil {
		switch c := s.peek(); c {
		case '{', '[':
			if depth == maxDepth {
				s.fail("nested too deeply")
				return
			}
			open[depth] = c == '{'
			depth++
			s.pos++
			if s.peek() == closing(c == '{') {
				s.pos++
				depth--
				break
			}
			if c == '{' {
				s.key()
			}
			continue
		case '"':
			s.raw()
		default:
			s.literal()
		}
		// Behind a value: close what ends here.
		for depth > 0 && s.err == nil {
			object := open[depth-1]
			c := s.peek()
			if c == ',' {
				s.pos++
				if object {
					s.key()
				}
				break
			}
			if c != closing(object) {
				s.fail("neither comma nor bracket behind a value")
				return
			}
			s.pos++
			depth--
		}
		if depth == 0 {
			return
		}
	}
}

func closing(object bool) byte {
	if object {
		return '}'
	}
	return ']'
}

// literals are the values of JSON that are words.
var literals = [...]string{"true", "false", "null"}

// literal passes over a number or one of the three words.
func (s *scanner) literal() {
	for _, word := range literals {
		if len(s.line)-s.pos >= len(word) && string(s.line[s.pos:s.pos+len(word)]) == word {
			s.pos += len(word)
			return
		}
	}
	start := s.pos
	s.take('-')
	if !s.take('0') && s.digits() == 0 {
		s.failAt(start, "not a value")
		return
	}
	if s.take('.') && s.digits() == 0 {
		s.fail("a number without digits behind the point")
		return
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if s.digits() == 0 {
			s.fail("a number without exponent")
		}
	}
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.line) && s.line[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.pos < len(s.line) && s.line[s.pos]-'0' <= 9 {
		s.pos++
		n++
	}
	return n
}
