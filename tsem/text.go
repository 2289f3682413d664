// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// AppendText appends the member name of an object, whose value is a text, as
// everywhere in a record: escaped, and if it is not valid UTF-8 followed by the
// member name_b64 with its exact bytes.
func AppendText(b []byte, name string, text []byte) []byte {
	b = append(append(append(b, '"'), name...), `": "`...)
	return appendText(b, name, text)
}

// appendText appends the rest of a text member whose opening quote is already
// there: the escaped text, the closing quote, and, if text is not valid UTF-8,
// the member name_b64 with its exact bytes.
func appendText(b []byte, name string, text []byte) []byte {
	n := Plain(text)
	b = append(b, text[:n]...)
	if n == len(text) {
		return append(b, '"')
	}
	b, valid := appendEscaped(b, text[n:])
	b = append(b, '"')
	if valid {
		return b
	}
	b = append(append(b, `, "`...), name...)
	b = append(b, `_b64": "`...)
	b = base64.StdEncoding.AppendEncode(b, text)
	return append(b, '"')
}

// appendString is appendText for a text that we name ourselves, and so is
// short and plain as a rule.
func appendString(b []byte, name, text string) []byte {
	for i := range len(text) {
		if special[text[i]] {
			return appendText(b, name, []byte(text))
		}
	}
	return append(append(b, text...), '"')
}

// appendEscaped reports whether text is valid UTF-8. What is not, Go's decoder
// takes byte by byte: surrogates and overlong forms, too.
func appendEscaped(b, text []byte) (_ []byte, valid bool) {
	valid = true
	for len(text) > 0 {
		if n := Plain(text); n > 0 {
			b = append(b, text[:n]...)
			text = text[n:]
			continue
		}
		c := text[0]
		if c < utf8.RuneSelf {
			b = appendEscape(b, c)
			text = text[1:]
			continue
		}
		_, n := utf8.DecodeRune(text)
		if n == 1 {
			b = append(b, "\uFFFD"...)
			valid = false
		} else {
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	return b, valid
}

func appendEscape(b []byte, c byte) []byte {
	if short := shortEscapes[c]; short != 0 {
		return append(b, '\\', short)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// shortEscapes holds the letters of the two-character escapes.
var shortEscapes = [utf8.RuneSelf]byte{
	'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't',
}

// special marks the bytes at which Plain stops.
var special = func() (t [256]bool) {
	for i := range t {
		t[i] = i < 0x20 || i == '"' || i == '\\' || i >= utf8.RuneSelf
	}
	return t
}()

// Plain returns how many bytes at the beginning of text stand for themselves in
// a string of JSON: printable ASCII, DEL, but neither quote nor backslash.
func Plain(text []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(text); i += 8 {
		// In each byte of the word the high bit is set if it is not ASCII,
		// if it is less than a space, or if it is a quote or a backslash. A
		// borrow can only mark bytes behind one that is rightly marked.
		w := binary.LittleEndian.Uint64(text[i:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		marks := (w | (w-ones*' ')&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if marks != 0 {
			return i + bits.TrailingZeros64(marks)/8
		}
	}
	for ; i < len(text) && !special[text[i]]; i++ {
	}
	return i
}
