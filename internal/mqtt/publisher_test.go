// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestInOrderWithinTheWindow(t *testing.T) {
	const n, window = 3000, 20
	for _, v := range []Version{V311, V5} {
		for qos := byte(0); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("%s QoS %d", v, qos), func(t *testing.T) {
				var got []string
				done := make(chan struct{})
				f := newFake(t, func(p *peer) {
					defer close(done)
					p.accept(func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = window })
					if p.version != v || !p.connect.Connect.Clean || p.connect.Connect.ClientIdentifier != "test" {
						t.Errorf("CONNECT: %+v", p.connect)
					}
					waiting := 0
					for len(got) < n {
						pk, ok := p.read()
						if !ok {
							return
						}
						switch pk.FixedHeader.Type {
						case packets.Publish:
							got = append(got, string(pk.Payload))
							if waiting++; qos > 0 && waiting > window {
								t.Errorf("%d messages on their way, %d allowed", waiting, window)
							}
							// Acknowledged only when the window is full.
							if qos == 1 && (waiting == window || len(got) == n) {
								for i := range waiting {
									p.ack(packets.Puback, pk.PacketID-uint16(waiting-1-i), 0)
								}
								waiting = 0
							}
							if qos == 2 {
								p.ack(packets.Pubrec, pk.PacketID, 0)
							}
						case packets.Pubrel:
							p.ack(packets.Pubcomp, pk.PacketID, 0)
							waiting--
						}
					}
					p.serve(nil)
				})
				o := quick(f.address())
				o.QoS, o.Version, o.MaxInFlight = qos, v, window
				if v == V311 && qos == 2 {
					t.Skip("begins with two connections: see TestSessionOf311")
				}
				feed := newList(numbered(n)...)
				p := begin(t, o, feed)
				feed.wait(t, n)
				p.Close(t.Context(), nil)
				<-done
				for i, payload := range got {
					if payload != fmt.Sprint(i) {
						t.Fatalf("message %d is %s", i, payload)
					}
				}
			})
		}
	}
}

// Acknowledgements may come in any order; messages are settled in theirs.
func TestAcknowledgedOutOfOrder(t *testing.T) {
	waiting := make(chan struct{})
	f := newFake(t, func(p *peer) {
		p.accept(nil)
		var ids []uint16
		for len(ids) < 4 {
			pk, _ := p.read()
			ids = append(ids, pk.PacketID)
		}
		for _, i := range []int{2, 1, 3} {
			p.ack(packets.Puback, ids[i], 0)
		}
		p.write([]byte{packets.Puback << 4, 2, 0xff, 0xfe}) // nobody waits for it
		close(waiting)
		pk, _ := p.read()
		if pk.FixedHeader.Type != packets.Disconnect {
			t.Errorf("got type %d", pk.FixedHeader.Type)
		}
		p.ack(packets.Puback, ids[0], 0)
		p.serve(nil)
	})
	feed := newList(numbered(4)...)
	p := begin(t, quick(f.address()), feed)
	<-waiting
	p.Close(t.Context(), nil)
	if n := feed.count(); n != 4 {
		t.Errorf("%d messages are settled: what is acknowledged at the end counts", n)
	}
}

func TestAllGoesOutAgainAfterTheConnectionIsLost(t *testing.T) {
	var first, second []packets.Packet
	f := newFake(t,
		func(p *peer) {
			p.accept(nil)
			for len(first) < 10 {
				pk, _ := p.read()
				first = append(first, pk)
				if len(first) <= 3 {
					p.ack(packets.Puback, pk.PacketID, 0)
				}
			}
		},
		func(p *peer) {
			p.accept(nil)
			p.serve(func(pk packets.Packet) { second = append(second, pk) })
		})
	feed := newList(numbered(10)...)
	p := begin(t, quick(f.address()), feed)
	feed.wait(t, 10)
	p.Close(t.Context(), nil)
	f.listener.Close()
	f.done.Wait()
	again := slices.IndexFunc(first, func(pk packets.Packet) bool { return pk.PacketID == second[0].PacketID })
	if again < 0 || again > 3 || len(second) != 10-again {
		t.Fatalf("%d messages went out again, from number %d on", len(second), again)
	}
	for i, pk := range second {
		was := first[again+i]
		if pk.PacketID != was.PacketID || string(pk.Payload) != string(was.Payload) || !pk.FixedHeader.Dup || was.FixedHeader.Dup {
			t.Errorf("message %d: %+v, before %+v", i, pk.FixedHeader, was.FixedHeader)
		}
	}
}

