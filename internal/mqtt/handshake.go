// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"time"
)

// sessionExpiry is how long a broker keeps the session of a QoS 2 publisher
// that went away: what it has of a message that was not completed.
const sessionExpiry = time.Hour

// dial makes a connection that is ready for publishing. Version is the one to
// speak; with clean, the broker forgets what it knows of this client.
func dial(ctx context.Context, o *Options, version Version, clean bool) (net.Conn, Limits, error) {
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	conn, err := connect(ctx, o)
	if err != nil {
		return nil, Limits{}, err
	}
	// The deadline also ends reads and writes when the context is done.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	limits, err := greet(conn, o, version, clean)
	if !stop() && err == nil {
		err = o.errorf(NoAnswer, ctx.Err(), "no answer within %s", o.ConnectTimeout)
	}
	if err != nil {
		conn.Close()
		return nil, Limits{}, err
	}
	return conn, limits, nil
}

// connect makes the connection of TCP, and TLS on it.
func connect(ctx context.Context, o *Options) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, o.dialError(err)
	}
	if o.TLS == nil {
		return conn, nil
	}
	config := o.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(o.Address)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		if t := o.tlsError(err); t != nil {
			return nil, t
		}
		if isTimeout(err) || ctx.Err() != nil {
			return nil, o.errorf(Unreachable, err, "no answer in TLS within %s", o.ConnectTimeout)
		}
		return nil, o.errorf(TLS, err, "it ended the TLS handshake: %s", rootCause(err))
	}
	return secure, nil
}

// greet sends CONNECT and reads CONNACK.
func greet(conn net.Conn, o *Options, version Version, clean bool) (Limits, error) {
	// Also when it cannot be written there may be an answer that says why.
	_, werr := conn.Write(appendConnect(nil, o, version, clean))
	first, body, err := readPacket(conn, firstConnack)
	if werr != nil && err != nil && o.tlsError(err) == nil {
		err = werr
	}
	switch {
	case first == tlsAlert && o.TLS == nil:
		return Limits{}, o.errorf(Protocol, err, "it answers in TLS (write mqtts://)")
	case errors.Is(err, errFirst):
		return Limits{}, o.errorf(Protocol, err, "it does not answer in MQTT: 0x%02x comes first, where CONNACK begins with 0x%02x", first, firstConnack)
	case errors.Is(err, errTooLong), errors.Is(err, errLength):
		return Limits{}, o.errorf(Protocol, err, "it does not answer in MQTT: %s", err)
	case err != nil:
		return Limits{}, o.greetError(err)
	}
	return readConnack(o, version, clean, body)
}

func (o *Options) greetError(err error) *Error {
	if isTimeout(err) {
		return o.errorf(NoAnswer, err, "it takes connections, but does not answer within %s", o.ConnectTimeout)
	}
	e := o.readError(err)
	if e.Kind == Closed {
		e.Text = "it closed the connection without an answer"
		switch {
		case o.TLS == nil:
			e.Text += " (is it a port for TLS?)"
		case len(o.TLS.Certificates) == 0 && o.TLS.GetClientCertificate == nil:
			e.Text += " (does it ask for a certificate?)"
		}
	}
	return e
}

// tlsAlert is the first byte of what TLS says when it is not spoken to in TLS.
const tlsAlert = 0x15

// errFirst tells that something else comes than was to come.
var errFirst = errors.New("it is another packet")

