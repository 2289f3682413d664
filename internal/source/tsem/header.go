// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "bytes"

// A header is what the reader has to know of a record.
type header struct {
	numbered bool // it is an event that has a number, and context
	context  uint64
	number   uint64
	exported int // where the export object's time would be
	process  int // where the name of the event's process begins, 0: it has none
	end      int // where that ends, 0: unknown
	typed    int // behind the type of the event, 0: unknown
	typ      []byte
}

// Words of a record, in their order.
var (
	wordExport  = []byte(`{"export": {"type": "`)
	wordLog     = []byte(`{"export": {"type": "log"}, "log": {`)
	wordEvent   = []byte(`"}, "event": {`)
	wordPID     = []byte(`"pid": "`)
	wordTNum    = []byte(`", "tnum": "`)
	wordContext = []byte(`"context": "`)
	wordNumber  = []byte(`", "number": "`)
	wordProcess = []byte(`", "process": "`)
	wordType    = []byte(`", "type": "`)
	wordTTD     = []byte(`", "ttd": "`)
)

// maxProcess is how long the name of a process can be.
const maxProcess = 15

// read reads the beginning of a record up to the type of its event. What is not
// as the kernel writes it leaves the rest unknown.
//
// The name of a process can hold anything, even what looks like the members
// that follow; but it is too short to hold all of them.
func (h *header) read(line []byte) {
	*h = header{}
	i, ok := after(line, 0, wordExport)
	if !ok {
		return
	}
	for i < len(line) && (line[i] >= 'a' && line[i] <= 'z' || line[i] == '_') {
		i++
	}
	h.exported = i + 1 // behind the quote
	if i, ok = after(line, i, wordEvent); !ok {
		return
	}
	if j, ok := after(line, i, wordPID); ok {
		_, j = digits(line, j)
		if j, ok = after(line, j, wordTNum); !ok {
			return
		}
		_, j = digits(line, j)
		if j+3 > len(line) || string(line[j:j+3]) != `", ` {
			return
		}
		i = j + 3
	}
	// Kernels of before 2025 have neither context nor number.
	if j, ok := after(line, i, wordContext); ok {
		h.context, j = digits(line, j)
		if j, ok = after(line, j, wordNumber); !ok {
			return
		}
		h.number, j = digits(line, j)
		if i, ok = after(line, j, wordProcess); !ok {
			return
		}
		h.numbered = true
	} else if i, ok = after(line, i, wordProcess[len(`", `):]); !ok {
		return
	}
	h.process = i
	for end := i; end <= i+maxProcess && end < len(line); end++ {
		if line[end] != '"' {
			continue
		}
		j, ok := after(line, end, wordType)
		if !ok {
			continue
		}
		begin := j
		for j < len(line) && name[line[j]] {
			j++
		}
		if _, ok := after(line, j, wordTTD); ok {
			h.end, h.typ, h.typed = end, line[begin:j], j+1
			return
		}
	}
}

// after passes over a word that must be at i.
func after(line []byte, i int, word []byte) (int, bool) {
	if i > len(line) || !bytes.HasPrefix(line[i:], word) {
		return i, false
	}
	return i + len(word), true
}

func digits(line []byte, i int) (n uint64, _ int) {
	for ; i < len(line) && line[i]-'0' <= 9; i++ {
		n = n*10 + uint64(line[i]-'0')
	}
	return n, i
}

// name marks the bytes of the names that the kernel gives.
var name = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
	}
	return t
}()
