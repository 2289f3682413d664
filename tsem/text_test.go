// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", `""`},
		{"plain", "/etc/passwd", `"/etc/passwd"`},
		{"quote", `a"b`, `"a\"b"`},
		{"backslash", `a\b`, `"a\\b"`},
		{"a name that looks escaped", `\u0041\n`, `"\\u0041\\n"`},
		{"short escapes", "\b\t\n\f\r", `"\b\t\n\f\r"`},
		{"other controls", "\x00\x01\x1f", `"\u0000\u0001\u001f"`},
		{"not to be escaped", "\x7f</>&'", "\"\x7f</>&'\""},
		{"line separators", "\u2028\u2029", "\"\u2028\u2029\""},
		{"UTF-8", "aéß日本🎉z", `"aéß日本🎉z"`},
		{"replacement character", "\uFFFD", "\"\uFFFD\""},
		{"bad bytes", "bad\xff\xfename", "\"bad\uFFFD\uFFFDname\", \"NAME_b64\": \"YmFk//5uYW1l\""},
		{"cut rune", "a\xe2\x82", "\"a\uFFFD\uFFFD\", \"NAME_b64\": \"YeKC\""},
		{"surrogate", "\xed\xa0\x80", "\"\uFFFD\uFFFD\uFFFD\", \"NAME_b64\": \"7aCA\""},
		{"overlong", "\xc0\xaf", "\"\uFFFD\uFFFD\", \"NAME_b64\": \"wK8=\""},
		{"beyond Unicode", "\xf4\x90\x80\x80", "\"\uFFFD\uFFFD\uFFFD\uFFFD\", \"NAME_b64\": \"9JCAgA==\""},
		{"bad and escaped", "\"\xff\n", "\"\\\"\uFFFD\\n\", \"NAME_b64\": \"Iv8K\""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := string(appendText([]byte(`"`), "NAME", []byte(test.text)))
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if s := string(appendString([]byte(`"`), "NAME", test.text)); s != got {
				t.Errorf("appendString: got %s, want %s", s, got)
			}
			checkText(t, []byte(test.text))
		})
	}
}

// A special byte must be found at each place of a word of eight, with any
// neighbours.
func TestTextSpecialBytesAtEveryPlace(t *testing.T) {
	for c := range 256 {
		for place := range 20 {
			for _, around := range []string{"a", "~", " ", "!", "#", "[", "]", "\x7f"} {
				text := []byte(strings.Repeat(around, 20))
				text[place] = byte(c)
				checkText(t, text)
			}
		}
	}
}

func TestTextOfPathMax(t *testing.T) {
	for _, piece := range []string{"x", `"`, "\\", "\n", "\x01", "\xff", "é", "a\xffb\n"} {
		checkText(t, []byte(strings.Repeat(piece, 4096/len(piece))))
	}
}

// checkText writes text and reads it with encoding/json and with a Parser.
func checkText(t *testing.T, text []byte) {
	t.Helper()
	l := &Log{Process: text, Event: []byte("file_open"), Action: []byte("LOG")}
	line := l.AppendJSON(nil)
	if bytes.IndexByte(line, '\n') >= 0 || !utf8.Valid(line) {
		t.Errorf("%q: not one line of UTF-8: %q", text, line)
	}
	var decoded struct {
		Log struct {
			Process    string
			ProcessB64 *string `json:"process_b64"`
		}
	}
	if err := json.Unmarshal(line, &decoded); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if valid := decoded.Log.ProcessB64 == nil; valid != utf8.Valid(text) {
		t.Errorf("%q: valid UTF-8 is %v", text, valid)
	}
	exact := []byte(decoded.Log.Process)
	if b64 := decoded.Log.ProcessB64; b64 != nil {
		var err error
		if exact, err = base64.StdEncoding.DecodeString(*b64); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if decoded.Log.Process != string(bytes.Join(repaired(text), nil)) {
			t.Errorf("%q: shown as %q", text, decoded.Log.Process)
		}
	}
	if !bytes.Equal(exact, text) {
		t.Errorf("%q: encoding/json reads %q", text, exact)
	}
	r, err := new(Parser).Parse(line)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if !bytes.Equal(r.Log.Process, text) {
		t.Errorf("%q: Parser reads %q", text, r.Log.Process)
	}
}

// repaired returns the runes of text, U+FFFD for each bad byte.
func repaired(text []byte) (runes [][]byte) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		runes = append(runes, utf8.AppendRune(nil, r))
		text = text[n:]
	}
	return runes
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain", "q\"uo\\te\ttab", "bad\xff\xfename", "\u2028", "c\x01tl", "\xed\xa0\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(checkText)
}
