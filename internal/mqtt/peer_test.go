// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A list is a feed of messages that are all there, or come with add.
type list struct {
	mu       sync.Mutex
	messages []Message
	given    int
	settled  int
	refused  []*RefusedError
	changed  chan struct{}
}

func newList(messages ...Message) *list {
	return &list{messages: messages, changed: make(chan struct{}, 1)}
}

// numbered makes n messages whose payloads are numbers.
func numbered(n int) []Message {
	all := make([]Message, n)
	for i := range all {
		all[i] = Message{Topic: "t", Payload: fmt.Append(nil, i)}
	}
	return all
}

func (f *list) Next(int) (Message, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.given == len(f.messages) {
		return Message{}, false
	}
	f.given++
	return f.messages[f.given-1], true
}

func (f *list) Settled(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var r *RefusedError
	if errors.As(err, &r) {
		f.refused = append(f.refused, r)
	}
	f.settled += n
	if f.settled > f.given {
		panic("more settled than given")
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *list) add(m ...Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(f.messages, m...)
}

func (f *list) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settled
}

// wait waits until n messages are settled.
func (f *list) wait(t *testing.T, n int) {
	t.Helper()
	late := time.After(patience)
	for f.count() < n {
		select {
		case <-f.changed:
		case <-late:
			t.Fatalf("%d of %d messages are settled", f.count(), n)
		}
	}
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// A fake is a broker that does what a test says, one connection after another.
type fake struct {
	t        *testing.T
	listener net.Listener
	done     sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn
}

// newFake serves connections with the scripts in turn, one after another; the
// last one serves all that follow.
func newFake(t *testing.T, scripts ...func(*peer)) *fake {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", scripts...)
}

func serveAt(t *testing.T, address string, scripts ...func(*peer)) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, listener: listener}
	f.done.Go(func() {
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conn = conn
			f.mu.Unlock()
			scripts[min(i, len(scripts)-1)](&peer{t: t, conn: conn})
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		f.hangUp()
		f.done.Wait()
	})
	return f
}

// hangUp ends the connection there is.
func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.conn != nil {
		f.conn.Close()
	}
}

func (f *fake) address() string { return f.listener.Addr().String() }

// A peer is the broker's end of one connection.
type peer struct {
	t       *testing.T
	conn    net.Conn
	version Version
	connect packets.Packet
}

// read returns the next packet; false when the client has gone.
func (p *peer) read() (packets.Packet, bool) {
	p.conn.SetReadDeadline(time.Now().Add(patience))
	first, body, err := readPacket(p.conn, 0)
	if err != nil {
		if isTimeout(err) {
			p.t.Error("the client sends nothing")
		}
		return packets.Packet{}, false
	}
	pk := packets.Packet{ProtocolVersion: byte(p.version)}
	if err := pk.FixedHeader.Decode(first); err != nil {
		p.t.Errorf("first byte %x: %v", first, err)
		return pk, false
	}
	pk.FixedHeader.Remaining = len(body)
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
		if code := pk.ConnectValidate(); code.Code != 0 {
			err = code
		}
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	if err != nil {
		p.t.Errorf("type %d: %v", pk.FixedHeader.Type, err)
	}
	return pk, err == nil
}

// accept reads CONNECT and answers it; change makes the answer another.
func (p *peer) accept(change func(*packets.Packet)) bool {
	pk, ok := p.read()
	if !ok || pk.FixedHeader.Type != packets.Connect {
		return false
	}
	p.connect, p.version = pk, Version(pk.ProtocolVersion)
	answer := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: pk.ProtocolVersion}
	if change != nil {
		change(&answer)
	}
	var b bytes.Buffer
	answer.ConnackEncode(&b)
	p.write(b.Bytes())
	return answer.ReasonCode == 0
}

func (p *peer) write(b []byte) { p.conn.Write(b) }

// ack sends a PUBACK, PUBREC or PUBCOMP.
func (p *peer) ack(kind byte, id uint16, code byte) {
	b := []byte{kind << 4, 2, byte(id >> 8), byte(id)}
	if code != 0 {
		b[1] = 3
		b = append(b, code)
	}
	p.write(b)
}

// serve accepts messages as a good broker does, and tells of each. It returns
// when the client has gone, with the last packet.
func (p *peer) serve(told func(packets.Packet)) packets.Packet {
	var last packets.Packet
	for {
		pk, ok := p.read()
		if !ok {
			return last
		}
		last = pk
		switch pk.FixedHeader.Type {
		case packets.Publish:
			if told != nil {
				told(pk)
			}
			switch pk.FixedHeader.Qos {
			case 1:
				p.ack(packets.Puback, pk.PacketID, 0)
			case 2:
				p.ack(packets.Pubrec, pk.PacketID, 0)
			}
		case packets.Pubrel:
			p.ack(packets.Pubcomp, pk.PacketID, 0)
		case packets.Pingreq:
			p.write([]byte{packets.Pingresp << 4, 0})
		case packets.Disconnect:
			return last
		}
	}
}

// drain takes everything and answers nothing, until the client has gone.
func (p *peer) drain() {
	for {
		if _, ok := p.read(); !ok {
			return
		}
	}
}

// quick are options with which nothing takes long.
func quick(address string) Options {
	return Options{
		Address: address, ClientID: "test", QoS: 1,
		MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
	}
}

// begin makes a publisher that the test closes at its end, and checks that
// nothing of it is left.
func begin(t *testing.T, o Options, feed Feed) *Publisher {
	t.Helper()
	p := New(o, feed)
	if err := p.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLater(t, p)
	return p
}

func closeLater(t *testing.T, p *Publisher) {
	t.Cleanup(func() {
		p.Close(context.Background(), nil)
		noneLeft(t)
	})
}

// noneLeft waits until no goroutine of a publisher runs.
func noneLeft(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		all := string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(all, "mqtt.(*Publisher)") && !strings.Contains(all, "mqtt.(*link)") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("goroutines are left:\n%s", all)
		}
	}
}

// downs gathers what Options.Down was told.
type downs struct {
	mu   sync.Mutex
	errs []error
	more chan struct{}
}

func newDowns() *downs { return &downs{more: make(chan struct{}, 1)} }

func (d *downs) add(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// wait waits for n errors, and returns the last.
func (d *downs) wait(t *testing.T, n int) error {
	t.Helper()
	late := time.After(patience)
	for {
		d.mu.Lock()
		errs := d.errs
		d.mu.Unlock()
		if len(errs) >= n {
			return errs[len(errs)-1]
		}
		select {
		case <-d.more:
		case <-late:
			t.Fatalf("%d of %d errors: %v", len(errs), n, errs)
		}
	}
}
