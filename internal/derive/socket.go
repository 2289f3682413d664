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
	sockTypeMask = 0xf
	sockMax      = 11 // SOCK_MAX
	sockPacket   = 10
	familyMax    = 46 // AF_MAX
	sockaddrMax  = 128
)

// socket is socket. The new socket has no number yet; who makes it is noted,
// for the events in which it takes part.
func socket(d *Deriver, c *Call) error {
	s, err := d.createSocket(c)
	if err != nil {
		return err
	}
	d.shared.Sockets.Begin(c.Task, 1, s)
	return nil
}

// createSocket emits the making of the socket that the first three arguments
// ask for. What it returns is the socket that comes of it, as far as that is
// known beforehand.
func (d *Deriver) createSocket(c *Call) (s tsem.Sock, err error) {
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	family, kind, protocol := uint32(c.Args[0]), uint32(c.Args[1]), uint32(c.Args[2])
	if kind&^(sockTypeMask|flags) != 0 {
		return s, unix.EINVAL
	}
	kind &= sockTypeMask
	if family >= familyMax {
		return s, unix.EAFNOSUPPORT
	}
	if kind >= sockMax {
		return s, unix.EINVAL
	}
	if family == unix.AF_INET && kind == sockPacket {
		family = unix.AF_PACKET
	}
	d.emit(tsem.SocketCreate, &tsem.SocketCreateCell{Family: family, Type: kind, Protocol: protocol})
	s = tsem.Sock{Family: int32(family), Type: int32(kind), Protocol: int32(protocol)}
	if s.Family == unix.AF_UNIX && s.Type == unix.SOCK_RAW {
		s.Type = unix.SOCK_DGRAM // the kernel makes no difference
	}
	return s, nil
}

// socketpair is socketpair: two sockets, and then their connection, for which
// every family has a hook but only few a way.
func socketpair(d *Deriver, c *Call) error {
	var b [8]byte
	if err := d.lens.Read(c.Task, c.Args[3], b[:]); err != nil {
		return unreadable(err)
	}
	s, err := d.createSocket(c)
	if err != nil {
		return err
	}
	if s, err = makeable(s); err != nil {
		return err
	}
	if _, err = d.createSocket(c); err != nil {
		return err
	}
	s.Owner = c.Task.TaskID
	d.shared.Sockets.Begin(c.Task, 2, s)
	d.emit(tsem.SocketSocketpair, &tsem.SockPairCell{First: s, Second: s})
	return nil
}

// makeable tells whether the kernel makes such a socket, and which protocol it
// then has. Only AF_UNIX is known by heart.
func makeable(s tsem.Sock) (tsem.Sock, error) {
	if s.Family == unix.AF_UNIX {
		switch {
		case s.Protocol != 0 && s.Protocol != unix.AF_UNIX:
			return s, unix.EPROTONOSUPPORT
		case s.Type != unix.SOCK_STREAM && s.Type != unix.SOCK_DGRAM && s.Type != unix.SOCK_SEQPACKET:
			return s, unix.ESOCKTNOSUPPORT
		}
		s.Protocol = 0
		return s, nil
	}
	fd, err := unix.Socket(int(s.Family), int(s.Type)|unix.SOCK_CLOEXEC, int(s.Protocol))
	if err != nil {
		return s, err
	}
	defer unix.Close(fd)
	if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err == nil {
		s.Protocol = int32(v)
	}
	return s, nil
}

// sockaddr reads a socket address argument.
func (d *Deriver) sockaddr(c *Call, addr, size uint64) ([]byte, error) {
	n := int32(uint32(size))
	if n < 0 || n > sockaddrMax {
		return nil, unix.EINVAL
	}
	b := make([]byte, n)
	if n == 0 {
		return b, nil
	}
	return b, unreadable(d.lens.Read(c.Task, addr, b))
}

// connect is connect.
func connect(d *Deriver, c *Call) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	sa, err := d.sockaddr(c, c.Args[1], c.Args[2])
	if err != nil {
		return err
	}
	d.emit(tsem.SocketConnect, &tsem.SockAddrCell{Sock: s.Sock, Addr: d.address(s.Family, sa)})
	if s.Family == unix.AF_UNIX {
		return d.unixConnect(c, s, sa)
	}
	return nil
}

// bind is bind. A path in AF_UNIX also makes a node in the file system.
func bind(d *Deriver, c *Call) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	sa, err := d.sockaddr(c, c.Args[1], c.Args[2])
	if err != nil {
		return err
	}
	d.emit(tsem.SocketBind, &tsem.SockAddrCell{Sock: s.Sock, Addr: d.address(s.Family, sa)})
	if s.Family != unix.AF_UNIX || len(sa) <= 2 || sa[2] == 0 || binary.NativeEndian.Uint16(sa) != unix.AF_UNIX {
		return nil
	}
	return d.bindPath(c, sa[2:])
}

// bindPath derives the node that binding to a path makes.
func (d *Deriver) bindPath(c *Call, path []byte) error {
	path, _, _ = bytes.Cut(path, []byte{0})
	dir, o := &d.objects[0], &d.objects[1]
	last, err := d.lens.Parent(c.Task, unix.AT_FDCWD, path, dir)
	if err != nil {
		return err
	}
	if !ordinary(last.Name) || last.Slash {
		return unix.EEXIST
	}
	if err := d.lens.Child(c.Task, dir, last.Name, o); err != unix.ENOENT {
		return unix.EEXIST
	}
	if !d.mayChange(c, dir) {
		return unix.EACCES
	}
	// The mode is that of the socket's own inode, less the umask.
	mode := uint32(0o777)
	var sock proc.Object
	if d.lens.Descriptor(c.Task, c.arg(0), &sock) == nil {
		mode = uint32(sock.Stat.Mode) & 0o7777
		sock.Close()
	}
	d.lens.Refresh(c.Task)
	mode = unix.S_IFSOCK | mode&^c.Task.Status.Umask
	d.emit(tsem.InodeMknod, &tsem.MknodCell{Dir: d.inode(c, dir), Dentry: d.entry(c, dir, last.Name), Mode: mode})
	return nil
}