// A QoS 2 session goes on: what the broker has received is released, what it
// may not have comes again under the same identifier.
func TestSessionGoesOn(t *testing.T) {
	for _, present := range []bool{true, false} {
		t.Run(fmt.Sprintf("present %v", present), func(t *testing.T) {
			var again []packets.Packet
			f := newFake(t,
				func(p *peer) {
					p.accept(nil)
					c := p.connect
					if !c.Connect.Clean || c.Properties.SessionExpiryInterval == 0 {
						t.Errorf("first CONNECT: %+v", c)
					}
					for i := range 4 {
						pk, _ := p.read()
						if i < 2 {
							p.ack(packets.Pubrec, pk.PacketID, 0)
						}
					}
					for range 2 {
						if pk, _ := p.read(); pk.FixedHeader.Type != packets.Pubrel {
							t.Errorf("got type %d", pk.FixedHeader.Type)
						}
					}
				},
				func(p *peer) {
					p.accept(func(pk *packets.Packet) { pk.SessionPresent = present })
					if p.connect.Connect.Clean {
						t.Error("the session is thrown away")
					}
					for range 4 {
						pk, _ := p.read()
						again = append(again, pk)
						if pk.FixedHeader.Type == packets.Pubrel {
							p.ack(packets.Pubcomp, pk.PacketID, 0)
						} else {
							p.ack(packets.Pubrec, pk.PacketID, 0)
						}
					}
					end := p.serve(nil)
					if end.FixedHeader.Type != packets.Disconnect || !end.Properties.SessionExpiryIntervalFlag || end.Properties.SessionExpiryInterval != 0 {
						t.Errorf("the session is not ended: %+v", end)
					}
				})
			o := quick(f.address())
			o.QoS, o.Version = 2, V5
			feed := newList(numbered(4)...)
			p := begin(t, o, feed)
			feed.wait(t, 4)
			p.Close(t.Context(), nil)
			f.listener.Close()
			f.done.Wait()
			for i, pk := range again {
				want := byte(packets.Publish)
				if present && i < 2 {
					want = packets.Pubrel
				}
				if pk.FixedHeader.Type != want || pk.PacketID != uint16(i+1) || want == packets.Publish && (!pk.FixedHeader.Dup || string(pk.Payload) != fmt.Sprint(i)) {
					t.Errorf("packet %d: %+v", i, pk)
				}
			}
		})
	}
}

// Under 3.1.1 a session that begins clean cannot be kept: it is thrown away by
// a connection of its own, at the beginning and at the end.
func TestSessionOf311(t *testing.T) {
	var cleans []bool
	script := func(p *peer) {
		p.accept(nil)
		cleans = append(cleans, p.connect.Connect.Clean)
		p.serve(nil)
	}
	f := newFake(t, script)
	o := quick(f.address())
	o.QoS, o.Version = 2, V311
	feed := newList(numbered(100)...)
	p := begin(t, o, feed)
	feed.wait(t, 100)
	p.Close(t.Context(), nil)
	f.listener.Close()
	f.done.Wait()
	if want := []bool{true, false, true}; !slices.Equal(cleans, want) {
		t.Errorf("clean %v, want %v", cleans, want)
	}
}

func TestVersionFallsBack(t *testing.T) {
	old := func(p *peer) {
		p.accept(nil)
		p.serve(nil)
	}
	for _, row := range []struct {
		name   string
		refuse func(*peer)
	}{
		{"answered as of old", func(p *peer) { p.read(); p.write([]byte{0x20, 2, 0, 1}) }},
		{"answered in version 5", func(p *peer) {
			p.accept(func(pk *packets.Packet) { pk.ReasonCode = codeBadVersion })
		}},
		{"accepted as of old", func(p *peer) { p.read(); p.write([]byte{0x20, 2, 0, 0}); p.read() }},
		{"not answered", func(p *peer) { p.read() }},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFake(t, row.refuse, old)
			o := quick(f.address())
			var limits Limits
			o.Up = func(l Limits) { limits = l }
			feed := newList(numbered(3)...)
			begin(t, o, feed)
			feed.wait(t, 3)
			if limits.Version != V311 || limits.InFlight < 1000 {
				t.Errorf("%+v", limits)
			}
		})
	}
	t.Run("not when asked for", func(t *testing.T) {
		f := newFake(t, func(p *peer) { p.read(); p.write([]byte{0x20, 2, 0, 1}) }, func(*peer) { t.Error("tried again") })
		o := quick(f.address())
		o.Version = V5
		if err := New(o, newList()).Connect(t.Context()); KindOf(err) != BadVersion {
			t.Errorf("got %v", err)
		}
	})
}

