// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package mqtt publishes records to an MQTT broker, and keeps them while it is
// away.
//
// What it promises:
//   - Every record that Write took reaches the broker once at least, in order,
//     unless the broker refuses it. Until it is acknowledged it is in memory or
//     in the spool.
//   - In memory are 2 MiB of records at most. When they do not fit, or a Flush
//     finds that the broker takes too long, all that is not acknowledged goes
//     to the spool, and everything else behind it, until the spool is empty.
//   - Write waits only for room in the spool, and with Drop not even for that.
//     It gives up when the run has ended and the time for draining is over.
//   - What is lost is counted in Lost, or told by the error of Write. Of what
//     is lost after Write took it a lost record is in the stream: of records
//     that the spool has lost in their place, of those that the broker refuses
//     behind the messages that were on their way by then. A record that was
//     refused is kept as long as its lost record is not delivered.
//   - Held tells what dies with this process: records of the ledger that are in
//     memory alone. Records that are in no ledger go to the spool at once.
//   - A broker that is away, and its return, are told of once each, and of one
//     that comes and goes no more than once a minute.
package mqtt

import (
	"context"
	"fmt"
	"sync"
	"time"

	"quixote-export/internal/broker"
	"quixote-export/internal/mqtt"
	"quixote-export/internal/record"
	"quixote-export/internal/spool"
)

const (
	// flushPatience is how long Flush waits for acknowledgements before it
	// has the spool keep what is not acknowledged.
	flushPatience = 100 * time.Millisecond
	// refusedPatience is how long Close waits for a broker that refuses what it
	// gets: somebody has to mend that.
	refusedPatience = 3 * time.Second
	// farewellPatience bounds the last words with a broker.
	farewellPatience = 5 * time.Second
	// maxMessage bounds a message of several records, in bytes.
	maxMessage = 256 << 10
)

// Options of a Sink.
type Options struct {
	Name   string // the broker as the user knows it
	Broker mqtt.Options
	Topic  broker.Topic // with everything filled in but the type
	Batch  int          // records a message at most; 0 is 1

	Spool  *spool.Queue // the sink closes it
	Damage spool.Damage // what was found when the spool was opened
	Path   string       // of the spool, for the user
	Drop   bool         // records for which the spool has no room, instead of waiting

	// Drain is how long Close waits for the broker.
	Drain time.Duration

	Status *Status      // nil: none
	Notice func(string) // is given lines for the user; it must not block
}

// A Sink is one broker. Write, Flush and Close are for one goroutine; End,
// Hurry and Held may be called at any time.
type Sink struct {
	options   Options
	publisher *mqtt.Publisher
	topics    map[string]string // by kind
	topic     string            // when it does not depend on the kind

	mu      sync.Mutex // guards what follows; the publisher's lock is taken before it
	changed sync.Cond  // something was settled, or a wait is over
	queue   *queue
	popped  uint64 // how many records have left the queue at its end
	settled uint64 // how many were settled; the queue may keep some of them
	parts   []int  // records of each message that was given and is not settled
	pushing bool   // also messages that could be longer go out
	losses  losses // after records were taken
	notes   []note // in the order in which they go out
	given   int    // how many of them, from the oldest, were given
	link    link
	spooled bool      // the queue is the beginning of the spool, and new records go there
	reading reading   // of the spool
	status  string    // exit status of the workload
	drops   drops     // with Options.Drop
	wrote   bool      // Write was called
	newest  place     // of the events that Write was given, under QoS 0
	until   time.Time // when waiting ends, zero as long as the run goes on
	closed  bool
	left    int // records in the spool at Close
}

// New prepares a sink. Nothing is published before Connect or Start.
func New(o Options) *Sink {
	s := &Sink{options: o, topics: make(map[string]string), queue: newQueue(queueSize)}
	s.changed.L = &s.mu
	if !o.Topic.Typed() {
		s.topic = o.Topic.String()
	}
	s.spooled = o.Spool.Len() > 0
	if s.damaged(o.Damage) {
		// It is at the end of what is there, and so is the record of it.
		s.losses.put(damage(place{}))
	}
	o.Broker.Up, o.Broker.Down = s.up, s.down
	if o.Status != nil {
		o.Broker.Greeting, o.Broker.Will = o.Status.greeting(), o.Status.will()
	}
	s.publisher = mqtt.New(o.Broker, (*feed)(s))
	s.keepLosses() // or they are told later
	return s
}

// Connect waits for the first connection. After an error it may be called
// again, or Start, if MayComeBack says so.
func (s *Sink) Connect(ctx context.Context) error {
	if err := s.publisher.Connect(ctx); err != nil {
		return advise(err)
	}
	return nil
}

// Start connects as soon as the broker can be reached. That it is away the
// caller has told.
func (s *Sink) Start() {
	s.mu.Lock()
	s.link.away, s.link.told, s.link.last = true, true, time.Now()
	s.mu.Unlock()
	s.publisher.Start()
}

// Name is what the user calls the broker.
func (s *Sink) Name() string { return s.options.Name }

