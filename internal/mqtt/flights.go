// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

// A stage is how far the delivery of one message is.
type stage uint8

const (
	published stage = iota // or waits to be; the broker has not answered
	received               // QoS 2: the broker has it, and is to release it
	settled                // acknowledged or refused
)

// A flight is a message that was taken from the feed and is not settled, or
// stands behind one that is not.
type flight struct {
	message Message
	own     bool // a greeting or farewell, of which the feed knows nothing
	sent    bool // at least once
	again   bool // more than once
	givenUp bool // without asking the broker
	stage   stage
	tries   uint8  // how often it was refused for what may pass
	code    byte   // what the broker answered
	said    string // and in words
}

func (f *flight) refused() bool { return f.stage == settled && f.code >= codeRefused }

// flights are the messages on their way, the oldest first. Identifiers are
// given in order, so that one leads to its message without a table. It is a
// ring that grows and has no lock.
type flights struct {
	ring  []flight // a power of two
	first int      // place of the oldest
	n     int
	id    uint16 // identifier of the oldest

	cursor      int // how many, from the oldest, were sent on this connection
	outstanding int // of those, how many are not settled
	accepted    int // place, from 1, of the newest that was accepted; 0 for none
}

const maxID = 65535

func (f *flights) at(i int) *flight { return &f.ring[(f.first+i)&(len(f.ring)-1)] }

// idOf is the identifier of message i.
func (f *flights) idOf(i int) uint16 { return uint16((int(f.id)-1+i)%maxID + 1) }

// find leads from an identifier to the place of a message that was sent on
// this connection and is not settled; -1 if there is none.
func (f *flights) find(id uint16) int {
	if id == 0 || f.n == 0 {
		return -1
	}
	i := (int(id) - int(f.id) + maxID) % maxID
	if i >= f.cursor || f.at(i).stage == settled {
		return -1
	}
	return i
}

// push adds a message behind all others.
func (f *flights) push(fl flight) {
	if f.n == len(f.ring) {
		grown := make([]flight, max(64, 2*len(f.ring)))
		for i := range f.n {
			grown[i] = *f.at(i)
		}
		f.ring, f.first = grown, 0
	}
	if f.id == 0 {
		f.id = 1
	}
	f.n++
	*f.at(f.n - 1) = fl
}

// pop takes the oldest away.
func (f *flights) pop() {
	*f.at(0) = flight{}
	f.first = (f.first + 1) & (len(f.ring) - 1)
	f.id = f.idOf(1)
	f.n--
	f.cursor = max(f.cursor-1, 0)
	f.accepted = max(f.accepted-1, 0)
}

// settle notes the broker's last answer to message i.
func (f *flights) settle(i int, code byte, said string) {
	fl := f.at(i)
	fl.stage, fl.code, fl.said = settled, code, said
	f.outstanding--
	if code < codeRefused && !fl.own {
		f.accepted = max(f.accepted, i+1)
	}
}

// acceptedBehind reports whether a message behind the oldest was accepted.
func (f *flights) acceptedBehind() bool { return f.accepted > 1 }

// restart makes everything that is not acknowledged go out again, from the
// oldest on. Of a session that goes on the broker still has what it has
// received.
func (f *flights) restart(sessionPresent bool) {
	f.cursor, f.outstanding = 0, 0
	for i := range f.n {
		fl := f.at(i)
		if fl.refused() && !fl.givenUp || fl.stage == received && !sessionPresent {
			fl.stage, fl.code, fl.said = published, 0, ""
		}
	}
}