func TestWhatTheBrokerSaysIsObeyed(t *testing.T) {
	ids := make(chan string, 10)
	pinged := make(chan struct{}, 1)
	f := newFake(t,
		func(p *peer) {
			p.accept(func(pk *packets.Packet) {
				pk.Properties.AssignedClientID = "given"
				pk.Properties.TopicAliasMaximum = 10
				pk.Properties.MaximumPacketSize = 100
				pk.Properties.ServerKeepAlive, pk.Properties.ServerKeepAliveFlag = 1, true
				pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 7, true
			})
			ids <- p.connect.Connect.ClientIdentifier
			for {
				pk, ok := p.read()
				switch {
				case !ok:
					return
				case pk.FixedHeader.Type == packets.Pingreq:
					pinged <- struct{}{}
					return
				case pk.FixedHeader.Remaining > 98:
					t.Errorf("a packet of %d bytes", pk.FixedHeader.Remaining)
				}
				p.ack(packets.Puback, pk.PacketID, 0)
			}
		},
		func(p *peer) {
			p.accept(nil)
			ids <- p.connect.Connect.ClientIdentifier
			p.serve(nil)
		})
	o := quick(f.address())
	o.ClientID, o.Version = "", V5
	ups := make(chan Limits, 10)
	o.Up = func(l Limits) { ups <- l }
	long := Message{Topic: "t", Payload: make([]byte, 100)}
	feed := newList(numbered(1)[0], long, long, numbered(1)[0])
	begin(t, o, feed)
	l := <-ups
	if l.ClientID != "given" || l.TopicAliases != 10 || l.PacketSize != 100 || l.KeepAlive != time.Second || l.SessionExpiry != 7*time.Second {
		t.Errorf("%+v", l)
	}
	feed.wait(t, 4)
	if len(feed.refused) != 2 || feed.refused[0].Kind != TooLarge {
		t.Errorf("refused: %v", feed.refused)
	}
	<-pinged
	<-ups
	if first, second := <-ids, <-ids; first != "" || second != "given" {
		t.Errorf("client identifiers %q, %q", first, second)
	}
}

func TestWhatTheBrokerCannotDoIsSaid(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*packets.Packet)
		want   string
	}{
		{"QoS", func(pk *packets.Packet) { pk.Properties.MaximumQosFlag = true }, "messages of QoS 0 at most, not of QoS 1"},
		{"retain", func(pk *packets.Packet) { pk.Properties.RetainAvailableFlag = true }, "does not retain"},
		{"size", func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 9 }, "packets of 9 bytes at most"},
		{"session", func(pk *packets.Packet) { pk.SessionPresent = true }, "a session that was to be forgotten"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFake(t, func(p *peer) { p.accept(row.change); p.drain() })
			o := quick(f.address())
			o.Version = V5
			o.Greeting = &Message{Topic: "s", Retain: true}
			err := New(o, newList()).Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The greeting opens every connection, the farewell is the last of all, and
// the will is for when there was none.
func TestGreetingWillAndFarewell(t *testing.T) {
	var got []string
	script := func(p *peer) {
		p.accept(nil)
		c := p.connect.Connect
		if !c.WillFlag || c.WillTopic != "s" || string(c.WillPayload) != "gone" || !c.WillRetain || c.WillQos != 1 {
			t.Errorf("CONNECT: %+v", c)
		}
		n := 0
		last := p.serve(func(pk packets.Packet) {
			got = append(got, pk.TopicName+" "+string(pk.Payload))
			if n++; n == 3 {
				p.conn.Close()
			}
		})
		if n < 3 && last.FixedHeader.Type != packets.Disconnect {
			t.Errorf("the last packet is of type %d", last.FixedHeader.Type)
		}
	}
	f := newFake(t, script)
	o := quick(f.address())
	o.MaxInFlight = 1
	o.Will = &Message{Topic: "s", Payload: []byte("gone"), Retain: true}
	o.Greeting = &Message{Topic: "s", Payload: []byte("here"), Retain: true}
	feed := newList(numbered(3)...)
	p := begin(t, o, feed)
	feed.wait(t, 3)
	p.Close(t.Context(), &Message{Topic: "s", Payload: []byte("bye"), Retain: true})
	f.listener.Close()
	f.done.Wait()
	// What was not acknowledged comes before the greeting.
	const want = "s here, t 0, t 1 / t 1, s here, t 2 / t 2, s here, s bye / s bye"
	if text := strings.Join(got, ", "); text != strings.ReplaceAll(want, " /", ",") {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestCloseWithoutABroker(t *testing.T) {
	f := newFake(t, func(*peer) {})
	f.listener.Close()
	o := quick(f.address())
	p := New(o, newList(numbered(1)...))
	if err := p.Connect(t.Context()); KindOf(err) != Unreachable {
		t.Errorf("got %v", err)
	}
	p.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	p.Close(ctx, &Message{Topic: "s"})
	noneLeft(t)
}

func TestStartReachesABrokerThatComesLater(t *testing.T) {
	f := newFake(t, func(p *peer) { p.accept(nil); p.serve(nil) })
	address := f.address()
	f.listener.Close()
	f.done.Wait()
	o := quick(address)
	d := newDowns()
	o.Down = d.add
	feed := newList(numbered(5)...)
	p := New(o, feed)
	p.Start()
	closeLater(t, p)
	if err := d.wait(t, 3); KindOf(err) != Unreachable {
		t.Errorf("got %v", err)
	}
	serveAt(t, address, func(p *peer) { p.accept(nil); p.serve(nil) })
	feed.wait(t, 5)
}

// Wake finds a publisher that has nothing to do.
func TestMessagesThatComeLater(t *testing.T) {
	f := newFake(t, func(p *peer) { p.accept(nil); p.serve(nil) })
	feed := newList()
	p := begin(t, quick(f.address()), feed)
	for i := range 300 {
		feed.add(numbered(1)...)
		p.Wake()
		if i%3 == 0 {
			feed.wait(t, i+1)
		}
	}
	feed.wait(t, 300)
}
