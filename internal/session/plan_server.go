// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// CheckServer checks the value of -e: a host name or address, or a URL
// with one of the given schemes.
func CheckServer(server string, schemes ...string) error {
	u, err := parseServer(server)
	if err != nil {
		return err
	}
	if u.Scheme != "" && !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("the URL must begin with %s://", strings.Join(schemes, ":// or "))
	}
	if u.Port() != "" {
		if n, err := strconv.Atoi(u.Port()); err != nil || n < MinPort || n > MaxPort {
			return fmt.Errorf("the port must be a number from %d to %d", MinPort, MaxPort)
		}
	}
	return nil
}

// hasPort reports whether a server that CheckServer accepted names its port.
func hasPort(server string) bool {
	u, err := parseServer(server)
	return err == nil && u.Port() != ""
}

// parseServer takes a URL, "host", "host:port", an IPv4 or IPv6 address.
func parseServer(server string) (*url.URL, error) {
	if strings.Contains(server, "://") {
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("it is no URL of a host")
		}
		return u, nil
	}
	if addr, err := netip.ParseAddr(server); err == nil && addr.Is6() {
		server = net.JoinHostPort(server, "")
		server = strings.TrimSuffix(server, ":")
	}
	u, err := url.Parse("//" + server)
	if err != nil || u.Hostname() == "" || u.Host != server || strings.ContainsAny(server, " /@") {
		return nil, fmt.Errorf("it is neither a host name nor a URL")
	}
	return u, nil
}
