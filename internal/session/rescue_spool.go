// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"

	"quixote-export/internal/export"
	"quixote-export/internal/ledger"
	mqttsink "quixote-export/internal/sink/mqtt"
	"quixote-export/internal/spool"
)

// A spoolLegatee is the spool of a broker in a will. The watchdog sends
// nothing: it puts what is left behind what waits there.
type spoolLegatee struct {
	Name  string // of the broker
	Path  string
	Label []byte
	Limit int64
}

// rescue puts what output number i lacks into the spool, and says so.
func (l *spoolLegatee) rescue(w *will, book *ledger.Ledger, i int) string {
	account := book.Output(i)
	left := book.Left(account)
	if account.Bytes() == 0 && len(left) == 0 {
		return fmt.Sprintf("nothing had been recorded for %s", l.Name)
	}
	q, err := spool.Open(l.Path, spool.Options{Limit: l.Limit, Label: l.Label})
	if err != nil {
		return fmt.Sprintf("what was recorded last is missing from %s: %v", l.Name, err)
	}
	heir := mqttsink.NewHeir(l.Name, q)
	_, err = export.Rescue(heir, export.Rest{
		Left: left, Start: w.Start, Started: account.Bytes() > 0,
		Context: w.Context, Last: book.LastNumber(), Events: account.Events(), Bytes: account.Bytes(),
	})
	if err != nil {
		return fmt.Sprintf("what was recorded last is missing from %s: %v", l.Name, err)
	}
	return fmt.Sprintf("%s not delivered to %s yet: they wait in %s (--drain-spool sends them)", recordsAre(heir.Waiting()), l.Name, l.Path)
}
