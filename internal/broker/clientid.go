// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"
)

// A ClientID is a client identifier that no other run on this host uses with
// the same broker: a broker ends the connection of who comes under the name of
// another that is there.
//
// The kernel keeps it, as the name of a socket that nobody reads, and takes it
// back when the process ends in whatever way. It knows of runs in one network
// namespace, of all users and whatever their spools are.
type ClientID struct {
	Name  string
	Other string // the name that was asked for, when another run has it
	fd    int
}

// TakeClientID takes an identifier, or, where another run has it, one with the
// name of the run behind it.
func TakeClientID(s Server, name, run string) (*ClientID, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot take the MQTT client identifier %q: %w", name, err)
	}
	id := &ClientID{Name: name, fd: fd}
	err = id.bind(s)
	if err == unix.EADDRINUSE {
		id.Name, id.Other = name+"-"+run, name
		err = id.bind(s)
	}
	if err != nil {
		id.Release()
		return nil, fmt.Errorf("cannot take the MQTT client identifier %q: %w", id.Name, err)
	}
	return id, nil
}

func (id *ClientID) bind(s Server) error {
	sum := sha256.Sum256([]byte(s.Address() + "\x00" + id.Name))
	return unix.Bind(id.fd, &unix.SockaddrUnix{Name: "@quixote-export/mqtt/" + hex.EncodeToString(sum[:16])})
}

// Release lets others take it.
func (id *ClientID) Release() { unix.Close(id.fd) }
