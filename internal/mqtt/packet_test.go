// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// decode reads a packet with the codec of mochi-mqtt.
func decode(t testing.TB, b []byte, v Version) packets.Packet {
	t.Helper()
	first, body, n, err := cut(b)
	if err != nil || n != len(b) {
		t.Fatalf("%x is not one packet: %d bytes, %v", b, n, err)
	}
	pk := packets.Packet{ProtocolVersion: byte(v)}
	if err := pk.FixedHeader.Decode(first); err != nil {
		t.Fatal(err)
	}
	pk.FixedHeader.Remaining = len(body)
	switch pk.FixedHeader.Type {
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pingreq:
		err = pk.PingreqDecode(body)
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	default:
		t.Fatalf("a packet of type %d", pk.FixedHeader.Type)
	}
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return pk
}

func TestPublishIsReadByAnotherCodec(t *testing.T) {
	for _, v := range []Version{V311, V5} {
		for qos := byte(0); qos <= 2; qos++ {
			for _, size := range []int{0, 1, 100, 127, 128, 16383, 16384, 60000} {
				m := Message{Topic: "a/b", Payload: bytes.Repeat([]byte{'x'}, size), Retain: size == 1}
				b := appendPublish(nil, v, &m, qos, 0x1234, size == 100)
				if len(b) > size+len(m.Topic)+publishOverhead {
					t.Errorf("a packet of %d bytes for %d", len(b), size)
				}
				pk := decode(t, b, v)
				h := pk.FixedHeader
				if pk.TopicName != m.Topic || !bytes.Equal(pk.Payload, m.Payload) || h.Qos != qos ||
					h.Retain != m.Retain || h.Dup != (size == 100 && qos > 0) || qos > 0 && pk.PacketID != 0x1234 {
					t.Errorf("version %s, QoS %d, %d bytes: got %+v", v, qos, size, h)
				}
			}
		}
	}
}

func TestConnectIsReadByAnotherCodec(t *testing.T) {
	will := &Message{Topic: "state", Payload: []byte("gone"), Retain: true}
	for _, v := range []Version{V311, V5} {
		for _, o := range []Options{
			{ClientID: "host-web", KeepAlive: time.Minute, QoS: 1},
			{ClientID: "x", KeepAlive: 100 * time.Hour, QoS: 2, User: "tsem", Password: []byte{0, 'p'}},
			{QoS: 0, User: "tsem", Will: will},
			{QoS: 2, Will: &Message{Topic: "t", Payload: bytes.Repeat([]byte{'x'}, 300)}},
		} {
			for _, clean := range []bool{false, true} {
				pk := decode(t, appendConnect(nil, &o, v, clean), v)
				c := pk.Connect
				if code := pk.ConnectValidate(); code.Code != 0 && len(o.ClientID) > 0 {
					t.Errorf("%+v is not valid: %v", o, code)
				}
				if pk.ProtocolVersion != byte(v) || c.Clean != clean || c.ClientIdentifier != o.ClientID ||
					c.Keepalive != uint16(min(o.KeepAlive/time.Second, 65535)) ||
					string(c.Username) != o.User || c.UsernameFlag != (o.User != "") ||
					!bytes.Equal(c.Password, o.Password) || c.PasswordFlag != (o.Password != nil) {
					t.Errorf("version %s, %+v: got %+v", v, o, c)
				}
				if w := o.Will; c.WillFlag != (w != nil) || w != nil && (c.WillTopic != w.Topic ||
					!bytes.Equal(c.WillPayload, w.Payload) || c.WillRetain != w.Retain || c.WillQos != min(o.QoS, 1)) {
					t.Errorf("version %s: the will is %+v", v, c)
				}
				if p := pk.Properties; v == V5 && (p.MaximumPacketSize != maxIncoming || p.SessionExpiryIntervalFlag != (o.QoS == 2)) {
					t.Errorf("properties %+v", p)
				}
			}
		}
		pk := decode(t, appendDisconnect(nil, v), v)
		if p := pk.Properties; pk.ReasonCode != 0 || v == V5 && (!p.SessionExpiryIntervalFlag || p.SessionExpiryInterval != 0) {
			t.Errorf("version %s: DISCONNECT with %+v", v, p)
		}
	}
}

func TestPubrelIsReadByAnotherCodec(t *testing.T) {
	for _, code := range []byte{codeSuccess, codeIDUnknown} {
		pk := decode(t, appendPubrel(nil, 0xfffe, code), V5)
		if pk.PacketID != 0xfffe || pk.ReasonCode != code {
			t.Errorf("got id %x, code %x", pk.PacketID, pk.ReasonCode)
		}
	}
	if pk := decode(t, appendPingreq(nil), V311); pk.FixedHeader.Type != packets.Pingreq {
		t.Errorf("got %+v", pk.FixedHeader)
	}
}

