// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "time"

// maxWords bounds how many texts a parser remembers, and maxWord their length.
const (
	maxWords = 256
	maxWord  = 64
)

// str reads a text into a string.
func (p *Parser) str(name string, to *string) {
	var text []byte
	if p.text(name, &text); text != nil {
		*to = string(text)
	}
}

// word reads a text that is one of a few, such as the type of a path, into a
// string. Words are remembered, so that they need not be allocated each time.
func (p *Parser) word(name string, to *string) {
	var text []byte
	p.text(name, &text)
	if text == nil {
		return
	}
	if w, ok := p.words[string(text)]; ok {
		*to = w
		return
	}
	*to = string(text)
	if len(p.words) < maxWords && len(text) <= maxWord {
		if p.words == nil {
			p.words = make(map[string]string)
		}
		p.words[*to] = *to
	}
}

// time reads RFC 3339.
func (p *Parser) time(name string, to *time.Time) {
	if !p.is(name) {
		return
	}
	start := p.pos
	text := p.decoded()
	if p.err != nil {
		return
	}
	if to.UnmarshalText(text) != nil {
		p.failAt(start, "not a time of RFC 3339")
		return
	}
	*to = to.UTC()
	p.advance()
}
