// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"quixote-export/internal/record"
	"quixote-export/internal/spool"
)

// An Heir gives records to the spool of a run that was killed. The next run
// delivers them.
type Heir struct {
	name  string
	queue *spool.Queue
}

// NewHeir takes over a spool, and closes it in the end. name is what the user
// calls the broker.
func NewHeir(name string, q *spool.Queue) *Heir { return &Heir{name, q} }

// Name is what the user calls the broker.
func (h *Heir) Name() string { return h.name }

// Write keeps a batch.
func (h *Heir) Write(b *record.Batch) error {
	if err := h.queue.Append(b.Buf, b.Ends); err != nil {
		return &record.WriteError{Cause: spoolCause(err), Err: err}
	}
	return nil
}

// Flush returns when all is on disk.
func (h *Heir) Flush() error { return h.queue.Sync() }

// Close flushes.
func (h *Heir) Close() error { return h.queue.Close() }

// Waiting is how many records wait for the broker.
func (h *Heir) Waiting() int { return h.queue.Len() }
