// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// writeSize is how many bytes are gathered for one write.
	writeSize = 128 << 10
	// leaveTimeout bounds the orderly end of a connection.
	leaveTimeout = 2 * time.Second
)

// A link is one connection. Two goroutines have it: one waits for the feed and
// the clock, one reads. Whoever finds something to send sends it.
type link struct {
	p      *Publisher
	conn   net.Conn
	limits Limits

	sending sync.Mutex  // guards buf and writing
	again   atomic.Bool // look once more whether there is something to send
	buf     []byte
	left    bool          // DISCONNECT is out
	full    atomic.Bool   // the window is
	pace    time.Duration // from one acknowledgement to the next; who reads has it

	failed chan struct{} // closed with the first failure
	once   sync.Once
	err    error // the first failure

	// Guarded by the publisher's lock.
	control  []byte    // packets that go before messages
	accepted int       // messages of the feed that were acknowledged
	refusals int       // in a row
	moved    time.Time // when the broker acknowledged last, or something was sent to a broker that owed nothing
	sentAt   time.Time // when something was sent last
	pingAt   time.Time // when the ping that is not answered was sent
}

func newLink(p *Publisher, conn net.Conn, limits Limits) *link {
	return &link{p: p, conn: conn, limits: limits, failed: make(chan struct{}), sentAt: time.Now()}
}

// fail ends the connection.
func (l *link) fail(err error) {
	l.once.Do(func() {
		l.err = err
		l.conn.Close()
		close(l.failed)
	})
}

// serve publishes until the connection fails, or the publisher is closed.
func (l *link) serve() error {
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		l.fail(l.read())
	}()
	tick := time.NewTicker(max(min(l.limits.KeepAlive/4, l.p.options.AckTimeout/4), 10*time.Millisecond))
	if l.limits.KeepAlive == 0 {
		tick.Reset(max(l.p.options.AckTimeout/4, 10*time.Millisecond))
	}
	defer tick.Stop()
	l.pump()
	for {
		select {
		case <-l.failed:
			<-reading
			return l.err
		case <-l.p.ctx.Done():
			l.leave()
			<-reading
			return nil
		case <-l.p.wake:
			l.pump()
		case now := <-tick.C:
			l.check(now)
		}
	}
}

// pump sends what there is to send, unless somebody else is at it: who then
// looks again.
func (l *link) pump() {
	l.again.Store(true)
	for l.again.Load() && l.sending.TryLock() {
		l.again.Store(false)
		for !l.left && l.fill() {
			l.write()
		}
		l.sending.Unlock()
	}
}

func (l *link) write() {
	// No deadline needs to be taken back: every write sets its own.
	l.conn.SetWriteDeadline(time.Now().Add(l.p.options.AckTimeout))
	_, err := l.conn.Write(l.buf)
	if l.p.options.QoS == 0 {
		// At most once: what went out in part does not go out again.
		l.p.mu.Lock()
		l.settleWritten()
		l.p.mu.Unlock()
	}
	if err != nil {
		l.fail(l.p.options.readError(err))
		l.left = true
	}
}

// fill gathers packets in buf: false means that there are none.
func (l *link) fill() bool {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	b := append(l.buf[:0], l.control...)
	l.control = l.control[:0]
	f := &p.flights
	window := l.limits.InFlight
	if p.progress.careful {
		window = 1
	}
	idle := f.outstanding == 0
	givenUp := false
	for len(b) < writeSize && f.outstanding < window {
		if f.cursor == f.n && !l.take() {
			break
		}
		if fl := f.at(f.cursor); fl.stage != settled {
			b = l.appendFlight(b, fl, f.idOf(f.cursor))
			f.outstanding++
		} else {
			givenUp = givenUp || fl.givenUp
		}
		f.cursor++
	}
	if givenUp {
		if err := l.settleOldest(); err != nil {
			l.fail(err)
		}
	}
	l.full.Store(f.outstanding >= window)
	l.buf = b
	if len(b) == 0 {
		return false
	}
	l.sentAt = time.Now()
	if idle {
		l.moved = l.sentAt
	}
	return true
}

// take adds the next message to the flights, if there is one.
func (l *link) take() bool {
	p := l.p
	if p.flights.n >= maxFlights || l.refusals >= maxRefusals {
		return false
	}
	if m := p.ownMessage(); m != nil {
		p.flights.push(flight{message: *m, own: true})
		return true
	}
	m, ok := p.feed.Next(l.body())
	if !ok {
		// Who adds to the feed after this look sees that we are idle.
		p.idle.Store(true)
		if m, ok = p.feed.Next(l.body()); !ok {
			return false
		}
	}
	fl := flight{message: m}
	if fl.size() > l.body() {
		fl.stage, fl.code, fl.givenUp = settled, codePacketTooLarge, true
	}
	p.flights.push(fl)
	return true
}