// Write takes a batch, or the first records of it.
func (s *Sink) Write(b *record.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrote = true
	if s.options.Broker.QoS == 0 {
		s.newest = newest(b, s.newest)
	}
	taken, err := s.take(b)
	s.publisher.Wake()
	if err != nil {
		return &record.WriteError{Taken: taken, Cause: spoolCause(err), Err: err}
	}
	return nil
}

func (s *Sink) take(b *record.Batch) (taken int, err error) {
	i := 0
	for {
		for !s.spooled && !b.Own && i < b.Len() && s.queue.push(b.Buf[b.Start(i):b.Ends[i]]) {
			i++
		}
		if i == b.Len() {
			return i, nil
		}
		err := s.drops.check(s, b)
		if err == nil {
			err = s.spill()
		}
		if err == nil {
			err = s.append(b, i)
		}
		if err == nil {
			return b.Len(), nil
		}
		s.unspool()
		if s.options.Drop || !isFull(err) || s.over() {
			return i, err
		}
		s.await(time.Second) // also others make room on a disk
	}
}

// Last tells that the last records of the run come.
func (s *Sink) Last() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops.last = true
}

// Flush returns when everything is acknowledged, or safe in the spool.
func (s *Sink) Flush() error {
	if done, err := s.settle(); done || err != nil {
		return err
	}
	return s.options.Spool.Sync()
}

// settle gives the broker a moment to acknowledge what is in memory, and then
// gives it to the spool.
func (s *Sink) settle() (acknowledged bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLosses()
	s.push()
	for end := time.Now().Add(flushPatience); s.link.up && s.waiting() > 0 && time.Now().Before(end); {
		s.await(time.Until(end))
	}
	if s.waiting() == 0 {
		return true, nil
	}
	s.acknowledge()
	if err := s.spill(); err != nil {
		return false, fmt.Errorf("records that %s has not acknowledged are in memory alone: %w", s.options.Name, err)
	}
	return false, nil
}

// push lets messages out that could be longer.
func (s *Sink) push() {
	if s.queue.n > 0 || s.spooled {
		s.pushing = true
		s.publisher.Wake()
	}
}

// End tells that the run has ended, and how: from here on records wait for the
// broker no longer than the time for draining.
func (s *Sink) End(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
	if s.until.IsZero() {
		s.until = time.Now().Add(s.options.Drain)
	}
	s.changed.Broadcast()
}

// Hurry ends all waiting for the broker.
func (s *Sink) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now()
	s.changed.Broadcast()
}

// over tells that waiting has ended.
func (s *Sink) over() bool { return !s.until.IsZero() && !time.Now().Before(s.until) }

// await waits for a change, for d at most.
func (s *Sink) await(d time.Duration) {
	if !s.until.IsZero() {
		d = min(d, time.Until(s.until))
	}
	timer := time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer timer.Stop()
	s.changed.Wait()
}

// Close waits for the broker, takes leave of it, and leaves in the spool what
// it has not acknowledged.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.tellLosses()
	s.push()
	if s.until.IsZero() {
		s.until = time.Now()
		if s.wrote {
			s.until = s.until.Add(s.options.Drain)
		}
	}
	for s.waiting() > 0 && !s.over() {
		if s.link.refusal != nil {
			s.until = soonest(s.until, s.link.since.Add(refusedPatience))
		}
		s.await(time.Second)
	}
	farewell := s.options.Status.farewell(s.status, s.waiting())
	s.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), farewellPatience)
	defer cancel()
	s.publisher.Close(ctx, farewell)

	s.mu.Lock()
	defer s.mu.Unlock()
	// What was refused is lost and told, wherever the record of that is now.
	s.pop(int(s.settled - s.popped))
	s.acknowledge()
	if s.queue.n > 0 {
		if err := s.spill(); err != nil {
			s.loseAll(spoolCause(err))
			s.options.Notice(fmt.Sprintf("what %s has not acknowledged is lost: %v", s.options.Name, err))
		}
	}
	if err := s.keepLosses(); err != nil {
		s.options.Notice(fmt.Sprintf("the records of what is lost are missing from the stream to %s: %v", s.options.Name, err))
		s.notes = nil
	}
	s.left = s.waiting()
	s.closed = true
	return s.options.Spool.Close()
}

func soonest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Held is how many bytes of the records of the ledger that Write took last are
// in memory alone.
func (s *Sink) Held() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spooled {
		return 0
	}
	return int64(s.queue.bytes)
}

// Lost is what was lost of what Write took.
func (s *Sink) Lost() record.Losses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losses.total
}

// Waiting is how many records wait for the broker. After Close it is what is
// left in the spool.
func (s *Sink) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting()
}

func (s *Sink) waiting() (n int) {
	switch {
	case s.closed:
		return s.left
	case s.spooled:
		n = s.options.Spool.Len() - s.reading.acked
	default:
		n = s.queue.n
	}
	return n - int(s.settled-s.popped) + len(s.notes)
}
