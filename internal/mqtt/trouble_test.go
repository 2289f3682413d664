// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What a broker can do wrong on a connection: it is given up in time, for the
// reason given, and with the next one, to a good broker, everything arrives.
func TestBadBrokers(t *testing.T) {
	readPublish := func(p *peer) packets.Packet {
		pk, _ := p.read()
		return pk
	}
	for _, row := range []struct {
		name string
		bad  func(*peer)
		kind Kind
		want string
	}{
		{"never acknowledges", func(p *peer) { p.drain() }, NoAnswer, "it has acknowledged nothing for 1s"},
		{"never reads", func(p *peer) { p.conn.SetReadDeadline(time.Time{}); <-p.gone() }, NoAnswer, ""},
		{"is deaf to pings", func(p *peer) {
			p.ack(packets.Puback, readPublish(p).PacketID, 0)
			p.drain()
		}, NoAnswer, "it has"},
		{"closes on every message", func(p *peer) { readPublish(p) }, Closed, "it closed the connection"},
		{"says why it closes", func(p *peer) {
			readPublish(p)
			p.write([]byte{packets.Disconnect << 4, 1, 0x8b})
			p.drain()
		}, Closed, "it closed the connection (server shutting down)"},
		{"says it in its own words", func(p *peer) {
			readPublish(p)
			p.write(append([]byte{packets.Disconnect << 4, 11, 0x98, 9, 0x1f, 0, 6}, "back\ns"...))
			p.drain()
		}, Closed, "it closed the connection (administrative action: back?s)"},
		{"was taken over", func(p *peer) { readPublish(p); p.write([]byte{packets.Disconnect << 4, 1, 0x8e}); p.drain() }, BadClientID, "session taken over"},
		{"sends a message", func(p *peer) { p.write([]byte{0x30, 4, 0, 1, 't', 'x'}); p.drain() }, Protocol, "a packet that begins with 0x30, for which it was not asked"},
		{"acknowledges in another way", func(p *peer) { p.ack(packets.Pubcomp, readPublish(p).PacketID, 0); p.drain() }, Protocol, "for a message that does not wait for it"},
		{"sends what is no packet", func(p *peer) { p.write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); p.drain() }, Protocol, "it sends a packet that begins with 0x48"},
		{"sends what never ends", func(p *peer) { p.write([]byte{0x40, 0xff, 0xff, 0xff, 0xff}); p.drain() }, Protocol, "a packet length of more than four bytes"},
		{"sends a large packet", func(p *peer) { p.write([]byte{0x40, 0xff, 0xff, 0x7f}); p.drain() }, Protocol, "a packet of more than"},
		{"sends half an acknowledgement", func(p *peer) { p.write([]byte{0x40, 1, 1}); p.drain() }, Protocol, "too short"},
		{"refuses all", func(p *peer) {
			for {
				pk, ok := p.read()
				if !ok {
					return
				}
				p.ack(packets.Puback, pk.PacketID, codeNotAuthorised)
			}
		}, NotAuthorised, "it refuses messages to the topic t (not authorised)"},
		{"has no room", func(p *peer) { p.ack(packets.Puback, readPublish(p).PacketID, codeQuotaExceeded); p.drain() }, Busy, "quota exceeded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got [][]byte
			f := newFake(t,
				func(p *peer) {
					p.accept(func(pk *packets.Packet) {
						pk.Properties.ServerKeepAlive, pk.Properties.ServerKeepAliveFlag = 1, true
					})
					row.bad(p)
				},
				func(p *peer) {
					p.accept(nil)
					p.serve(func(pk packets.Packet) { got = append(got, bytes.Clone(pk.Payload)) })
				})
			o := quick(f.address())
			o.Version, o.AckTimeout = V5, time.Second
			d := newDowns()
			o.Down = d.add
			messages := numbered(100)
			if row.kind == NoAnswer {
				for i := range messages { // more than sockets hold
					messages[i].Payload = append(messages[i].Payload, bytes.Repeat([]byte{'x'}, 60<<10)...)
				}
			}
			feed := newList(messages...)
			p := begin(t, o, feed)
			err := d.wait(t, 1)
			if KindOf(err) != row.kind || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got kind %d, %v", KindOf(err), err)
			}
			feed.wait(t, len(messages))
			p.Close(t.Context(), nil)
			f.listener.Close()
			f.done.Wait()
			if len(feed.refused) != 0 {
				t.Errorf("refused: %v", feed.refused)
			}
			// What was acknowledged on the first connection is not seen here.
			first := len(messages) - len(got)
			for i, payload := range got {
				if i+first < 0 || !bytes.Equal(payload, messages[i+first].Payload) {
					t.Fatalf("message %d of the %d on the second connection is not number %d", i, len(got), i+first)
				}
			}
		})
	}
}

// gone is closed when the client has closed its end, without reading from it.
func (p *peer) gone() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if _, err := p.conn.Write([]byte{packets.Pingresp << 4, 0}); err != nil {
				return
			}
		}
		p.t.Error("the client does not go away")
	}()
	return gone
}

// A broker that closes every connection gets everything in the end only if it
// lets a message through each time; the delays grow until one is acknowledged.
func TestABrokerThatClosesAfterEachMessage(t *testing.T) {
	const n = 30
	next := 0
	f := newFake(t, func(p *peer) {
		if !p.accept(nil) {
			return
		}
		pk, ok := p.read()
		if !ok || pk.FixedHeader.Type != packets.Publish {
			return
		}
		if string(pk.Payload) != fmt.Sprint(next) {
			t.Errorf("got message %s, want %d", pk.Payload, next)
		}
		next++
		p.ack(packets.Puback, pk.PacketID, 0)
		// The end must not destroy the acknowledgement.
		p.conn.(interface{ CloseWrite() error }).CloseWrite()
		p.drain()
	})
	o := quick(f.address())
	o.Version = V311
	feed := newList(numbered(n)...)
	begin(t, o, feed)
	feed.wait(t, n)
	if len(feed.refused) != 0 {
		t.Errorf("refused: %v", feed.refused)
	}
}

