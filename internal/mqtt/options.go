// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"crypto/tls"
	"math"
	"time"
)

// A Version is a protocol level, as it stands in CONNECT.
type Version byte

// The versions. Auto tries V5 first.
const (
	Auto Version = 0
	V311 Version = 4
	V5   Version = 5
)

// String is the version as users write it.
func (v Version) String() string {
	switch v {
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "auto"
}

// A Message is what is published.
type Message struct {
	Topic   string
	Payload []byte
	Retain  bool
}

// Options of a Publisher. Address and ClientID are needed; everything else
// has a useful zero.
type Options struct {
	Address string      // host:port
	TLS     *tls.Config // nil: plain. The name that is checked is Address's, unless ServerName is set

	Version  Version
	ClientID string
	User     string // "": none
	Password []byte // nil: none
	QoS      byte   // of every message

	// Will is published by the broker when the connection ends in any other
	// way than Close.
	Will *Message
	// Greeting is published at the beginning of every connection, so that it
	// replaces what a last will has said.
	Greeting *Message

	KeepAlive      time.Duration // 0: 30 s. The broker may say otherwise
	ConnectTimeout time.Duration // 0: 10 s. For name, connection, TLS and CONNACK together
	AckTimeout     time.Duration // 0: 20 s. How long the broker may take nothing
	MinDelay       time.Duration // 0: 250 ms. Before the first try to reconnect
	MaxDelay       time.Duration // 0: 30 s. What the delay grows to
	MaxInFlight    int           // 0: as many as broker and protocol allow

	// Up is told of every connection that is ready, Down of its end and of
	// every try that failed. They are called by one goroutine, in order, and
	// must not call the Publisher.
	Up   func(Limits)
	Down func(error)
}

// maxInFlight is how many messages may wait for their acknowledgement where
// the broker does not say. Version 3.1.1 has no word for it. Brokers answer a
// QoS 1 message at once and so have no bound; of QoS 2 messages they keep the
// identifiers, and some drop without a word what goes beyond a few.
const (
	maxInFlight     = 8192
	maxInFlightQoS2 = 20
)

// maxFlights bounds the messages between the oldest that is not settled and
// the newest: each needs an identifier of its own.
const maxFlights = math.MaxUint16

func (o Options) withDefaults() Options {
	defaults := []struct {
		d     *time.Duration
		value time.Duration
	}{
		{&o.KeepAlive, 30 * time.Second},
		{&o.ConnectTimeout, 10 * time.Second},
		{&o.AckTimeout, 20 * time.Second},
		{&o.MinDelay, 250 * time.Millisecond},
		{&o.MaxDelay, 30 * time.Second},
	}
	for _, row := range defaults {
		if *row.d <= 0 {
			*row.d = row.value
		}
	}
	return o
}

// Limits are what a broker has agreed to for one connection.
type Limits struct {
	Version        Version
	ClientID       string // the broker may have given one
	SessionPresent bool
	InFlight       int // messages that may wait for their acknowledgement
	PacketSize     int // bytes of a whole packet
	QoS            byte
	Retain         bool
	TopicAliases   int           // what the broker would take; none are used
	KeepAlive      time.Duration // 0: none
	SessionExpiry  time.Duration
}

// protocolPacketSize is the largest packet the protocol can express.
const protocolPacketSize = 1 + 4 + 268_435_455

// publishOverhead bounds what a PUBLISH packet has besides topic and payload:
// the type, four bytes of length, the length of the topic, the identifier, and
// the length of no properties.
const publishOverhead = 1 + 4 + 2 + 2 + 1

// body is how many bytes topic and payload may have together.
func (l *Limits) body() int { return l.PacketSize - publishOverhead }
