// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"errors"

	"quixote-export/internal/mqtt"
	"quixote-export/internal/record"
)

// maxKinds bounds the topics that are kept ready.
const maxKinds = 1000

// A feed is the sink as the publisher sees it.
type feed Sink

// Next makes a message of the records that follow.
func (f *feed) Next(limit int) (mqtt.Message, bool) {
	s := (*Sink)(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue
	batch := max(s.options.Batch, 1)
	if s.spooled && q.n-q.given < batch {
		s.refill()
	}
	if s.given < len(s.notes) {
		next := &s.notes[s.given]
		if next.at <= s.position(q.given) {
			s.given++
			s.parts = append(s.parts, aNote)
			return mqtt.Message{Topic: s.topicOf(next.text), Payload: next.text[:len(next.text)-1]}, true
		}
		batch = min(batch, int(next.at-s.position(q.given)))
	}
	if q.given == q.n {
		return mqtt.Message{}, false
	}
	// A message that is not full goes out when the broker owes nothing, or
	// when somebody waits for it.
	if q.n-q.given < batch && len(s.parts) > 0 && !s.pushing {
		return mqtt.Message{}, false
	}
	topic := s.topicOf(q.line(q.given))
	text, records := q.give(batch, min(limit-len(topic), maxMessage), s.same)
	s.parts = append(s.parts, records)
	return mqtt.Message{Topic: topic, Payload: text}, true
}

// aNote is among the parts a message that is no part of the queue.
const aNote = -1

// Settled takes the oldest messages away.
func (f *feed) Settled(n int, err error) {
	s := (*Sink)(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, part := range s.parts[:n] {
		switch {
		case part == aNote && err != nil:
			s.losses.total.AddUnknown(refusalCause(err))
			fallthrough
		case part == aNote:
			s.notes = s.notes[1:]
			s.given--
		case err != nil:
			s.lose(part, refusalCause(err))
			fallthrough
		default:
			s.settled += uint64(part)
		}
	}
	s.parts = s.parts[:copy(s.parts, s.parts[n:])]
	if err != nil {
		s.refused(err)
	} else {
		s.tellLosses() // of the run of refusals before
	}
	s.release()
	s.unspool()
	s.delivered()
	s.changed.Broadcast()
}

// lose counts the records of a message that was refused.
func (s *Sink) lose(records int, cause record.Cause) {
	s.beginLoss()
	first := int(s.settled - s.popped)
	for i := range records {
		s.losses.add(s.queue.line(first+i), cause)
	}
}

func (s *Sink) topicOf(line []byte) string {
	if s.topic != "" {
		return s.topic
	}
	kind := kindOf(line)
	topic, ok := s.topics[string(kind)]
	if !ok {
		topic = s.options.Topic.Of(string(kind))
		if len(s.topics) < maxKinds {
			s.topics[string(kind)] = topic
		}
	}
	return topic
}

// same tells that two records go to the same topic.
func (s *Sink) same(a, b []byte) bool {
	return s.topic != "" || bytes.Equal(kindOf(a), kindOf(b))
}

func refusalCause(err error) record.Cause {
	var r *mqtt.RefusedError
	if errors.As(err, &r) && r.Kind == mqtt.TooLarge {
		return record.CauseMessageTooLarge
	}
	return record.CauseMessageRefused
}
