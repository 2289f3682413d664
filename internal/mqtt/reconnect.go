// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"math/rand/v2"
	"net"
	"time"
)

// run keeps a connection until the publisher is closed.
func (p *Publisher) run(l *link) {
	defer close(p.ended)
	for {
		if l == nil {
			if p.ctx.Err() != nil {
				return
			}
			var err error
			if l, err = p.open(p.ctx); err != nil {
				p.down(err)
				p.pause()
				continue
			}
		}
		err := l.serve()
		if err == nil {
			p.forget()
			return
		}
		p.judge(l, KindOf(err))
		p.down(err)
		p.pause()
		l = nil
	}
}

func (p *Publisher) down(err error) {
	p.failures++
	if p.ctx.Err() == nil && p.options.Down != nil {
		p.options.Down(err)
	}
}

// pause waits before the next try.
func (p *Publisher) pause() {
	delay := p.options.MinDelay << min(p.failures-1, 20)
	if delay <= 0 || delay > p.options.MaxDelay {
		delay = p.options.MaxDelay
	}
	// Many publishers that lost one broker shall not come back all at once.
	timer := time.NewTimer(delay/2 + rand.N(delay/2+1))
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
	case <-timer.C:
	}
}

// open makes a connection and prepares what goes out on it.
func (p *Publisher) open(ctx context.Context) (*link, error) {
	conn, limits, err := p.negotiate(ctx)
	if err != nil {
		return nil, err
	}
	p.version = limits.Version
	p.options.ClientID = limits.ClientID
	p.connected = true
	l := newLink(p, conn, limits)
	p.begin(l)
	if p.options.Up != nil {
		p.options.Up(limits)
	}
	return l, nil
}

// negotiate connects with the version that was asked for, or that the broker
// has spoken before; else with the newest that it speaks.
func (p *Publisher) negotiate(ctx context.Context) (net.Conn, Limits, error) {
	known := p.version != Auto
	version := p.version
	if !known {
		version = V5
	}
	conn, limits, err := p.dial(ctx, version)
	if err == nil || p.options.Version != Auto || !otherVersion(KindOf(err), known) {
		return conn, limits, err
	}
	other := V311
	if version == V311 {
		other = V5
	}
	conn, limits, otherErr := p.dial(ctx, other)
	if otherErr != nil && KindOf(err) == BadVersion {
		err = otherErr // the first has no news
	}
	if otherErr != nil {
		return nil, Limits{}, err
	}
	return conn, limits, nil
}

// otherVersion reports whether another version is worth a try. Old brokers
// have no good answer to a version that they do not know.
func otherVersion(kind Kind, known bool) bool {
	return kind == BadVersion || !known && (kind == Closed || kind == Protocol)
}

func (p *Publisher) dial(ctx context.Context, version Version) (net.Conn, Limits, error) {
	keeps := p.options.keepsSession()
	clean := !p.connected || !keeps
	if clean && keeps && version == V311 {
		// A session of an earlier run must go: its identifiers would be taken
		// for ours. Under 3.1.1 no session both begins clean and is kept.
		if err := p.clear(ctx, version); err != nil {
			return nil, Limits{}, err
		}
		clean = false
	}
	return dial(ctx, &p.options, version, clean)
}

// clear makes the broker forget the session.
func (p *Publisher) clear(ctx context.Context, version Version) error {
	bare := p.options
	bare.Will, bare.Greeting = nil, nil
	conn, limits, err := dial(ctx, &bare, version, true)
	if err != nil {
		return err
	}
	defer conn.Close()
	p.options.ClientID = limits.ClientID
	conn.SetDeadline(time.Now().Add(leaveTimeout))
	if _, err := conn.Write(appendDisconnect(nil, version)); err != nil {
		return p.options.readError(err)
	}
	// The broker must have seen the end before the client comes again.
	for err = nil; err == nil; {
		_, err = conn.Read(make([]byte, 64))
	}
	return nil
}

// forget leaves no session behind at the broker, where DISCONNECT cannot.
func (p *Publisher) forget() {
	if p.version != V311 || !p.options.keepsSession() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	p.clear(ctx, p.version) // nothing is lost if that fails
}
