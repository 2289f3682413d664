// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

const (
	netlinkAddrSize = 12     // sizeof(struct sockaddr_nl)
	netlinkNamed    = 1 << 3 // NETLINK_SKB_DST: the sender gave an address
)

// netlinkSend derives the sending of a netlink message. The port is that of
// the sender, and the group that of the receivers.
func (d *Deriver) netlinkSend(c *Call, fd int32, s *Socket, m *message) error {
	if m.flags&unix.MSG_OOB != 0 {
		return unix.EOPNOTSUPP
	}
	if m.size == 0 && !m.unsized {
		return unix.ENODATA
	}
	cell := &tsem.NetlinkCell{Sock: s.Sock}
	uid, gid, err := d.sentCredentials(c, m)
	if err != nil {
		return err
	}
	cell.UID, cell.GID = uid, gid
	port, group, err := netlinkAddresses(c, fd)
	if err != nil {
		return err
	}
	if len(m.name) > 0 {
		if len(m.name) < netlinkAddrSize || binary.NativeEndian.Uint16(m.name) != unix.AF_NETLINK {
			return unix.EINVAL
		}
		to := binary.NativeEndian.Uint32(m.name[4:])
		group = firstGroup(binary.NativeEndian.Uint32(m.name[8:]))
		if (to != 0 || group != 0) && s.Protocol != unix.NETLINK_USERSOCK &&
			!d.lens.CapableOver(c.Task, "net", unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		cell.Flags |= netlinkNamed
	}
	if port == 0 {
		port = d.netlinkPort(c, s.Protocol)
	}
	cell.PortID, cell.DstGroup = port, group
	d.emit(tsem.NetlinkSend, cell)
	return nil
}

// firstGroup is the number of the lowest group of a mask, from 1; 0 if there
// is none.
func firstGroup(mask uint32) uint32 {
	if mask == 0 {
		return 0
	}
	return uint32(bits.TrailingZeros32(mask)) + 1
}

// netlinkAddresses asks a socket for its own port, 0 if it has none yet, and
// for the group it is connected to.
func netlinkAddresses(c *Call, fd int32) (port, group uint32, err error) {
	n, err := borrow(c.Task, fd)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(n)
	if sa, err := unix.Getsockname(n); err == nil {
		if own, ok := sa.(*unix.SockaddrNetlink); ok {
			port = own.Pid
		}
	}
	if sa, err := unix.Getpeername(n); err == nil {
		if peer, ok := sa.(*unix.SockaddrNetlink); ok {
			group = firstGroup(peer.Groups)
		}
	}
	return port, group, nil
}

// netlinkPort is the port that the kernel gives to a socket without one: the
// number of the process. If another socket has that, the kernel takes one at
// random, which is told as 0.
func (d *Deriver) netlinkPort(c *Call, protocol int32) uint32 {
	port := uint32(c.Task.TGID)
	if !d.lens.SamePIDs(c.Task) {
		port = uint32(task.NumberInNamespace(c.Task.TGID))
	}
	table, err := os.ReadFile(kernel.ProcPath(c.Task.TID, "net/netlink"))
	if err != nil {
		return port
	}
	wantProtocol, wantPort := strconv.Itoa(int(protocol)), strconv.Itoa(int(port))
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line) // address, protocol, port, …
		if len(f) > 2 && string(f[1]) == wantProtocol && string(f[2]) == wantPort {
			return 0
		}
	}
	return port
}

// sentCredentials is the user and the group in whose name a message is sent:
// those of the task, unless the message names others that it may use.
func (d *Deriver) sentCredentials(c *Call, m *message) (uid, gid uint32, err error) {
	coe := d.COE(c.Task)
	uid, gid = coe.UID, coe.GID
	word := int(c.wordSize())
	head := word + 8 // length, level, type
	for b := m.control; len(b) >= head; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < head || size > len(b) {
			return 0, 0, unix.EINVAL
		}
		level, kind := binary.NativeEndian.Uint32(b[word:]), binary.NativeEndian.Uint32(b[word+4:])
		if level == unix.SOL_SOCKET && kind == unix.SCM_CREDENTIALS {
			const ucred = 12
			if size != head+ucred {
				return 0, 0, unix.EINVAL
			}
			u, g := binary.NativeEndian.Uint32(b[head+4:]), binary.NativeEndian.Uint32(b[head+8:])
			if !d.mayClaim(c, &coe, u, g) {
				return 0, 0, unix.EPERM
			}
			uid, gid = u, g
		}
		b = b[min(len(b), (size+word-1)&^(word-1)):]
	}
	return uid, gid, nil
}

// mayClaim tells whether the task may send in the name of a user and a group.
func (d *Deriver) mayClaim(c *Call, coe *tsem.COE, uid, gid uint32) bool {
	own := uid == coe.UID || uid == coe.EUID || uid == coe.SUID
	ownGroup := gid == coe.GID || gid == coe.EGID || gid == coe.SGID
	caps := c.Task.Status.COE.CapEff
	return (own || caps&(1<<unix.CAP_SETUID) != 0) && (ownGroup || caps&(1<<unix.CAP_SETGID) != 0)
}
