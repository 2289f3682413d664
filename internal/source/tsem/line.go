// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"
)

// What the supervisor and the reader say to one another on the line: one
// message a packet, a word of one byte and what belongs to it.
const (
	// From the supervisor.
	sayAttach  = 'a' // and the orders
	sayContext = 'c' // and what the child was told of its number
	sayRoom    = 'r' // there may be room in the ledger again
	sayStop    = 's' // that is enough

	// From the reader.
	sayAttached = 'A' // and the number of the context, as text
	sayExchange = 'X' // and one exchange with the kernel
	sayUnknown  = 'U' // the kernel tells this thread no number: what does it tell the child
	sayFailed   = 'F' // why it could not attach, or can read no more
	sayNews     = 'n' // there are records in the ledger
	sayFull     = 'f' // there is no room in the ledger
	sayNotice   = 'N' // a line for the user
	sayEnd      = 'E' // and the account: all is read
)

// orders are what the supervisor asks of the reader.
type orders struct {
	Root      string // of securityfs
	Context   bool   // it is one of a child; else the root context
	Follow    bool   // go on when the queue is empty
	Digest    int    // bytes of a digest
	Timestamp bool   // add the wall-clock time of the reading
}

// account is what came of the reading besides records.
type account struct {
	Read     uint64 // records
	Repaired uint64
	Late     uint64 // that came behind one with a higher number
	Doubled  uint64 // whose number had come
}

// maxLine bounds a message.
const maxLine = 16 << 10

// tell sends a message, waiting if it has to.
func tell(line int, word byte, text string) error {
	for {
		err := unix.Sendto(line, append([]byte{word}, text...), unix.MSG_NOSIGNAL, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// heard waits for a message. A zero word says that the other side is gone.
func heard(line int, buf []byte) (word byte, text []byte) {
	for {
		n, err := unix.Read(line, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			return 0, nil
		}
		return buf[0], buf[1:n]
	}
}

func understand(text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("cannot understand the reader of events: %w", err)
	}
	return nil
}
