// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// kernelAddress is a struct sockaddr_nl.
func kernelAddress(port, groups uint32) []byte {
	order := binary.NativeEndian
	b := order.AppendUint16(nil, unix.AF_NETLINK)
	b = order.AppendUint16(b, 0)
	b = order.AppendUint32(b, port)
	return order.AppendUint32(b, groups)
}

func TestNetlinkSend(t *testing.T) {
	c := newCaller(t)
	fd := c.socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	sock := c.ownSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	sent := Event{tsem.SocketSendmsg, &tsem.SockAddrCell{Sock: sock}}
	coe := &c.task.Status.COE
	message := func(port, group, flags uint32) Event {
		return Event{tsem.NetlinkSend, &tsem.NetlinkCell{
			Sock: sock, UID: coe.UID, GID: coe.GID, PortID: port, DstGroup: group, Flags: flags,
		}}
	}
	data := c.bytes(make([]byte, 16))
	send := func(size uint64, to []byte) []Event {
		if to == nil {
			return c.derive("sendto", uint64(fd), data, size, 0, 0, 0)
		}
		return c.derive("sendto", uint64(fd), data, size, 0, c.bytes(to), uint64(len(to)))
	}
	// Without a port the socket gets the number of the process.
	c.want(send(16, nil), sent, message(uint32(os.Getpid()), 0, 0))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: 0x7ff00001}); err != nil {
		t.Fatal(err)
	}
	c.want(send(16, nil), sent, message(0x7ff00001, 0, 0))
	c.want(send(16, kernelAddress(0, 0)), sent, message(0x7ff00001, 0, netlinkNamed))
	c.want(send(16, kernelAddress(0, 0)[:8]), sent)
	c.want(send(16, inet(1)), sent)
	c.want(send(0, nil), sent)
	c.want(c.derive("sendto", uint64(fd), data, 16, unix.MSG_OOB, 0, 0), sent)
	if c.d.lens.CapableOver(c.task, "net", unix.CAP_NET_ADMIN) {
		c.want(send(16, kernelAddress(0, 1<<5)), sent, message(0x7ff00001, 6, netlinkNamed))
		coe.CapEff &^= 1 << unix.CAP_NET_ADMIN
	}
	c.want(send(16, kernelAddress(0, 1<<5)), sent)
	c.want(send(16, kernelAddress(7, 0)), sent)
}

// A message may name the sender, within limits.
func TestNetlinkCredentials(t *testing.T) {
	c := newCaller(t)
	fd := c.socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: 0x7ff00002}); err != nil {
		t.Fatal(err)
	}
	c.task.Status.COE = tsem.COE{UID: 1, EUID: 2, SUID: 3, GID: 4, EGID: 5, SGID: 6}
	for _, test := range []struct {
		uid, gid uint32
		want     bool
	}{{1, 4, true}, {2, 5, true}, {3, 6, true}, {7, 4, false}, {1, 7, false}} {
		header := c.header(nil, 16)
		control := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: test.uid, Gid: test.gid})
		binary.NativeEndian.PutUint64(header[32:], c.bytes(control))
		binary.NativeEndian.PutUint64(header[40:], uint64(len(control)))
		events := c.derive("sendmsg", uint64(fd), c.bytes(header), 0)
		if got := len(events) == 2; got != test.want {
			t.Errorf("%+v: %s", test, list(events))
			continue
		}
		if test.want {
			cell := events[1].Cell.(*tsem.NetlinkCell)
			if cell.UID != test.uid || cell.GID != test.gid {
				t.Errorf("%+v: %s", test, list(events))
			}
		}
	}
}

func TestFirstGroup(t *testing.T) {
	for mask, want := range map[uint32]uint32{0: 0, 1: 1, 6: 2, 1 << 31: 32} {
		if got := firstGroup(mask); got != want {
			t.Errorf("%#x: got %d, want %d", mask, got, want)
		}
	}
}