// readPacket reads one whole packet, and no byte more. If want is not 0, of what
// begins with something else it reads no more than that.
func readPacket(r io.Reader, want byte) (first byte, body []byte, err error) {
	b := make([]byte, 1, 64)
	for {
		if _, err := io.ReadFull(r, b[len(b)-1:]); err != nil {
			return 0, nil, err
		}
		if want != 0 && b[0] != want {
			return b[0], nil, errFirst
		}
		if len(b) > 1 && b[len(b)-1] < 0x80 || len(b) == 5 {
			break
		}
		b = append(b, 0)
	}
	length := 0
	for i, c := range b[1:] {
		length |= int(c&0x7f) << (7 * i)
	}
	switch {
	case b[len(b)-1] >= 0x80:
		return 0, nil, errLength
	case len(b)+length > maxIncoming:
		return 0, nil, errTooLong
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return b[0], body, err
}

// keepsSession reports whether the broker is to keep a session for when the
// connection is lost. Only for QoS 2 does it hold anything: which messages it
// has, but was not told to release.
func (o *Options) keepsSession() bool { return o.QoS == 2 }

func readConnack(o *Options, version Version, clean bool, body []byte) (Limits, error) {
	c, err := readConnackBody(version, body)
	switch {
	case err != nil:
		return Limits{}, o.errorf(Protocol, err, "its answer cannot be read: %s", err)
	case c.code != codeSuccess:
		return Limits{}, o.notAccepted(&c)
	case c.version != version:
		return Limits{}, o.errorf(BadVersion, nil, "it answers in MQTT 3.1.1 to version 5")
	case clean && c.sessionPresent:
		return Limits{}, o.errorf(Protocol, nil, "it goes on with a session that was to be forgotten")
	}
	return limitsOf(o, &c)
}

func (o *Options) notAccepted(c *connack) *Error {
	code, said := c.code, c.properties.reason
	if c.version != V5 {
		if translated, ok := reasons311[code]; ok {
			code = translated
		}
	}
	if code == codeUseAnother || code == codeMoved {
		said = c.properties.server
	}
	kind, text := reason(code, said)
	// Brokers say either of the two for a wrong password.
	if code == codeBadPassword || code == codeNotAuthorised {
		switch {
		case o.User != "":
			return o.errorf(BadPassword, nil, "it refuses the user %s or its password (%s)", o.User, text)
		case code == codeNotAuthorised:
			return o.errorf(NotAuthorised, nil, "it takes no connection without user and password (%s)", text)
		}
	}
	return o.errorf(kind, nil, "it refuses the connection (%s)", text)
}

func limitsOf(o *Options, c *connack) (Limits, error) {
	l := Limits{
		Version:        c.version,
		ClientID:       o.ClientID,
		SessionPresent: c.sessionPresent,
		InFlight:       maxInFlight,
		PacketSize:     protocolPacketSize,
		QoS:            2,
		Retain:         true,
		KeepAlive:      o.KeepAlive,
	}
	if o.QoS == 2 {
		l.InFlight = maxInFlightQoS2
	}
	if c.version == V5 {
		l.apply(o, &c.properties)
	}
	if o.MaxInFlight > 0 {
		l.InFlight = min(l.InFlight, o.MaxInFlight)
	}
	retains := o.Will != nil && o.Will.Retain || o.Greeting != nil && o.Greeting.Retain
	switch {
	case l.QoS < o.QoS:
		return l, o.errorf(Unsupported, nil, "it takes messages of QoS %d at most, not of QoS %d", l.QoS, o.QoS)
	case retains && !l.Retain:
		return l, o.errorf(Unsupported, nil, "it does not retain messages")
	case l.body() < 1:
		return l, o.errorf(Protocol, nil, "it takes packets of %d bytes at most", l.PacketSize)
	}
	return l, nil
}

// apply takes over what a broker of version 5 has said.
func (l *Limits) apply(o *Options, p *properties) {
	l.InFlight = math.MaxUint16
	if p.receiveMaximum > 0 {
		l.InFlight = int(p.receiveMaximum)
	}
	if p.maximumPacket > 0 {
		l.PacketSize = int(min(p.maximumPacket, protocolPacketSize))
	}
	if p.maximumQoS != nil {
		l.QoS = *p.maximumQoS
	}
	if p.retain != nil {
		l.Retain = *p.retain != 0
	}
	l.TopicAliases = int(p.topicAliases)
	if p.keepAlive != nil {
		l.KeepAlive = time.Duration(*p.keepAlive) * time.Second
	}
	if p.assignedID != "" {
		l.ClientID = p.assignedID
	}
	if o.keepsSession() {
		l.SessionExpiry = sessionExpiry
	}
	if p.sessionExpiry != nil {
		l.SessionExpiry = time.Duration(*p.sessionExpiry) * time.Second
	}
}
