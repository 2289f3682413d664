// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package ledger

// Words of an output's account.
const (
	outputUsed = iota
	outputSafe
	outputOffset
	outputEvents
	outputBytes
	outputWriting
	outputPart
	wordsPerOutput
)

// Output is the account of one output: how far it has come.
type Output struct {
	l    *Ledger
	base int
}

// Output gives the account of output i, counted from 0.
func (l *Ledger) Output(i int) Output {
	return Output{l, wordOutputs + i*wordsPerOutput}
}

// Use begins the account: from here on nothing is given up that the output
// does not have.
func (o Output) Use() { o.l.store(o.base+outputUsed, 1) }

// Used tells whether the account was begun.
func (o Output) Used() bool { return o.l.load(o.base+outputUsed) != 0 }

// Safe is the position up to which the output has everything.
func (o Output) Safe() uint64 { return o.l.load(o.base + outputSafe) }

// Offset is where in the output, if it is a regular file, that ends.
func (o Output) Offset() uint64 { return o.l.load(o.base + outputOffset) }

// Events and Bytes count what the output has taken.
func (o Output) Events() uint64 { return o.l.load(o.base + outputEvents) }

// Bytes counts markers and lost records too.
func (o Output) Bytes() uint64 { return o.l.load(o.base + outputBytes) }

// Writing tells whether a write was under way, whose outcome is not known.
func (o Output) Writing() bool { return o.l.load(o.base+outputWriting) != 0 }

// Part is the number of the file that the output is writing, from 1, where its
// stream is split over several; 0 before the first record.
func (o Output) Part() uint64 { return o.l.load(o.base + outputPart) }

// SetPart tells which that is. It is told before SetTaken.
func (o Output) SetPart(n uint64) { o.l.store(o.base+outputPart, n) }

// SetWriting is told before and after each write.
func (o Output) SetWriting(on bool) {
	v := uint64(0)
	if on {
		v = 1
	}
	o.l.store(o.base+outputWriting, v)
}

// SetSafe tells that the output has everything up to a position.
func (o Output) SetSafe(position uint64) { o.l.store(o.base+outputSafe, position) }

// SetTaken tells what the output has taken, and where it ends. It is told
// after SetSafe: what is found behind the offset and is not left in the ledger
// is taken for what it is, while the other way round lines would come twice.
func (o Output) SetTaken(events, bytes, offset uint64) {
	o.l.store(o.base+outputEvents, events)
	o.l.store(o.base+outputBytes, bytes)
	o.l.store(o.base+outputOffset, offset)
}
