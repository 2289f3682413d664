// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/base64"
	"math"
)

// The reading methods of the scanner: see there.

// text reads a text member, or the one with the suffix _b64, which wins.
func (s *scanner) text(name string, to *[]byte) {
	if s.is(name) {
		text, escaped := s.raw()
		if s.err == nil && *to == nil { // else its _b64 came before it
			start := len(s.arena)
			if escaped {
				s.arena = appendUnescaped(s.arena, text)
			} else {
				s.arena = append(s.arena, text...)
			}
			*to = s.arena[start:len(s.arena):len(s.arena)]
		}
		s.advance()
	}
	if n := len(name); len(s.name) == n+len("_b64") && string(s.name[:n]) == name && string(s.name[n:]) == "_b64" {
		s.base64(to)
	}
}

// bytes reads a member of base64, with or without padding.
func (s *scanner) bytes(name string, to *[]byte) {
	if s.is(name) {
		s.base64(to)
	}
}

func (s *scanner) base64(to *[]byte) {
	start := s.pos
	text := s.decoded()
	if s.err != nil {
		return
	}
	text = bytes.TrimRight(text, "=")
	from := len(s.arena)
	arena, err := base64.RawStdEncoding.AppendDecode(s.arena, text)
	if err != nil {
		s.failAt(start, "not base64")
		return
	}
	s.arena = arena
	*to = arena[from:len(arena):len(arena)]
	s.advance()
}

// digest reads hex digits. None make an empty digest.
func (s *scanner) digest(name string, to *Digest) {
	if !s.is(name) {
		return
	}
	start := s.pos
	text := s.decoded()
	if s.err != nil {
		return
	}
	from := len(s.arena)
	s.arena = append(s.arena, text[:len(text)/2]...) // room
	digest := s.arena[from:len(s.arena):len(s.arena)]
	if len(text)%2 != 0 || !decodeHex(digest, text) {
		s.failAt(start, "not a digest")
		return
	}
	*to = digest
	s.advance()
}

func (s *scanner) bytes16(name string, to *[16]byte) {
	if !s.is(name) {
		return
	}
	start := s.pos
	if text := s.decoded(); s.err == nil && (len(text) != 32 || !decodeHex(to[:], text)) {
		s.failAt(start, "not 32 hex digits")
	}
	s.advance()
}

// number reads a number between least and most.
func (s *scanner) number(least int64, most uint64) (magnitude uint64, negative bool) {
	start := s.pos
	text := s.decoded()
	if s.err != nil {
		return 0, false
	}
	magnitude, negative, ok := parseNumber(text)
	switch {
	case !ok:
		s.failAt(start, "not a number")
	case negative && magnitude > uint64(-least), !negative && magnitude > most:
		s.failAt(start, "a number out of range")
	}
	s.advance()
	return magnitude, negative
}

func (s *scanner) u16(name string, to *uint16) {
	if s.is(name) {
		v, _ := s.number(0, math.MaxUint16)
		*to = uint16(v)
	}
}

func (s *scanner) u32(name string, to *uint32) {
	if s.is(name) {
		v, _ := s.number(0, math.MaxUint32)
		*to = uint32(v)
	}
}

func (s *scanner) u64(name string, to *uint64) {
	if s.is(name) {
		*to, _ = s.number(0, math.MaxUint64)
	}
}

func (s *scanner) i32(name string, to *int32) {
	if s.is(name) {
		v, negative := s.number(math.MinInt32, math.MaxInt32)
		*to = int32(signed(v, negative))
	}
}

func (s *scanner) i64(name string, to *int64) {
	if s.is(name) {
		v, negative := s.number(math.MinInt64, math.MaxInt64)
		*to = signed(v, negative)
	}
}

func signed(magnitude uint64, negative bool) int64 {
	if negative {
		return -int64(magnitude)
	}
	return int64(magnitude)
}
