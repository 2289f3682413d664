// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"bytes"

	"quixote-export/internal/ledger"
	"quixote-export/tsem"
)

// Resume goes on where another recorder of the same ledger has ended: number is
// that of the last event it recorded, and the exporter gets first what lies in
// the ledger. Nothing must have been recorded yet.
func (r *Recorder) Resume(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number = number
	r.read = min(r.ledger.Tail(), r.ledger.Head())
	r.shown = r.read
	var parser tsem.Parser
	end := 0
	for line := range bytes.Lines(r.ledger.Between(r.read, r.ledger.Head())) {
		end += len(line)
		kind := tsem.Type(0)
		if parsed, err := parser.Parse(line[:len(line)-1]); err == nil && parsed.Event != nil {
			kind = parsed.Event.Type
		}
		r.entered(kind, end)
	}
}

// Mark gives what follows a mark in the ledger. The order is held.
func (r *Recorder) Mark(m ledger.Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.SetMark(m)
}