func TestCut(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []byte
		n    int
		err  error
	}{
		{"nothing", nil, 0, nil},
		{"a first byte", []byte{0x40}, 0, nil},
		{"no body yet", []byte{0x40, 2}, 0, nil},
		{"half a body", []byte{0x40, 2, 0}, 0, nil},
		{"one", []byte{0x40, 2, 0, 1}, 4, nil},
		{"one and a half", []byte{0x40, 2, 0, 1, 0x40}, 4, nil},
		{"no body at all", []byte{0xd0, 0}, 2, nil},
		{"half a length", []byte{0x40, 0x80}, 0, nil},
		{"a long length", []byte{0x40, 0x82, 0x80, 0x80, 0, 7, 7}, 7, nil},
		{"too long a length", []byte{0x40, 0xff, 0xff, 0xff, 0xff}, 0, errLength},
		{"too long", []byte{0x40, 0xff, 0xff, 0x7f}, 0, errTooLong},
	} {
		t.Run(row.name, func(t *testing.T) {
			first, body, n, err := cut(row.in)
			if n != row.n || err != row.err {
				t.Errorf("got %d, %v", n, err)
			}
			if n > 0 && (first != row.in[0] || len(body) >= n) {
				t.Errorf("first %x, body %x", first, body)
			}
		})
	}
}

func TestReasonsAreOneLine(t *testing.T) {
	var o Options
	for code := range 256 {
		kind, text := reason(byte(code), "said\nin two lines")
		if kind == 0 || text == "" {
			t.Errorf("code %x has no words", code)
		}
		if err := o.errorf(kind, nil, "%s", text); strings.ContainsAny(err.Error(), "\n\x00") || KindOf(err) != kind {
			t.Errorf("%q", err)
		}
	}
	if long := oneLine(strings.Repeat("é", 1000)); len(long) > 310 || !strings.HasSuffix(long, "…") {
		t.Errorf("%d bytes of words", len(long))
	}
}

// FuzzIncoming feeds what a broker may send to a connection with messages on
// their way: in one piece and in small ones, with the same outcome.
func FuzzIncoming(f *testing.F) {
	f.Add([]byte{0x40, 2, 0, 1, 0x40, 2, 0, 2}, byte(1), true, byte(1))
	f.Add([]byte{0x50, 2, 0, 1, 0x70, 2, 0, 1}, byte(2), false, byte(3))
	f.Add([]byte{0x40, 3, 0, 1, 0x87, 0x40, 2, 0, 2}, byte(1), true, byte(2))
	f.Add([]byte{0x40, 9, 0, 1, 0x97, 5, 0x1f, 0, 2, 'n', 'o'}, byte(1), true, byte(4))
	f.Add([]byte{0xe0, 1, 0x8b}, byte(1), true, byte(1))
	f.Add([]byte{0xd0, 0, 0x50, 2, 9, 9}, byte(2), true, byte(1))
	f.Fuzz(func(t *testing.T, in []byte, qos byte, five bool, step byte) {
		whole := incoming(t, in, qos%3, five, len(in)+1)
		pieces := incoming(t, in, qos%3, five, int(step)+1)
		// A refusal may end the connection before what follows is read.
		if !whole.failed && whole != pieces {
			t.Errorf("in one piece %+v, in pieces of %d %+v", whole, step+1, pieces)
		}
	})
}

type outcome struct {
	settled, refused, outstanding int
	failed                        bool
}

func incoming(t *testing.T, in []byte, qos byte, five bool, step int) (out outcome) {
	feed := &list{messages: make([]Message, 5)}
	p := New(Options{QoS: qos}, feed)
	version := V311
	if five {
		version = V5
	}
	l := newLink(p, nil, Limits{Version: version, InFlight: 4, PacketSize: 1000})
	p.begin(l)
	l.fill()
	have := []byte(nil)
	for len(in) > 0 && !out.failed {
		n := min(step, len(in))
		have, in = append(have, in[:n]...), in[n:]
		used, _, err := l.handle(have)
		if used > len(have) {
			t.Fatalf("%d of %d bytes used", used, len(have))
		}
		have, out.failed = have[used:], err != nil
		if !out.failed && len(have) > maxIncoming {
			t.Fatalf("%d bytes wait for the rest of a packet", len(have))
		}
	}
	out.settled, out.refused, out.outstanding = feed.settled, len(feed.refused), p.flights.outstanding
	if out.outstanding < 0 || out.settled > 4 {
		t.Fatalf("%+v", out)
	}
	return out
}