// listen is listen.
func listen(d *Deriver, c *Call) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	backlog := c.arg(1)
	if limit := somaxconn(); uint32(backlog) > uint32(limit) {
		backlog = limit
	}
	d.emit(tsem.SocketListen, &tsem.ListenCell{Sock: s.Sock, Backlog: backlog})
	return nil
}

// accept is accept and accept4: the event describes the listening socket.
func accept(d *Deriver, c *Call) error {
	if c.Row.flags >= 0 && c.arg(c.Row.flags)&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 {
		return unix.EINVAL
	}
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	d.emit(tsem.SocketAccept, &tsem.SockAddrCell{Sock: s.Sock, Addr: d.localAddress(c, s)})
	return nil
}

// getsockname is getsockname.
func getsockname(d *Deriver, c *Call) error { return d.onSocket(c, tsem.SocketGetsockname) }

// getpeername is getpeername.
func getpeername(d *Deriver, c *Call) error { return d.onSocket(c, tsem.SocketGetpeername) }

func (d *Deriver) onSocket(c *Call, kind tsem.Type) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	d.emit(kind, &tsem.SockCell{Sock: s.Sock})
	return nil
}

// setsockopt is setsockopt.
func setsockopt(d *Deriver, c *Call) error {
	if c.arg(4) < 0 {
		return unix.EINVAL
	}
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	d.emit(tsem.SocketSetsockopt, &tsem.SetsockoptCell{Sock: s.Sock, Level: c.arg(1), Optname: c.arg(2)})
	return nil
}

// shutdown is shutdown.
func shutdown(d *Deriver, c *Call) error {
	s, err := d.shared.Sockets.Find(d.lens, c.Task, c.arg(0))
	if err != nil {
		return err
	}
	d.emit(tsem.SocketShutdown, &tsem.ShutdownCell{Sock: s.Sock, How: c.arg(1)})
	return nil
}

func (d *Deriver) address(family int32, sa []byte) tsem.Addr {
	return Address(d.opts.Algorithm, family, sa)
}

// Address describes an address given for a socket of family, in the numbers of
// TSEM: ports and IPv4 addresses as the network's bytes read as a number of
// the host.
func Address(alg *tsem.Algorithm, family int32, sa []byte) tsem.Addr {
	padded := make([]byte, sockaddrMax)
	copy(padded, sa)
	switch family {
	case unix.AF_INET:
		return tsem.Addr{
			Family:  tsem.AddrInet,
			Port:    binary.NativeEndian.Uint16(padded[2:]),
			Address: binary.NativeEndian.Uint32(padded[4:]),
		}
	case unix.AF_INET6:
		a := tsem.Addr{
			Family: tsem.AddrInet6,
			Port:   binary.NativeEndian.Uint16(padded[2:]),
			Flow:   binary.NativeEndian.Uint32(padded[4:]),
			Scope:  binary.NativeEndian.Uint32(padded[24:]),
		}
		copy(a.Address6[:], padded[8:])
		return a
	case unix.AF_UNIX:
		return tsem.Addr{Family: tsem.AddrUnix, Path: unixPath(sa)}
	}
	h := alg.New()
	if len(sa) > 2 {
		h.Write(sa[2:])
	}
	return tsem.Addr{Family: tsem.AddrOther, Digest: h.Sum(nil)}
}

// unixPath is the path of an AF_UNIX address as TSEM copies it: one byte is
// kept for the end, and an abstract name, which begins with NUL, is empty.
func unixPath(sa []byte) []byte {
	if len(sa) <= 3 {
		return nil
	}
	path, _, _ := bytes.Cut(sa[2:len(sa)-1], []byte{0})
	return path
}

// localAddress is the address a listening socket is bound to. Here TSEM gives
// the port in host order, and neither flow nor scope.
func (d *Deriver) localAddress(c *Call, s *Socket) tsem.Addr {
	switch sa := d.shared.Sockets.Name(c.Task, c.arg(0), s).(type) {
	case *unix.SockaddrInet4:
		return tsem.Addr{Family: tsem.AddrInet, Port: uint16(sa.Port), Address: binary.NativeEndian.Uint32(sa.Addr[:])}
	case *unix.SockaddrInet6:
		return tsem.Addr{Family: tsem.AddrInet6Short, Port: uint16(sa.Port), Address6: sa.Addr}
	case *unix.SockaddrUnix:
		if len(sa.Name) > 0 && sa.Name[0] != '@' {
			return tsem.Addr{Family: tsem.AddrUnix, Path: []byte(sa.Name)}
		}
		return tsem.Addr{Family: tsem.AddrUnix}
	}
	switch s.Family {
	case unix.AF_INET:
		return tsem.Addr{Family: tsem.AddrInet}
	case unix.AF_INET6:
		return tsem.Addr{Family: tsem.AddrInet6Short}
	case unix.AF_UNIX:
		return tsem.Addr{Family: tsem.AddrUnix}
	}
	return tsem.Addr{Family: tsem.AddrOther, Digest: d.opts.Algorithm.Zero()}
}
