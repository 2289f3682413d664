// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"quixote-export/internal/ledger"
	"quixote-export/tsem"
)

func newLedger(t *testing.T, size int) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(size)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Who records an event that finds no room waits until the exporter has taken what is
// there; nothing is dropped.
func TestRecorderWaitsForRoom(t *testing.T) {
	l := newLedger(t, os.Getpagesize())
	r := New(1, l)
	r.enter(0, append(bytes.Repeat([]byte{' '}, l.Size()-10), '\n'))
	done := make(chan bool)
	go func() {
		r.Lock()
		r.Append(&tsem.Event{Type: tsem.FileOpen})
		r.Unlock()
		close(done)
	}()
	for _, want := range []tsem.Type{0, tsem.FileOpen} {
		b, err := r.Next(context.Background())
		if err != nil || b.Len() != 1 || b.Types[0] != want {
			t.Fatalf("got %v, %v", b, err)
		}
		if want == 0 {
			select {
			case <-done:
				t.Fatal("an event was kept beyond the bound")
			default:
			}
		}
	}
	<-done
}

func TestRecorderHeedsItsContext(t *testing.T) {
	r := New(1, newLedger(t, ledger.DefaultSize))
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := r.Next(ctx)
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
