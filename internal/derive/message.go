// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

const (
	maxVectors = 1024       // UIO_MAXIOV
	cmsgCompat = 0x80000000 // MSG_CMSG_COMPAT, which only the kernel may set
)

// message is what a call tells of one message that is sent or received.
type message struct {
	name    []byte // where to, nil if the call does not say
	flags   uint32
	size    uint64
	unsized bool   // nothing is known of the size
	control []byte // ancillary data
	trusted bool   // the hook for sending has been asked about this address
}

// sendto is sendto.
func sendto(d *Deriver, c *Call) error {
	m := message{flags: uint32(c.Args[3]), size: c.Args[2]}
	if c.Args[4] != 0 {
		name, err := d.sockaddr(c, c.Args[4], c.Args[5])
		if err != nil {
			return err
		}
		m.name = name
	}
	return d.send(c, c.arg(0), &m)
}

// sendmsg is sendmsg.
func sendmsg(d *Deriver, c *Call) error {
	if !c.Compat && c.Args[2]&cmsgCompat != 0 {
		return unix.EINVAL
	}
	m, err := d.message(c, c.Args[1], true)
	if err != nil {
		return err
	}
	m.flags = uint32(c.Args[2])
	return d.send(c, c.arg(0), m)
}

// sendmmsg is sendmmsg: one after the other, until one cannot be sent. The
// kernel does not ask twice in a row about the same address.
func sendmmsg(d *Deriver, c *Call) error {
	if !c.Compat && c.Args[3]&cmsgCompat != 0 {
		return unix.EINVAL
	}
	const words = 8 // a message header, and what was sent
	var last []byte
	for i := range min(uint64(uint32(c.Args[2])), maxVectors) {
		m, err := d.message(c, c.Args[1]+i*words*c.wordSize(), true)
		if err != nil {
			return err
		}
		m.flags = uint32(c.Args[3])
		m.trusted = m.name != nil && last != nil && bytes.Equal(m.name, last)
		if err := d.send(c, c.arg(0), m); err != nil {
			return err
		}
		last = m.name
	}
	return nil
}

// message reads a message header. The name is of interest only to the sender.
func (d *Deriver) message(c *Call, addr uint64, sending bool) (*message, error) {
	var w [7]uint64 // name, its length, vector, its length, control, its length, flags
	if err := d.words(c, addr, w[:]); err != nil {
		return nil, err
	}
	name, size := w[0], int32(uint32(w[1]))
	if name == 0 {
		size = 0
	}
	if size < 0 {
		return nil, unix.EINVAL
	}
	m := &message{}
	if sending && size > 0 {
		var err error
		if m.name, err = d.sockaddr(c, name, uint64(min(size, sockaddrMax))); err != nil {
			return nil, err
		}
	}
	if w[3] > maxVectors {
		return nil, unix.EMSGSIZE
	}
	var err error
	if m.size, err = d.vectors(c, w[2], w[3]); err != nil {
		return nil, err
	}
	if !sending || w[5] == 0 {
		return m, nil
	}
	const maxControl = 16 << 10
	if w[5] > maxControl {
		return nil, unix.ENOBUFS
	}
	m.control = make([]byte, w[5])
	return m, unreadable(d.lens.Read(c.Task, w[4], m.control))
}

// vectors reads a list of buffers and returns their size in all.
func (d *Deriver) vectors(c *Call, addr, count uint64) (size uint64, err error) {
	if count > maxVectors {
		return 0, unix.EINVAL
	}
	w := make([]uint64, 2*count) // address and length of each
	if err := d.words(c, addr, w); err != nil {
		return 0, err
	}
	for i := range count {
		n := w[2*i+1]
		if c.Compat && int32(n) < 0 || int64(n) < 0 {
			return 0, unix.EINVAL
		}
		size += n
	}
	return size, nil
}

// sendmsg derives the sending of something on the socket at descriptor fd; name
// is the address it is sent to, nil if none is given.
func (d *Deriver) sendmsg(c *Call, fd int32, name []byte) error {
	return d.send(c, fd, &message{name: name, unsized: true})
}

