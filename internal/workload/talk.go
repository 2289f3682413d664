// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// What the supervisor and the watchdog say to one another: one message a
// packet, a word of one byte and what belongs to it.
const (
	// From the supervisor.
	sayWill     = 'w' // what to do after our death
	sayKeep     = 'k' // keep this descriptor open
	sayOutput   = 'o' // output number (one byte) is this descriptor now
	sayContinue = 'c' // let the command go on
	sayFinish   = 'f' // there is nothing more to do

	// From the watchdog.
	sayStarted = 's' // the command's pid, as text
	sayFailed  = 'e' // why the command could not be started
	sayStopped = 't' // the command has stopped
	sayExited  = 'x' // the command's exit status, as text
)

// maxMessage bounds a message.
const maxMessage = 64 << 10

// say sends a message, with a descriptor unless that is negative.
func say(socket int, word byte, text []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for {
		err := unix.Sendmsg(socket, append([]byte{word}, text...), rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// message is one that was heard. The descriptor is -1 if there is none.
type message struct {
	word byte
	text []byte
	fd   int
}

// hear waits for a message. A zero word says that the other side is gone.
func hear(socket int) (message, error) {
	text := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(socket, text, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET, err == nil && n == 0:
			return message{fd: -1}, nil
		case err != nil:
			return message{fd: -1}, err
		case flags&unix.MSG_TRUNC != 0:
			return message{fd: -1}, fmt.Errorf("a message is longer than %d bytes", maxMessage)
		}
		m := message{word: text[0], text: text[1:n], fd: -1}
		if list, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for i := range list {
				if fds, err := unix.ParseUnixRights(&list[i]); err == nil && len(fds) > 0 {
					m.fd = fds[0]
				}
			}
		}
		return m, nil
	}
}
