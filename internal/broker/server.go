// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The schemes of a broker's URL.
const (
	Plain  = "mqtt"
	Secure = "mqtts"
)

// The ports registered for MQTT.
const (
	portPlain  = 1883
	portSecure = 8883
)

// A Server is where a broker is. What was not said is zero until Complete.
type Server struct {
	Scheme string // Plain or Secure
	Host   string // name or address, without brackets
	Port   int
}

// ParseServer reads a host name, an IPv4 or IPv6 address, each perhaps with a
// port, or a URL.
func ParseServer(text string) (Server, error) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return parseHost(text)
	}
	if scheme = strings.ToLower(scheme); scheme != Plain && scheme != Secure {
		return Server{}, fmt.Errorf("the URL must begin with %s:// or %s://", Plain, Secure)
	}
	// What url.Parse says would show the password.
	u, err := url.Parse("//" + rest)
	switch {
	case strings.Contains(rest, "@"):
		return Server{}, errors.New("a URL with a user is refused, since others see the command line: --user NAME, and the password from TSEM_PASSWORD or --password-file")
	case err != nil || u.Hostname() == "":
		return Server{}, errors.New("it is no URL of a host")
	case strings.Trim(u.Path, "/") != "":
		return Server{}, errors.New("the URL must end with the host or port: the topic goes to -t")
	case u.RawQuery != "" || u.Fragment != "":
		return Server{}, errors.New("the URL must end with the host or port")
	}
	s, err := parseHost(u.Host)
	s.Scheme = scheme
	return s, err
}

func parseHost(text string) (Server, error) {
	none := errors.New("it is neither a host name nor a URL")
	if addr, ok := parseAddr(text); ok {
		return Server{Host: addr}, nil
	}
	s := Server{Host: text}
	if host, port, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Server{}, errors.New("the port must be a number from 1 to 65535")
		}
		s = Server{Host: host, Port: int(n)}
	} else if inner, found := strings.CutPrefix(text, "["); found {
		s.Host, found = strings.CutSuffix(inner, "]")
		if _, ok := parseAddr(s.Host); !found || !ok {
			return Server{}, none
		}
	}
	if addr, ok := parseAddr(s.Host); ok {
		s.Host = addr
		return s, nil
	}
	if !validName(s.Host) {
		return Server{}, none
	}
	return s, nil
}

// parseAddr writes an address in its one form.
func parseAddr(text string) (string, bool) {
	addr, err := netip.ParseAddr(text)
	return addr.String(), err == nil && (addr.Zone() == "" || validName(addr.Zone()))
}

// validName takes what a resolver could know; whether it does is seen later.
// Names in other scripts have an ASCII form (xn--).
func validName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.ContainsFunc(name, func(r rune) bool {
		return r >= utf8.RuneSelf || r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// Complete fills in what was not said. port is that of -p, or 0. The
// connection is secure when the URL says so; when it says nothing, with
// certificates, or on the port that is registered for that.
func (s Server) Complete(port int, certificates bool) Server {
	if s.Port == 0 {
		s.Port = port
	}
	if s.Scheme == "" {
		s.Scheme = Plain
		if certificates || s.Port == portSecure {
			s.Scheme = Secure
		}
	}
	if s.Port == 0 {
		s.Port = portPlain
		if s.Secure() {
			s.Port = portSecure
		}
	}
	return s
}

// Secure tells whether the connection is to be encrypted.
func (s Server) Secure() bool { return s.Scheme == Secure }

// Address is host and port as net.Dial takes them.
func (s Server) Address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// String is the URL. A zone of an address has its percent sign escaped there.
func (s Server) String() string {
	return s.Scheme + "://" + strings.ReplaceAll(s.Address(), "%", "%25")
}

// Local tells whether nobody can listen on the way: the broker is on this host.
func (s Server) Local() bool {
	addr, err := netip.ParseAddr(s.Host)
	return s.Host == "localhost" || err == nil && addr.IsLoopback()
}
