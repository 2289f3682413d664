// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

// A broker that limits the size of packets can say so under version 5 only.
// Others, and some under version 5 too, end the connection when they get what
// is too large for them, and would do so with every connection to come. So
// when connections end again and again without an acknowledgement, the oldest
// message is sent alone. When the broker then says that it is too large, or
// when it is larger than all that was ever acknowledged and the connection
// still ends, it is refused, and so is what is not smaller, for as long as the
// next connection lasts that works.
const (
	carefulAfter = 2 // connections that ended so
	refuseAfter  = 5
)

// progress is what tells a message that a broker cannot stand from a broker
// that is in trouble. The publisher's lock guards it.
type progress struct {
	strikes  int // connections in a row that the broker ended without an acknowledgement
	careful  bool
	largest  int // bytes of topic and payload of the largest message that was accepted
	tooLarge int // the same of the smallest that was found to be too large, 0 for none
}

func (fl *flight) size() int { return len(fl.message.Topic) + len(fl.message.Payload) }

// progressed notes that a message was accepted.
func (p *Publisher) progressed(fl *flight) {
	p.progress.strikes, p.progress.careful = 0, false
	p.progress.largest = max(p.progress.largest, fl.size())
}

// judge looks at how a connection has ended.
func (p *Publisher) judge(l *link, kind Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, pr := &p.flights, &p.progress
	if l.accepted > 0 {
		p.failures = 0
		pr.tooLarge = 0
		return
	}
	if kind == NoAnswer || f.n == 0 || f.cursor == 0 || f.at(0).own || f.at(0).stage == settled {
		return
	}
	alone, size := pr.careful, f.at(0).size()
	pr.strikes++
	pr.careful = pr.strikes >= carefulAfter || kind == TooLarge
	if alone && (kind == TooLarge || pr.strikes >= refuseAfter && pr.largest > 0 && size > pr.largest) {
		*pr = progress{largest: pr.largest, tooLarge: size}
		f.at(0).giveUp()
	}
}

// body is how many bytes topic and payload may have together.
func (l *link) body() int {
	most := l.limits.body()
	if large := l.p.progress.tooLarge; large > 0 {
		most = min(most, large-1)
	}
	return most
}

// giveUp settles a message as too large for the broker.
func (fl *flight) giveUp() {
	fl.stage, fl.code, fl.givenUp = settled, codePacketTooLarge, true
}

// begin prepares the messages on their way for a new connection.
func (p *Publisher) begin(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.flights
	f.restart(l.limits.SessionPresent)
	for i := range f.n {
		if fl := f.at(i); fl.stage == published && fl.size() > l.body() {
			fl.giveUp()
		}
	}
	p.greet = p.options.Greeting != nil && !p.greeting && !p.leaving && p.farewell == nil
	l.settleOldest() // it has no answers yet to judge the broker by
}

// ownMessage returns the greeting or farewell when it is due.
func (p *Publisher) ownMessage() *Message {
	switch {
	case p.greet:
		p.greet, p.greeting = false, true
		return p.options.Greeting
	case p.farewell != nil:
		m := p.farewell
		p.farewell = nil
		p.leaving = true
		return m
	}
	return nil
}

// ownSettled notes that the oldest message, which is the publisher's own, is
// settled. It was sent to be known; a refusal costs no record.
func (p *Publisher) ownSettled() {
	p.greeting = false
	if p.leaving {
		p.leaving = false
		close(p.bye)
	}
}
