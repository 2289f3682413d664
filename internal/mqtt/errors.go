// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// A Kind is what a caller can decide on.
type Kind uint8

// The kinds of errors.
const (
	Protocol      Kind = iota + 1 // the broker does not speak MQTT as it should
	BadName                       // no such host
	Unreachable                   // nobody answers, or nobody listens
	TLS                           // no secure connection
	BadVersion                    // the broker does not speak that version
	BadPassword                   // user and password are refused
	NotAuthorised                 // the user may not do that
	BadClientID                   // the client identifier is refused, or another took it over
	Unsupported                   // the broker cannot do what the options ask for
	Busy                          // the broker has no room, or no time
	Closed                        // the broker ended the connection
	NoAnswer                      // the broker does not answer, or does not acknowledge
	TooLarge                      // the broker takes no packet of that size
)

// An Error says in one line what failed, on which broker.
type Error struct {
	Kind   Kind
	Broker string // address
	Text   string
	Err    error // may be nil
}

func (e *Error) Error() string {
	return "broker " + e.Broker + ": " + e.Text
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error of this package, 0 for any other.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func (o *Options) errorf(kind Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: kind, Broker: o.Address, Text: oneLine(fmt.Sprintf(format, args...)), Err: err}
}

// oneLine keeps what a broker says on one line and its control characters off
// the terminal.
func oneLine(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// dialError classes what went wrong before there was a connection.
func (o *Options) dialError(err error) *Error {
	host, port, _ := net.SplitHostPort(o.Address)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return o.errorf(BadName, err, "there is no host %s", host)
	case errors.As(err, &dns):
		return o.errorf(Unreachable, err, "the name %s cannot be looked up: %s", host, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return o.errorf(Unreachable, err, "nothing listens on port %s", port)
	case isTimeout(err):
		return o.errorf(Unreachable, err, "no answer within %s", o.ConnectTimeout)
	}
	return o.errorf(Unreachable, err, "cannot connect: %s", rootCause(err))
}

// rootCause leaves out the address that *net.OpError repeats.
func rootCause(err error) error {
	var op *net.OpError
	for errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// tlsError classes what went wrong in the handshake, or is nil when it was
// something else. Under TLS 1.3 a broker refuses a certificate only after the
// handshake, with the first bytes it sends.
func (o *Options) tlsError(err error) *Error {
	var (
		header    tls.RecordHeaderError
		alert     tls.AlertError
		cert      *tls.CertificateVerificationError
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &header):
		return o.errorf(TLS, err, "it does not answer in TLS (is it a port without?)")
	case errors.As(err, &name):
		return o.errorf(TLS, err, "its certificate is for another name: %s", name.Error())
	case errors.As(err, &authority):
		return o.errorf(TLS, err, "its certificate is signed by an authority that is not known here")
	case errors.As(err, &invalid):
		return o.errorf(TLS, err, "its certificate is not valid: %s", invalid.Error())
	case errors.As(err, &cert):
		return o.errorf(TLS, err, "its certificate cannot be verified: %s", cert.Err)
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		return o.errorf(TLS, err, "it refuses the TLS connection: %s", strings.TrimPrefix(rootCause(err).Error(), "tls: "))
	}
	return nil
}

// readError classes the end of a connection.
func (o *Options) readError(err error) *Error {
	if t := o.tlsError(err); t != nil && o.TLS != nil {
		return t
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return o.errorf(Closed, err, "it closed the connection")
	}
	if isTimeout(err) {
		return o.errorf(NoAnswer, err, "it does not take what is sent")
	}
	return o.errorf(Closed, err, "the connection broke: %s", rootCause(err))
}

// reasons are the codes of version 5 that a publisher can get.
var reasons = map[byte]struct {
	kind Kind
	text string
}{
	0x04:               {Closed, "disconnect with will message"},
	codeUnspecified:    {Closed, "unspecified error"},
	0x81:               {Protocol, "malformed packet"},
	0x82:               {Protocol, "protocol error"},
	codeImplementation: {Closed, "implementation specific error"},
	codeBadVersion:     {BadVersion, "unsupported protocol version"},
	0x85:               {BadClientID, "client identifier not valid"},
	codeBadPassword:    {BadPassword, "bad user name or password"},
	codeNotAuthorised:  {NotAuthorised, "not authorised"},
	codeUnavailable:    {Busy, "server unavailable"},
	codeBusy:           {Busy, "server busy"},
	0x8a:               {NotAuthorised, "banned"},
	0x8b:               {Closed, "server shutting down"},
	0x8c:               {NotAuthorised, "bad authentication method"},
	0x8d:               {Closed, "keep alive timeout"},
	0x8e:               {BadClientID, "session taken over"},
	0x90:               {Unsupported, "topic name invalid"},
	codeIDInUse:        {Protocol, "packet identifier in use"},
	codeIDUnknown:      {Protocol, "packet identifier not found"},
	0x93:               {Protocol, "receive maximum exceeded"},
	0x94:               {Protocol, "topic alias invalid"},
	codePacketTooLarge: {TooLarge, "packet too large"},
	0x96:               {Busy, "message rate too high"},
	codeQuotaExceeded:  {Busy, "quota exceeded"},
	0x98:               {Closed, "administrative action"},
	0x99:               {Unsupported, "payload format invalid"},
	0x9a:               {Unsupported, "retain not supported"},
	0x9b:               {Unsupported, "QoS not supported"},
	codeUseAnother:     {Closed, "use another server"},
	codeMoved:          {Closed, "server moved"},
	0x9f:               {Busy, "connection rate exceeded"},
}

// reasons311 are the return codes of CONNACK under version 3.1.1.
var reasons311 = map[byte]byte{
	code311BadVersion:   codeBadVersion,
	code311BadID:        0x85,
	code311Unavailable:  codeUnavailable,
	code311BadPassword:  codeBadPassword,
	code311Unauthorised: codeNotAuthorised,
}

// reason gives the kind of a code, and its words with what the broker adds.
func reason(code byte, said string) (Kind, string) {
	r, known := reasons[code]
	if !known {
		r.kind, r.text = Protocol, "reason code 0x"+strconv.FormatUint(uint64(code), 16)
	}
	if said != "" && !strings.EqualFold(said, r.text) {
		r.text += ": " + said
	}
	return r.kind, r.text
}

// disconnected is the error for a DISCONNECT of the broker.
func (o *Options) disconnected(body []byte) *Error {
	if len(body) == 0 {
		return o.errorf(Closed, nil, "it closed the connection")
	}
	kind, text := reason(body[0], reasonString(typeDisconnect, body))
	return o.errorf(kind, nil, "it closed the connection (%s)", text)
}

// A RefusedError is why one message is not with the broker, and never will be.
type RefusedError struct {
	Topic string
	Kind  Kind // NotAuthorised, TooLarge, …
	Text  string
}

func (e *RefusedError) Error() string {
	return "a message to the topic " + e.Topic + " was refused: " + e.Text
}