// A slow broker that answers once in a while is not given up.
func TestASlowBroker(t *testing.T) {
	f := newFake(t, func(p *peer) {
		p.accept(nil)
		for {
			pk, ok := p.read()
			if !ok || pk.FixedHeader.Type != packets.Publish {
				return
			}
			time.Sleep(50 * time.Millisecond) // what is tested is time
			p.ack(packets.Puback, pk.PacketID, 0)
		}
	})
	o := quick(f.address())
	o.AckTimeout = time.Second
	o.Down = func(err error) { t.Errorf("given up: %v", err) }
	feed := newList(numbered(30)...)
	begin(t, o, feed)
	feed.wait(t, 30)
}

// One topic is refused, others are not: the messages to it are lost, and no
// others.
func TestOneTopicIsRefused(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			f := newFake(t, func(p *peer) {
				p.accept(nil)
				for {
					pk, ok := p.read()
					if !ok {
						return
					}
					code := byte(0)
					if pk.TopicName == "denied" {
						code = codeNotAuthorised
					}
					switch {
					case pk.FixedHeader.Type == packets.Pubrel:
						p.ack(packets.Pubcomp, pk.PacketID, 0)
					case pk.FixedHeader.Type == packets.Publish && qos == 1:
						p.ack(packets.Puback, pk.PacketID, code)
					case pk.FixedHeader.Type == packets.Publish:
						p.ack(packets.Pubrec, pk.PacketID, code)
					}
				}
			})
			o := quick(f.address())
			o.QoS, o.Version = qos, V5
			messages := numbered(50)
			for i := 0; i < len(messages); i += 7 {
				messages[i].Topic = "denied"
			}
			feed := newList(messages...)
			begin(t, o, feed)
			feed.wait(t, 49) // behind the last there is nothing by which to judge it
			feed.add(numbered(1)...)
			feed.wait(t, 49)
			if n := len(feed.refused); n != 7 || feed.refused[0].Topic != "denied" || feed.refused[0].Kind != NotAuthorised {
				t.Errorf("%d refused: %v", n, feed.refused)
			}
		})
	}
}

// A broker of version 3.1.1 cannot say how large a packet may be: it closes
// the connection. The message is found, and the others arrive.
func TestAMessageThatABrokerCannotStand(t *testing.T) {
	f := newFake(t, func(p *peer) {
		if !p.accept(nil) {
			return
		}
		for {
			pk, ok := p.read()
			if !ok || pk.FixedHeader.Type != packets.Publish || len(pk.Payload) > 1000 {
				return
			}
			p.ack(packets.Puback, pk.PacketID, 0)
		}
	})
	o := quick(f.address())
	o.Version = V311
	messages := numbered(20)
	messages[5].Payload = make([]byte, 2000)
	messages[6].Payload = make([]byte, 1500)
	feed := newList(messages...)
	begin(t, o, feed)
	feed.wait(t, 20)
	if n := len(feed.refused); n != 2 || feed.refused[0].Kind != TooLarge {
		t.Errorf("%d refused: %v", n, feed.refused)
	}
}

// A broker that has acknowledged nothing may be in trouble: nothing is given
// up, however often it closes.
func TestNothingIsGivenUpForABrokerInTrouble(t *testing.T) {
	f := newFake(t, func(p *peer) {
		if p.accept(nil) {
			p.read()
		}
	})
	o := quick(f.address())
	d := newDowns()
	o.Down = d.add
	feed := newList(numbered(3)...)
	begin(t, o, feed)
	d.wait(t, 4*refuseAfter)
	if feed.count() != 0 {
		t.Errorf("%d messages are settled", feed.count())
	}
}

// Memory does not grow with the messages that wait, nor with the connections.
func TestMemoryIsBounded(t *testing.T) {
	f := newFake(t, func(p *peer) {
		if p.accept(nil) {
			p.read()
		}
	})
	o := quick(f.address())
	o.MinDelay, o.MaxDelay, o.Version = 1, 1, V311
	d := newDowns()
	o.Down = d.add
	feed := newList(numbered(200_000)...)
	begin(t, o, feed)
	d.wait(t, 50)
	before := heap()
	d.wait(t, 500)
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	feed.mu.Lock()
	defer feed.mu.Unlock()
	if feed.given > maxInFlight {
		t.Errorf("%d messages were taken from the feed", feed.given)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Identifiers come round, and are not used twice at a time.
func TestIdentifiersComeRound(t *testing.T) {
	var f flights
	seen := []uint16{}
	for i := range 3*maxID + 10 {
		f.push(flight{})
		f.cursor++
		f.outstanding++
		seen = append(seen, f.idOf(f.n-1))
		if f.n == 5 {
			if at := f.find(f.idOf(3)); at != 3 {
				t.Fatalf("message 3 is found at %d", at)
			}
			f.settle(0, 0, "")
			f.pop()
		}
		if last := seen[len(seen)-1]; last != uint16(i%maxID+1) {
			t.Fatalf("message %d has the identifier %d", i, last)
		}
	}
	if slices.Contains(seen, 0) {
		t.Error("0 is no identifier")
	}
}
