// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mochi-mqtt/server/v2/packets"
)

// acknowledger listens, prints its port, and acknowledges what clients of
// version 3.1.1 publish at QoS 1, without looking at it: as many messages to a
// write as came in a read. It takes little time itself, so that what is
// measured against it is the client.
func acknowledger(out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	fmt.Fprintln(out, port)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if err := acknowledge(c); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c.Close()
	}
}

func acknowledge(c net.Conn) error {
	in := bufio.NewReaderSize(c, 256<<10)
	var answers []byte
	for {
		if in.Buffered() == 0 && len(answers) > 0 {
			if _, err := c.Write(answers); err != nil {
				return err
			}
			answers = answers[:0]
		}
		first, err := in.ReadByte()
		if err != nil {
			return err
		}
		length, _, err := packets.DecodeLength(in)
		if err != nil {
			return err
		}
		switch first >> 4 {
		case packets.Connect:
			answers = append(answers, packets.Connack<<4, 2, 0, 0)
		case packets.Pingreq:
			answers = append(answers, packets.Pingresp<<4, 0)
		case packets.Publish:
			head, err := in.Peek(2)
			if err != nil {
				return err
			}
			topic := int(binary.BigEndian.Uint16(head))
			if head, err = in.Peek(2 + topic + 2); err != nil {
				return err
			}
			answers = append(answers, packets.Puback<<4, 2, head[2+topic], head[3+topic])
		}
		if _, err := in.Discard(length); err != nil {
			return err
		}
	}
}