// FuzzAck compares our reading of acknowledgements with that of mochi-mqtt.
func FuzzAck(f *testing.F) {
	f.Add([]byte{0, 1}, true)
	f.Add([]byte{0, 1, 0x10}, true)
	f.Add([]byte{0, 1, 0x87, 5, 0x1f, 0, 2, 'n', 'o'}, true)
	f.Add([]byte{0, 1}, false)
	f.Fuzz(func(t *testing.T, body []byte, five bool) {
		v := V311
		if five {
			v = V5
		}
		id, code, err := readAck(v, body)
		pk := packets.Packet{ProtocolVersion: byte(v), FixedHeader: packets.FixedHeader{Type: packets.Puback, Remaining: len(body)}}
		theirs := pk.PubackDecode(bytes.Clone(body))
		if err != nil {
			if len(body) == 2 || five && len(body) > 2 {
				t.Errorf("%x: %v", body, err)
			}
			return
		}
		if theirs == nil && (id != pk.PacketID || code != pk.ReasonCode) {
			t.Errorf("%x: id %d, code %x; they read %d, %x", body, id, code, pk.PacketID, pk.ReasonCode)
		}
		if said := reasonString(typePuback, body); five && theirs == nil && said != saidBy(&pk) {
			t.Errorf("%x says %q; they read %q", body, said, saidBy(&pk))
		}
		reasonString(typeDisconnect, body)
	})
}

func saidBy(pk *packets.Packet) string {
	if pk.Properties.ServerReference != "" {
		return pk.Properties.ServerReference
	}
	return pk.Properties.ReasonString
}

// FuzzConnack feeds what may come instead of a good answer to CONNECT, and
// compares our reading with that of mochi-mqtt.
func FuzzConnack(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0}, true)
	f.Add([]byte{0x20, 2, 0, 1}, true)
	f.Add([]byte{0x20, 3, 0, 0, 0}, true)
	f.Add([]byte{0x20, 8, 1, 0, 5, 0x21, 0, 20, 0x24, 1}, true)
	f.Add([]byte{0x20, 2, 1, 5}, false)
	f.Fuzz(func(t *testing.T, in []byte, five bool) {
		o := Options{Address: "h:1", QoS: 1}.withDefaults()
		v := V311
		if five {
			v = V5
		}
		_, body, err := readPacket(bytes.NewReader(in), firstConnack)
		if err != nil {
			return
		}
		compareConnack(t, v, body)
		limits, err := readConnack(&o, v, true, body)
		if err != nil {
			if KindOf(err) == 0 || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		if limits.InFlight < 1 || limits.body() < 1 || limits.QoS < 1 {
			t.Errorf("%+v", limits)
		}
	})
}

func compareConnack(t *testing.T, v Version, body []byte) {
	c, err := readConnackBody(v, body)
	if err != nil || c.version != v {
		return
	}
	pk := packets.Packet{ProtocolVersion: byte(v), FixedHeader: packets.FixedHeader{Type: packets.Connack, Remaining: len(body)}}
	if pk.ConnackDecode(bytes.Clone(body)) != nil {
		return // it knows only the properties that belong here
	}
	p, q := &c.properties, &pk.Properties
	same := c.code == pk.ReasonCode && c.sessionPresent == pk.SessionPresent &&
		p.reason == q.ReasonString && p.server == q.ServerReference && p.assignedID == q.AssignedClientID &&
		p.receiveMaximum == q.ReceiveMaximum && p.maximumPacket == q.MaximumPacketSize && p.topicAliases == q.TopicAliasMaximum &&
		(p.maximumQoS != nil) == q.MaximumQosFlag && (p.retain != nil) == q.RetainAvailableFlag &&
		(p.keepAlive != nil) == q.ServerKeepAliveFlag && (p.sessionExpiry != nil) == q.SessionExpiryIntervalFlag &&
		(p.maximumQoS == nil || *p.maximumQoS == q.MaximumQos) && (p.retain == nil || *p.retain == q.RetainAvailable) &&
		(p.keepAlive == nil || *p.keepAlive == q.ServerKeepAlive) && (p.sessionExpiry == nil || *p.sessionExpiry == q.SessionExpiryInterval)
	if !same {
		t.Errorf("%x: we read %+v %+v, they %+v", body, c, p, q)
	}
}

func BenchmarkPublish(b *testing.B) {
	m := Message{Topic: "hosts/web/events", Payload: make([]byte, 900)}
	b.Run("ours", func(b *testing.B) {
		var buf []byte
		for range b.N {
			buf = appendPublish(buf[:0], V5, &m, 1, 7, false)
		}
	})
	b.Run("mochi", func(b *testing.B) {
		var buf bytes.Buffer
		for range b.N {
			buf.Reset()
			pk := packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, ProtocolVersion: 5,
				TopicName: m.Topic, PacketID: 7, Payload: m.Payload,
			}
			if err := pk.PublishEncode(&buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