func (l *link) appendFlight(b []byte, fl *flight, id uint16) []byte {
	fl.again, fl.sent = fl.sent, true
	if fl.stage == received {
		return appendPubrel(b, id, codeSuccess)
	}
	return appendPublish(b, l.limits.Version, &fl.message, l.p.options.QoS, id, fl.again)
}

// read takes what the broker sends until the connection ends.
func (l *link) read() error {
	b := make([]byte, maxIncoming+8)
	have := 0
	for {
		n, err := l.conn.Read(b[have:])
		have += n
		if n > 0 {
			used, acks, herr := l.handle(b[:have])
			if herr != nil {
				return herr
			}
			have = copy(b, b[used:have])
			l.pump()
			l.gather(acks)
		}
		if err != nil {
			return l.p.options.readError(err)
		}
	}
}

const (
	// few is how many acknowledgements in one read are few.
	few = 8
	// leastPause is about what the kernel makes of the shortest pause.
	leastPause = 50 * time.Microsecond
	mostPause  = 200 * time.Microsecond
)

// gather waits a moment when the window is full and acknowledgements come one
// by one. Who reads each of them at once wakes up for each, and makes the
// broker pay for it as well. The pause is a quarter of the time in which the
// broker acknowledges a whole window, so that it does not run dry meanwhile.
// With 20 messages in flight to mosquitto on the same machine that makes
// publishing twice as fast, for a third of the CPU time.
func (l *link) gather(acks int) {
	if acks >= few || !l.full.Load() {
		return
	}
	pause := min(l.pace*time.Duration(l.limits.InFlight)/4, mostPause)
	if pause < leastPause/2 {
		return
	}
	unix.Nanosleep(&unix.Timespec{Nsec: int64(max(pause-leastPause, 1))}, nil)
}

// paced notes that so many acknowledgements came in a time.
func (l *link) paced(acks int, took time.Duration) {
	l.pace += (took/time.Duration(acks) - l.pace) / 8
}

// handle deals with all whole packets in b. used is how many bytes they had.
func (l *link) handle(b []byte) (used, acks int, err error) {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	for used < len(b) {
		if !expected(b[used]) {
			l.settleOldest()
			return used, acks, p.options.errorf(Protocol, nil, "it sends a packet that begins with 0x%02x, for which it was not asked", b[used])
		}
		first, body, n, err := cut(b[used:])
		if err != nil {
			return used, acks, p.options.errorf(Protocol, err, "it sends %s", err)
		}
		if n == 0 {
			break
		}
		used += n
		switch first {
		case firstPuback, firstPubrec, firstPubcomp:
			acks++
			err = l.acknowledge(first>>4, body)
		case firstPingresp:
			l.pingAt = time.Time{}
		case firstDisconnect:
			err = p.options.disconnected(body)
		}
		if err != nil {
			l.settleOldest()
			return used, acks, err
		}
	}
	if acks > 0 {
		now := time.Now()
		l.paced(acks, now.Sub(l.moved))
		l.moved = now
	}
	return used, acks, l.settleOldest()
}

// expected tells from the first byte whether a packet is one that a publisher
// may get.
func expected(first byte) bool {
	switch first {
	case firstPuback, firstPubrec, firstPubcomp, firstPingresp, firstDisconnect:
		return true
	}
	return false
}

// check looks at the clock.
func (l *link) check(now time.Time) {
	p := l.p
	p.mu.Lock()
	late := p.flights.outstanding > 0 && now.Sub(l.moved) > p.options.AckTimeout
	deaf := !l.pingAt.IsZero() && now.Sub(l.pingAt) > p.options.AckTimeout
	ping := l.limits.KeepAlive > 0 && l.pingAt.IsZero() && now.Sub(l.sentAt) >= l.limits.KeepAlive/2
	if ping {
		l.pingAt = now
		l.control = appendPingreq(l.control)
	}
	p.mu.Unlock()
	switch {
	case late:
		l.fail(p.options.errorf(NoAnswer, context.DeadlineExceeded, "it has acknowledged nothing for %s", p.options.AckTimeout))
	case deaf:
		l.fail(p.options.errorf(NoAnswer, context.DeadlineExceeded, "it has not answered a ping for %s", p.options.AckTimeout))
	case ping:
		l.pump()
	}
}

// leave ends the connection in order: the broker forgets session and will.
// What it still acknowledges is taken.
func (l *link) leave() {
	// This also ends a write that somebody is stuck in.
	l.conn.SetDeadline(time.Now().Add(leaveTimeout))
	l.sending.Lock()
	defer l.sending.Unlock()
	if !l.left {
		l.left = true
		l.conn.Write(appendDisconnect(nil, l.limits.Version))
	}
	// Closing at once could destroy on the way what the broker has not read.
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
}
