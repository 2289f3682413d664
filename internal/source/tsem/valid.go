// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf8"
)

// valid tells whether a record, without its line feed, is one of valid JSON
// that no name of a process has forged.
func valid(line []byte, h *header) bool {
	if h.process != 0 {
		// The name must not end before it does.
		if h.end == 0 || plain(line[h.process:]) != h.end-h.process && !escapedTo(line, h.process, h.end) {
			return false
		}
	}
	return wellFormed(line) || utf8.Valid(line) && oneLine(line) && json.Valid(line)
}

// wellFormed tells whether a line is an object of strings and objects with the
// blanks that the kernel sets. It is a quick look at what nearly every record
// is: what it does not take may still be JSON.
func wellFormed(line []byte) bool {
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	depth, i := 1, 1
	for i < len(line) {
		// A member's name.
		if line[i] != '"' {
			return false
		}
		i++
		i += plain(line[i:])
		if i+3 >= len(line) || line[i] != '"' || line[i+1] != ':' || line[i+2] != ' ' {
			return false
		}
		i += 3
		if line[i] == '{' {
			depth++
			i++
			continue
		}
		var ok bool
		if i, ok = str(line, i); !ok {
			return false
		}
		for i < len(line) && line[i] == '}' {
			depth--
			i++
			if depth == 0 {
				return i == len(line)
			}
		}
		if i+2 >= len(line) || line[i] != ',' || line[i+1] != ' ' {
			return false
		}
		i += 2
		if line[i] == ' ' { // ptrace_access_check has two
			i++
		}
	}
	return false
}

// str passes over the string at i.
func str(line []byte, i int) (int, bool) {
	if line[i] != '"' {
		return i, false
	}
	i++
	for i < len(line) {
		i += plain(line[i:])
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
	stop, ok := str(line, i-1)
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

func oneLine(line []byte) bool {
	for _, c := range line {
		if c == '\n' {
			return false
		}
	}
	return true
}

// plain counts the bytes at the beginning of text that stand for themselves in
// a string: printable ASCII but for quote and backslash.
func plain(text []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		marks := (w | (w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			break
		}
	}
	return i
}