// send derives the sending of a message: the hook of all sockets, and behind
// it those of AF_UNIX and AF_NETLINK.
func (d *Deriver) send(c *Call, fd int32, m *message) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, fd)
	if err != nil {
		return err
	}
	if !m.trusted {
		d.emit(tsem.SocketSendmsg, &tsem.SockAddrCell{Sock: s.Sock, Addr: d.destination(s.Family, m.name)})
	}
	switch {
	case s.Family == unix.AF_UNIX && s.Type == unix.SOCK_DGRAM:
		return d.unixSend(c, fd, s, m)
	case s.Family == unix.AF_NETLINK:
		return d.netlinkSend(c, fd, s, m)
	}
	return nil
}

func (d *Deriver) destination(family int32, name []byte) tsem.Addr {
	return Destination(d.opts.Algorithm, family, name)
}

// Destination is the address in a message: only those of the internet are
// told.
func Destination(alg *tsem.Algorithm, family int32, name []byte) tsem.Addr {
	if len(name) == 0 || family != unix.AF_INET && family != unix.AF_INET6 {
		return tsem.Addr{}
	}
	a := Address(alg, family, name)
	if a.Family == tsem.AddrInet6 {
		a.Family, a.Flow, a.Scope = tsem.AddrInet6Short, 0, 0
	}
	return a
}

// recvfrom is recvfrom.
func recvfrom(d *Deriver, c *Call) error { return d.recvmsg(c, c.arg(0)) }

// recvmsg is recvmsg.
func recvmsg(d *Deriver, c *Call) error {
	if !c.Compat && c.Args[2]&cmsgCompat != 0 {
		return unix.EINVAL
	}
	if _, err := d.message(c, c.Args[1], false); err != nil {
		return err
	}
	return d.recvmsg(c, c.arg(0))
}

// recvmmsg is recvmmsg: the kernel asks for the first message only.
func recvmmsg(d *Deriver, c *Call) error {
	if !c.Compat && c.Args[3]&cmsgCompat != 0 {
		return unix.EINVAL
	}
	if c.Args[4] != 0 {
		sec, nsec, err := d.timeout(c, c.Args[4])
		if err != nil {
			return err
		}
		if sec < 0 || nsec < 0 || nsec >= 1e9 {
			return unix.EINVAL
		}
	}
	if uint32(c.Args[2]) == 0 {
		return nil
	}
	if _, err := d.message(c, c.Args[1], false); err != nil {
		return err
	}
	return d.recvmsg(c, c.arg(0))
}

// timeout reads a struct timespec, of the size that the row stands for.
func (d *Deriver) timeout(c *Call, addr uint64) (sec, nsec int64, err error) {
	var w [2]uint64
	if c.Compat && c.Row.split {
		wide := *c
		wide.Compat = false
		err = d.words(&wide, addr, w[:])
		return int64(w[0]), int64(uint32(w[1])), err
	}
	err = d.words(c, addr, w[:])
	if c.Compat {
		return int64(int32(w[0])), int64(int32(w[1])), err
	}
	return int64(w[0]), int64(w[1]), err
}

// recvmsg derives the receiving of something on the socket at descriptor fd.
// When the hook is called nobody knows yet from where.
func (d *Deriver) recvmsg(c *Call, fd int32) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, fd)
	if err != nil {
		return err
	}
	d.emit(tsem.SocketRecvmsg, &tsem.SockAddrCell{Sock: s.Sock})
	return nil
}

// unixSend derives the sending of a datagram on an AF_UNIX socket, to the
// address given or to the socket it is connected to.
func (d *Deriver) unixSend(c *Call, fd int32, s *Socket, m *message) error {
	if m.flags&unix.MSG_OOB != 0 {
		return unix.EOPNOTSUPP
	}
	self, err := d.unixSelf(c, fd)
	if err != nil {
		return err
	}
	var other *proc.UnixSocket
	if m.name != nil && len(m.name) > 0 {
		other, err = d.unixFind(c, m.name, s.Type)
	} else {
		other, err = d.unixPeer(c, self)
	}
	switch {
	case err != nil:
		return err
	case self.SendSpace > sendOverhead && !m.unsized && m.size > uint64(self.SendSpace-sendOverhead):
		return unix.EMSGSIZE
	case !mayReach(self, other):
		return unix.EPERM
	case other.Shutdown&receiveShutdown != 0:
		return unix.EPIPE
	}
	d.maySend(s, other)
	return nil
}
