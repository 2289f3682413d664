// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

const (
	unixAddrMax     = 110 // sizeof(struct sockaddr_un)
	receiveShutdown = 1   // RCV_SHUTDOWN
	sendOverhead    = 32  // of a datagram, in the send buffer
)

// unixSelf describes the AF_UNIX socket at descriptor fd.
func (d *Deriver) unixSelf(c *Call, fd int32) (*proc.UnixSocket, error) {
	ino, err := socketInode(c.Task.TID, fd)
	if err != nil {
		return nil, err
	}
	return d.lens.UnixSocketOf(c.Task, ino)
}

// unixFind finds the socket that an address names, as the kernel does: by the
// file it is bound to, which must be writable, or by its abstract name.
func (d *Deriver) unixFind(c *Call, sa []byte, kind int32) (*proc.UnixSocket, error) {
	if len(sa) <= 2 || len(sa) > unixAddrMax || binary.NativeEndian.Uint16(sa) != unix.AF_UNIX {
		return nil, unix.EINVAL
	}
	name := sa[2:]
	if name[0] == 0 {
		return d.lens.UnixSocketNamed(c.Task, name, kind)
	}
	path, _, _ := bytes.Cut(name, []byte{0})
	o := &d.objects[0]
	if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, path, true, o); err != nil {
		return nil, err
	}
	defer o.Close()
	if !d.lens.MayAccess(c.Task, o, unix.W_OK) {
		return nil, unix.EACCES
	}
	if o.Stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, unix.ECONNREFUSED
	}
	other, err := d.lens.UnixSocketAt(c.Task, o, path)
	if err != nil {
		return nil, err
	}
	if other.Type != kind {
		return nil, unix.EPROTOTYPE
	}
	return other, nil
}

// unixPeer describes the socket that self is connected to.
func (d *Deriver) unixPeer(c *Call, self *proc.UnixSocket) (*proc.UnixSocket, error) {
	if self.Peer == 0 {
		return nil, unix.ENOTCONN
	}
	return d.lens.UnixSocketOf(c.Task, self.Peer)
}

// mayReach is the kernel's rule that a connected datagram socket takes only
// what its peer sends.
func mayReach(self, other *proc.UnixSocket) bool {
	return other.Peer == 0 || other.Peer == self.Inode
}

func (d *Deriver) maySend(s *Socket, other *proc.UnixSocket) {
	d.emit(tsem.UnixMaySend, &tsem.SockPairCell{First: s.Sock, Second: d.shared.Sockets.ByInode(other.Inode, other.Type)})
}

// unixConnect derives what connecting an AF_UNIX socket comes to.
func (d *Deriver) unixConnect(c *Call, s *Socket, sa []byte) error {
	self, err := d.unixSelf(c, c.arg(0))
	if err != nil {
		return err
	}
	if s.Type == unix.SOCK_DGRAM {
		if len(sa) < 2 {
			return unix.EINVAL
		}
		if binary.NativeEndian.Uint16(sa) == unix.AF_UNSPEC {
			return nil // disconnects
		}
		other, err := d.unixFind(c, sa, s.Type)
		if err != nil {
			return err
		}
		if !mayReach(self, other) {
			return unix.EPERM
		}
		d.maySend(s, other)
		return nil
	}
	other, err := d.unixFind(c, sa, s.Type)
	switch {
	case err != nil:
		return err
	case !other.Listening, other.Shutdown&receiveShutdown != 0:
		return unix.ECONNREFUSED
	case other.Waiting > other.Backlog && d.nonblocking(c, c.arg(0)):
		return unix.EAGAIN
	case self.Connected:
		return unix.EISCONN
	case self.Listening:
		return unix.EINVAL
	}
	d.emit(tsem.UnixStreamConnect, &tsem.SockPairCell{
		First: s.Sock, Second: d.shared.Sockets.ByInode(other.Inode, other.Type),
	})
	return nil
}

// nonblocking tells whether calls on descriptor fd do not wait.
func (d *Deriver) nonblocking(c *Call, fd int32) bool {
	info, err := d.lens.FDInfo(c.Task, fd)
	return err == nil && info.Flags&unix.O_NONBLOCK != 0
}
