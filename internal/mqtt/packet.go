// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Types of packets, the upper half of the first byte.
const (
	typeConnect    = 1
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typePubrec     = 5
	typePubrel     = 6
	typePubcomp    = 7
	typePingreq    = 12
	typePingresp   = 13
	typeDisconnect = 14
)

// First bytes of packets that always look the same.
const (
	firstConnect    = typeConnect << 4
	firstConnack    = typeConnack << 4
	firstPublish    = typePublish << 4
	firstPuback     = typePuback << 4
	firstPubrec     = typePubrec << 4
	firstPubrel     = typePubrel<<4 | 2
	firstPubcomp    = typePubcomp << 4
	firstPingreq    = typePingreq << 4
	firstPingresp   = typePingresp << 4
	firstDisconnect = typeDisconnect << 4

	flagRetain = 1 << 0
	flagQoS    = 1 // shift
	flagDup    = 1 << 3

	// Flags of CONNECT.
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	flagWillQoS    = 3 // shift
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUser       = 1 << 7
)

// Reason codes that are acted upon.
const (
	codeSuccess         = 0x00
	codeRefused         = 0x80 // and above
	codeUnspecified     = 0x80
	codeImplementation  = 0x83
	codeBadVersion      = 0x84
	codeBadPassword     = 0x86
	codeNotAuthorised   = 0x87
	codeUnavailable     = 0x88
	codeBusy            = 0x89
	codeIDInUse         = 0x91
	codeIDUnknown       = 0x92
	codePacketTooLarge  = 0x95
	codeQuotaExceeded   = 0x97
	codeUseAnother      = 0x9c
	codeMoved           = 0x9d
	code311BadVersion   = 1
	code311BadID        = 2
	code311Unavailable  = 3
	code311BadPassword  = 4
	code311Unauthorised = 5
)

// appendConnect appends the packet that begins a connection.
func appendConnect(b []byte, o *Options, v Version, clean bool) []byte {
	var flags byte
	body := appendText(nil, "MQTT")
	at := len(body) + 1
	body = append(body, byte(v), 0)
	body = binary.BigEndian.AppendUint16(body, uint16(min(o.KeepAlive/time.Second, 0xffff)))
	if v == V5 {
		p := binary.BigEndian.AppendUint32([]byte{propMaximumPacket}, maxIncoming)
		if o.keepsSession() {
			p = binary.BigEndian.AppendUint32(append(p, propSessionExpiry), uint32(sessionExpiry/time.Second))
		}
		body = append(appendLength(body, len(p)), p...)
	}
	body = appendText(body, o.ClientID)
	if clean {
		flags |= flagClean
	}
	if w := o.Will; w != nil {
		flags |= flagWill | min(o.QoS, 1)<<flagWillQoS
		if w.Retain {
			flags |= flagWillRetain
		}
		if v == V5 {
			body = append(body, 0) // no properties
		}
		body = appendText(body, w.Topic)
		body = appendText(body, string(w.Payload))
	}
	if o.User != "" {
		flags |= flagUser
		body = appendText(body, o.User)
	}
	if o.Password != nil {
		flags |= flagPassword
		body = appendText(body, string(o.Password))
	}
	body[at] = flags
	return append(appendLength(append(b, firstConnect), len(body)), body...)
}

// appendText appends a text, or bytes, with the length before them.
func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendDisconnect appends the packet that ends a connection, and the session
// with it.
func appendDisconnect(b []byte, v Version) []byte {
	if v != V5 {
		return append(b, firstDisconnect, 0)
	}
	return append(b, firstDisconnect, 7, codeSuccess, 5, propSessionExpiry, 0, 0, 0, 0)
}

// connack is the answer to CONNECT.
type connack struct {
	version        Version // in which it is
	sessionPresent bool
	code           byte
	properties     properties
}

var errConnack = errors.New("its head is malformed")

func readConnackBody(v Version, body []byte) (c connack, err error) {
	if len(body) < 2 || body[0] > 1 {
		return c, errConnack
	}
	if len(body) == 2 {
		v = V311 // what does not know version 5 answers so to it
	}
	c = connack{version: v, sessionPresent: body[0] == 1, code: body[1]}
	if v == V5 {
		c.properties, err = readProperties(body[2:])
	} else if len(body) > 2 {
		err = errConnack
	}
	return c, err
}

// appendPublish appends a PUBLISH packet. id is not written for QoS 0.
func appendPublish(b []byte, v Version, m *Message, qos byte, id uint16, dup bool) []byte {
	first := byte(firstPublish) | qos<<flagQoS
	if m.Retain {
		first |= flagRetain
	}
	n := 2 + len(m.Topic) + len(m.Payload)
	if qos > 0 {
		n += 2
		if dup {
			first |= flagDup
		}
	}
	if v == V5 {
		n++
	}
	b = appendLength(append(b, first), n)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Topic)))
	b = append(b, m.Topic...)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if v == V5 {
		b = append(b, 0) // no properties
	}
	return append(b, m.Payload...)
}

// appendPubrel appends a PUBREL packet; a code other than 0 is for version 5.
func appendPubrel(b []byte, id uint16, code byte) []byte {
	if code == codeSuccess {
		return binary.BigEndian.AppendUint16(append(b, firstPubrel, 2), id)
	}
	return append(binary.BigEndian.AppendUint16(append(b, firstPubrel, 3), id), code)
}

func appendPingreq(b []byte) []byte { return append(b, firstPingreq, 0) }

func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// maxIncoming bounds a packet of the broker. Without subscriptions it has only
// short ones to send, and is told so under version 5.
const maxIncoming = 64 << 10

var (
	errLength   = errors.New("a packet length of more than four bytes")
	errTooLong  = fmt.Errorf("a packet of more than %d bytes", maxIncoming)
	errShortAck = errors.New("an acknowledgement that is too short")
)

// cut takes the first packet off b. With too few bytes for one it returns n 0
// and no error. body points into b; n is the length of the whole packet.
func cut(b []byte) (first byte, body []byte, n int, err error) {
	length := 0
	for i := 1; i < len(b); i++ {
		length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			n = i + 1 + length
			if n > maxIncoming {
				return 0, nil, 0, errTooLong
			}
			if n > len(b) {
				return 0, nil, 0, nil
			}
			return b[0], b[i+1 : n], n, nil
		}
		if i == 4 {
			return 0, nil, 0, errLength
		}
	}
	return 0, nil, 0, nil
}

// readAck reads the body of PUBACK, PUBREC or PUBCOMP. Properties are left
// alone.
func readAck(v Version, body []byte) (id uint16, code byte, err error) {
	if len(body) < 2 || v != V5 && len(body) != 2 {
		return 0, 0, errShortAck
	}
	if len(body) > 2 {
		code = body[2]
	}
	return binary.BigEndian.Uint16(body), code, nil
}

// reasonString is what the broker says besides the code in a packet of version
// 5: PUBACK, PUBREC, DISCONNECT.
func reasonString(kind byte, body []byte) string {
	head := 3 // the number of the packet, the code
	if kind == typeDisconnect {
		head = 1
	}
	if len(body) <= head {
		return ""
	}
	p, err := readProperties(body[head:])
	if err != nil {
		return ""
	}
	return p.said()
}
