// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"math"
	"strconv"
	"time"
)

func appendUint(b []byte, v uint64) []byte { return strconv.AppendUint(b, v, 10) }

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

// appendOctal appends v as the kernel's "0%o" does: 0 is "00".
func appendOctal(b []byte, v uint32) []byte {
	return strconv.AppendUint(append(b, '0'), uint64(v), 8)
}

// appendHexNumber appends v as the kernel's "0x%x" does.
func appendHexNumber(b []byte, v uint64) []byte {
	return strconv.AppendUint(append(b, "0x"...), v, 16)
}

// appendTime appends RFC 3339 in UTC with nanoseconds.
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
}

const hexDigits = "0123456789abcdef"

// hexPairs holds the two digits of each byte.
var hexPairs = func() (t [256][2]byte) {
	for i := range t {
		t[i] = [2]byte{hexDigits[i>>4], hexDigits[i&15]}
	}
	return t
}()

// hexValues holds the value of each digit, and 0xff for what is none.
var hexValues = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte(hexDigits) {
		t[c] = byte(i)
		if c >= 'a' {
			t[c-'a'+'A'] = byte(i)
		}
	}
	return t
}()

func appendHex(b, raw []byte) []byte {
	for _, c := range raw {
		pair := &hexPairs[c]
		b = append(b, pair[0], pair[1])
	}
	return b
}

// decodeHex fills to, which is half as long as digits. It reports whether all
// of them are hex digits.
func decodeHex(to, digits []byte) bool {
	var bad byte
	for i := range to {
		high, low := hexValues[digits[2*i]], hexValues[digits[2*i+1]]
		bad |= (high | low) & 0xf0
		to[i] = high<<4 | low&15
	}
	return bad == 0
}

// parseNumber reads digits the way C's strtoll does with base 0, which is how
// readers of the kernel's format tell its bases apart: 0x, a leading 0, or
// decimal.
func parseNumber(digits []byte) (magnitude uint64, negative, ok bool) {
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	base := uint64(10)
	switch {
	case len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x':
		digits, base = digits[2:], 16
	case len(digits) > 1 && digits[0] == '0':
		digits, base = digits[1:], 8
	}
	if len(digits) == 0 {
		return 0, false, false
	}
	for _, c := range digits {
		d := uint64(hexValues[c])
		if d >= base {
			return 0, false, false
		}
		if magnitude > (math.MaxUint64-d)/base {
			return 0, false, false
		}
		magnitude = magnitude*base + d
	}
	return magnitude, negative, true
}
