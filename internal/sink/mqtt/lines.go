// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"

	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// kindOf returns what {type} in a topic stands for: the type of an event, the
// export type of a record that is none; "unknown" for what is no record. It
// reads no more than the head of the line, and points into it.
func kindOf(line []byte) []byte {
	export, rest, ok := cutValue(line, `{"export": {"type": "`)
	if !ok {
		return []byte("unknown")
	}
	if string(export) != "event" && string(export) != "async_event" {
		return export
	}
	// A process can be called what it likes, but not beyond its quote.
	if i := bytes.Index(rest, []byte(`"process": "`)); i >= 0 {
		if _, behind, ok := cutValue(rest[i:], `"process": "`); ok {
			rest = behind
		}
	}
	i := bytes.Index(rest, []byte(`"type": "`))
	if i < 0 {
		return export
	}
	kind, _, ok := cutValue(rest[i:], `"type": "`)
	if !ok || len(kind) == 0 {
		return export
	}
	return kind
}

// cutValue returns the text behind a prefix up to its closing quote, and what
// follows that.
func cutValue(b []byte, prefix string) (value, rest []byte, ok bool) {
	if !bytes.HasPrefix(b, []byte(prefix)) {
		return nil, nil, false
	}
	b = b[len(prefix):]
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i], b[i+1:], true
		}
	}
	return nil, nil, false
}

// A place is where in a stream an event stands.
type place struct {
	context, number uint64
	event           bool // the record is one
	numbered        bool // number is known
}

func placeOf(line []byte) place {
	var p tsem.Parser
	r, err := p.Parse(bytes.TrimSuffix(line, []byte{'\n'}))
	switch {
	case err != nil || r.Event == nil:
		return place{}
	case r.Event.Number == 0:
		return place{event: true, context: r.Event.Context}
	}
	return place{event: true, numbered: true, context: r.Event.Context, number: r.Event.Number}
}

// newest is the place of the last event of a batch, or that of before.
func newest(b *record.Batch, before place) place {
	for i := b.Len() - 1; i >= 0; i-- {
		if n, ok := b.Number(i); ok {
			return place{event: true, numbered: true, context: b.Context, number: n}
		}
	}
	return before
}
