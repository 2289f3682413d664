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

	// What was found of the last record: its beginning up to the number, which
	// is mostly that of the next one, too.
	before       []byte
	lastExported int
	lastContext  uint64
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
	*h = header{before: h.before, lastExported: h.lastExported, lastContext: h.lastContext}
	i, ok := h.readOrigin(line)
	if !ok {
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

// readOrigin reads up to the name of the process.
func (h *header) readOrigin(line []byte) (i int, ok bool) {
	if begins(line, h.before) {
		h.exported, h.context = h.lastExported, h.lastContext
		return h.readNumber(line, len(h.before))
	}
	if i, ok = after(line, 0, wordExport); !ok {
		return i, false
	}
	for i < len(line) && (line[i] >= 'a' && line[i] <= 'z' || line[i] == '_') {
		i++
	}
	h.exported = i + 1 // behind the quote
	if i, ok = after(line, i, wordEvent); !ok {
		return i, false
	}
	if j, ok := after(line, i, wordPID); ok {
		_, j = digits(line, j)
		if j, ok = after(line, j, wordTNum); !ok {
			return i, false
		}
		_, j = digits(line, j)
		if j+3 > len(line) || string(line[j:j+3]) != `", ` {
			return i, false
		}
		i = j + 3
	}
	// Kernels of before 2025 have neither context nor number.
	j, ok := after(line, i, wordContext)
	if !ok {
		return after(line, i, wordProcess[len(`", `):])
	}
	h.context, j = digits(line, j)
	if j, ok = after(line, j, wordNumber); !ok {
		return i, false
	}
	h.before = append(h.before[:0], line[:j]...)
	h.lastExported, h.lastContext = h.exported, h.context
	return h.readNumber(line, j)
}

// readNumber reads the number of an event, up to the name of the process.
func (h *header) readNumber(line []byte, i int) (_ int, ok bool) {
	h.number, i = digits(line, i)
	i, h.numbered = after(line, i, wordProcess)
	return i, h.numbered
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
