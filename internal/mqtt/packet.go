// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

// First bytes of packets that always look the same.
const (
	firstPublish = packets.Publish << 4
	firstPubrel  = packets.Pubrel<<4 | 2
	firstPingreq = packets.Pingreq << 4

	flagRetain = 1 << 0
	flagQoS    = 1 // shift
	flagDup    = 1 << 3
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

// reasonString is what the broker says besides the code of an acknowledgement.
func reasonString(kind byte, body []byte) string {
	pk := packets.Packet{ProtocolVersion: byte(V5), FixedHeader: packets.FixedHeader{Type: kind, Remaining: len(body)}}
	body = append([]byte(nil), body...) // the packet's strings point into it
	var err error
	switch kind {
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	if err != nil {
		return ""
	}
	if pk.Properties.ServerReference != "" {
		return pk.Properties.ServerReference
	}
	return pk.Properties.ReasonString
}
