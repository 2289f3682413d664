// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Identifiers of the properties of version 5 (section 2.2.2.2 of the standard)
// that are written or acted upon.
const (
	propSessionExpiry   = 0x11
	propAssignedID      = 0x12
	propServerKeepAlive = 0x13
	propServerReference = 0x1c
	propReasonString    = 0x1f
	propReceiveMaximum  = 0x21
	propTopicAliasMax   = 0x22
	propMaximumQoS      = 0x24
	propRetainAvailable = 0x25
	propMaximumPacket   = 0x27
)

// Shapes of a property's value. The first three are their size in bytes.
const (
	shapeByte   = 1
	shapeShort  = 2
	shapeLong   = 4
	shapeLength = 5 // a number of variable length
	shapeText   = 6 // or bytes: a short length before them
	shapePair   = 7 // two texts
)

// shapes are those of all properties of the standard.
var shapes = [0x2b]byte{
	0x01: shapeByte, 0x02: shapeLong, 0x03: shapeText, 0x08: shapeText, 0x09: shapeText, 0x0b: shapeLength,
	propSessionExpiry: shapeLong, propAssignedID: shapeText, propServerKeepAlive: shapeShort,
	0x15: shapeText, 0x16: shapeText, 0x17: shapeByte, 0x18: shapeLong, 0x19: shapeByte, 0x1a: shapeText,
	propServerReference: shapeText, propReasonString: shapeText, propReceiveMaximum: shapeShort,
	propTopicAliasMax: shapeShort, 0x23: shapeShort, propMaximumQoS: shapeByte, propRetainAvailable: shapeByte,
	0x26: shapePair, propMaximumPacket: shapeLong, 0x28: shapeByte, 0x29: shapeByte, 0x2a: shapeByte,
}

// properties are what a broker says in them that matters to a publisher. What
// may be 0 without being absent is a pointer.
type properties struct {
	reason, server, assignedID string
	receiveMaximum             uint16
	maximumPacket              uint32
	topicAliases               uint16
	maximumQoS, retain         *byte
	keepAlive                  *uint16
	sessionExpiry              *uint32
}

var errProperties = errors.New("its properties are malformed")

// readProperties reads properties with their length before them.
func readProperties(b []byte) (p properties, err error) {
	n, b, ok := takeLength(b)
	if !ok || n > len(b) {
		return p, errProperties
	}
	for b = b[:n]; len(b) > 0; {
		id := b[0]
		if int(id) >= len(shapes) || shapes[id] == 0 {
			return p, errProperties
		}
		var value []byte
		value, b, ok = takeValue(b[1:], shapes[id])
		if !ok || !p.set(id, value) {
			return p, errProperties
		}
	}
	return p, nil
}

// takeValue takes a value of one shape off b. Of texts it is what the length is
// of.
func takeValue(b []byte, shape byte) (value, rest []byte, ok bool) {
	switch shape {
	case shapeLength:
		_, rest, ok = takeLength(b)
		return nil, rest, ok
	case shapePair:
		if _, b, ok = takeText(b); !ok {
			return nil, nil, false
		}
		return takeText(b)
	case shapeText:
		return takeText(b)
	}
	n := int(shape)
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func takeText(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return nil, nil, false
	}
	return b[2:n], b[n:], true
}

// takeLength takes a number of variable length off b, of at most four bytes.
func takeLength(b []byte) (n int, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < 4; i++ {
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}

// set notes one property. It is false when the standard does not allow the
// value.
func (p *properties) set(id byte, value []byte) bool {
	short := func() uint16 { return binary.BigEndian.Uint16(value) }
	long := func() uint32 { return binary.BigEndian.Uint32(value) }
	switch id {
	case propReasonString:
		p.reason = string(value)
		return utf8.Valid(value)
	case propServerReference:
		p.server = string(value)
		return utf8.Valid(value)
	case propAssignedID:
		p.assignedID = string(value)
		return utf8.Valid(value)
	case propReceiveMaximum:
		p.receiveMaximum = short()
		return p.receiveMaximum > 0
	case propMaximumPacket:
		p.maximumPacket = long()
		return p.maximumPacket > 0
	case propTopicAliasMax:
		p.topicAliases = short()
	case propMaximumQoS:
		p.maximumQoS = &value[0]
		return value[0] <= 1
	case propRetainAvailable:
		p.retain = &value[0]
		return value[0] <= 1
	case propServerKeepAlive:
		v := short()
		p.keepAlive = &v
	case propSessionExpiry:
		v := long()
		p.sessionExpiry = &v
	}
	return true
}

// said is what a broker adds to a code in words.
func (p *properties) said() string {
	if p.server != "" {
		return p.server
	}
	return p.reason
}
