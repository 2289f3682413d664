// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

// maxRefusals is how many refusals in a row are enough to wait for the answers
// that are still due, rather than to have more messages refused.
const maxRefusals = 64

// maxTries is how often a message is sent that the broker refuses for reasons
// that may pass.
const maxTries = 3

// acknowledge takes one acknowledgement. The publisher's lock is held, as in
// all of this file.
func (l *link) acknowledge(kind byte, body []byte) error {
	o, f := &l.p.options, &l.p.flights
	id, code, err := readAck(l.limits.Version, body)
	if err != nil {
		return o.errorf(Protocol, err, "it sends %s", err)
	}
	i := f.find(id)
	if i < 0 {
		// It may be late: of a session that goes on, and nobody waits for it.
		if kind == typePubrec {
			l.control = appendPubrel(l.control, id, l.unknown())
		}
		return nil
	}
	fl := f.at(i)
	switch {
	case kind == typePuback && o.QoS == 1:
		l.answer(i, code, kind, body)
	case kind == typePubrec && o.QoS == 2 && code >= codeRefused && !(code == codeIDInUse && fl.again):
		l.answer(i, code, kind, body)
	case kind == typePubrec && o.QoS == 2:
		// Some brokers say of what comes again that its identifier is in
		// use: so they have it, and wait for the release.
		fl.stage = received
		l.control = appendPubrel(l.control, id, codeSuccess)
	case kind == typePubcomp && o.QoS == 2 && fl.stage == received:
		l.answer(i, codeSuccess, kind, body)
	default:
		return o.errorf(Protocol, nil, "it sends a packet of type %d for a message that does not wait for it", kind)
	}
	return nil
}

// unknown is the code for an identifier that stands for no message.
func (l *link) unknown() byte {
	if l.limits.Version == V5 {
		return codeIDUnknown
	}
	return codeSuccess
}

// answer settles a message.
func (l *link) answer(i int, code byte, kind byte, body []byte) {
	said := ""
	if code >= codeRefused {
		said = reasonString(kind, body)
	}
	l.p.flights.settle(i, code, said)
	switch fl := l.p.flights.at(i); {
	case fl.own:
	case code >= codeRefused:
		l.refusals++
	default:
		l.refusals = 0
		l.accepted++
		l.p.progressed(fl)
	}
}

// settleWritten settles every message that was sent: under QoS 0.
func (l *link) settleWritten() {
	f := &l.p.flights
	for i := range f.cursor {
		if f.at(i).stage != settled {
			f.settle(i, codeSuccess, "")
			l.accepted++
		}
	}
	l.settleOldest()
}

// settleOldest lets go of the messages up to the first that waits. An error
// means that the broker refuses whatever it gets.
func (l *link) settleOldest() error {
	p, f := l.p, &l.p.flights
	done := 0
	flush := func() {
		if done > 0 {
			p.feed.Settled(done, nil)
			done = 0
		}
	}
	defer flush()
	for f.n > 0 && f.at(0).stage == settled {
		fl := f.at(0)
		switch {
		case fl.own:
			flush()
			p.ownSettled()
		case !fl.refused():
			done++
		case !fl.givenUp && passing(fl.code) && fl.tries < maxTries:
			fl.tries++
			return l.refusal(fl)
		case !fl.givenUp && !f.acceptedBehind():
			// Whether it is this message or any is not known before others
			// are answered.
			if f.outstanding == 0 {
				return l.refusal(fl)
			}
			return nil
		default:
			flush()
			kind, text := reason(fl.code, fl.said)
			p.feed.Settled(1, &RefusedError{Topic: fl.message.Topic, Kind: kind, Text: text})
		}
		f.pop()
	}
	return nil
}

// refusal is the error of a broker that takes no message.
func (l *link) refusal(fl *flight) error {
	kind, text := reason(fl.code, fl.said)
	return l.p.options.errorf(kind, nil, "it refuses messages to the topic %s (%s)", fl.message.Topic, text)
}

// passing reports whether a broker may accept what it refuses with this code
// when it gets it again.
func passing(code byte) bool {
	switch code {
	case codeUnspecified, codeImplementation, codeIDInUse, codeQuotaExceeded:
		return true
	}
	return false
}
