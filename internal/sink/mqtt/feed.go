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

// Settled takes the oldest messages away.
func (f *feed) Settled(n int, err error) {
	s := (*Sink)(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	records := 0
	for _, part := range s.parts[:n] {
		records += part
	}
	s.parts = s.parts[:copy(s.parts, s.parts[n:])]
	if err != nil {
		for i := range records {
			s.losses.add(s.queue.line(i), refusalCause(err))
		}
		s.refused(err)
	}
	s.queue.pop(records)
	if s.spooled {
		s.reading.acked += records
		if s.reading.acked >= ackEvery {
			s.acknowledge()
		}
	}
	if err == nil {
		s.tellLosses() // of the run of refusals before
	}
	s.unspool()
	s.delivered()
	s.changed.Broadcast()
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
