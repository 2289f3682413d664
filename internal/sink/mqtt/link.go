// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"fmt"
	"strings"
	"time"

	"quixote-export/internal/mqtt"
	"quixote-export/internal/record"
)

// tellAgain is how long nothing is said of a broker that comes and goes.
const tellAgain = time.Minute

// A link is what is known of the connection.
type link struct {
	up      bool
	away    bool      // since it was lost, not everything was delivered
	told    bool      // that it is away
	last    time.Time // when that was told
	refusal error     // why the broker takes nothing, if somebody has to mend that
	since   time.Time // when it began to
	old     bool      // it was said that the broker speaks 3.1.1
	refused bool      // it was said that messages are refused
}

// up is told of a new connection.
func (s *Sink) up(limits mqtt.Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link.up = true
	if limits.Version == mqtt.V311 && !s.link.old {
		s.link.old = true
		s.options.Notice(fmt.Sprintf("%s speaks MQTT 3.1.1: it does not say when its access rules refuse a message", s.options.Name))
	}
	s.delivered()
}

// down is told of a connection that was lost, or that could not be had.
func (s *Sink) down(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.link
	if l.up && s.options.Broker.QoS == 0 {
		s.beginLoss()
		s.losses.unconfirmed(s.newest)
	}
	l.up = false
	if MayComeBack(err) {
		l.refusal = nil
	} else if l.refusal == nil {
		l.refusal, l.since = err, time.Now()
	}
	if !l.away {
		l.away, l.told = true, time.Since(l.last) > tellAgain
		if l.told {
			l.last = time.Now()
			s.options.Notice(fmt.Sprintf("%v; what it has not acknowledged is kept, if need be in %s", advise(err), s.options.Path))
		}
	}
	s.changed.Broadcast()
}

// delivered looks whether the broker has everything.
func (s *Sink) delivered() {
	l := &s.link
	if s.waiting() > 0 {
		return
	}
	s.pushing = false
	if !l.up || !l.away {
		return
	}
	l.away, l.refusal = false, nil
	if l.told {
		s.options.Notice(fmt.Sprintf("%s is back, and has everything", s.options.Name))
	}
}

// refused is told of the first message that is refused for itself.
func (s *Sink) refused(err error) {
	if !s.link.refused {
		s.link.refused = true
		s.options.Notice(fmt.Sprintf("%s: %v; what is refused is counted as lost", s.options.Name, err))
	}
}

// MayComeBack tells that a broker may be reached later though nobody mends
// anything here.
func MayComeBack(err error) bool {
	switch mqtt.KindOf(err) {
	case mqtt.Unreachable, mqtt.NoAnswer, mqtt.Closed, mqtt.Busy, mqtt.TooLarge:
		return true
	}
	return false
}

// advise adds to an error of the broker what to do.
func advise(err error) error {
	const noAdvice = ""
	advice := map[mqtt.Kind]string{
		mqtt.BadName:       "check the name behind -b",
		mqtt.Unreachable:   noAdvice,
		mqtt.TLS:           "see --ca, --cert and --key",
		mqtt.BadPassword:   "see --user and --password-file",
		mqtt.NotAuthorised: "see --user and --password-file, and the broker's access rules",
		mqtt.BadVersion:    "see --mqtt-version",
		mqtt.BadClientID:   "see --client-id",
		mqtt.Unsupported:   "see --qos and --status-topic",
	}[mqtt.KindOf(err)]
	if advice == noAdvice || strings.Contains(err.Error(), "--") {
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// unconfirmed notes that nobody knows what the broker has got.
func (l *losses) unconfirmed(behind place) {
	l.total.AddUnknown(record.CauseUnconfirmed)
	l.put(run{context: behind.context, after: behind.number, unknown: true, cause: record.CauseUnconfirmed})
}
