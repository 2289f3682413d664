// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// SocketCreateCell is the cell of socket_create.
type SocketCreateCell struct {
	Family   uint32
	Type     uint32
	Protocol uint32
	Kern     uint32 // 1 if the kernel makes it for itself
}

func (c *SocketCreateCell) appendTo(b []byte, _ Type) []byte {
	b = appendUint(append(b, `{"family": "`...), uint64(c.Family))
	b = appendUint(append(b, `", "type": "`...), uint64(c.Type))
	b = appendUint(append(b, `", "protocol": "`...), uint64(c.Protocol))
	b = appendUint(append(b, `", "kern": "`...), uint64(c.Kern))
	return append(b, `"}`...)
}

func (c *SocketCreateCell) read(p *Parser, _ Type) {
	*c = SocketCreateCell{}
	for at := p.begin(); p.more(&at); {
		p.u32("family", &c.Family)
		p.u32("type", &c.Type)
		p.u32("protocol", &c.Protocol)
		p.u32("kern", &c.Kern)
	}
}

// SockAddrCell is the cell of socket_connect, socket_bind, socket_accept,
// socket_sendmsg and socket_recvmsg. The form of the address follows the
// family of the socket; in a message there may be none.
type SockAddrCell struct {
	Sock Sock
	Addr Addr
}

func (c *SockAddrCell) appendTo(b []byte, _ Type) []byte {
	b = c.Sock.appendTo(append(b, `{"sock": `...))
	if c.Addr.Family != AddrNone {
		b = c.Addr.appendTo(append(b, `, "addr": `...))
	}
	return append(b, '}')
}

func (c *SockAddrCell) read(p *Parser, _ Type) {
	*c = SockAddrCell{}
	for at := p.begin(); p.more(&at); {
		p.sock("sock", &c.Sock)
		p.addr("addr", &c.Addr)
	}
}

// ListenCell is the cell of socket_listen.
type ListenCell struct {
	Sock    Sock
	Backlog int32
}

func (c *ListenCell) appendTo(b []byte, _ Type) []byte {
	b = c.Sock.appendTo(append(b, `{"sock": `...))
	b = appendInt(append(b, `, "backlog": "`...), int64(c.Backlog))
	return append(b, `"}`...)
}

func (c *ListenCell) read(p *Parser, _ Type) {
	*c = ListenCell{}
	for at := p.begin(); p.more(&at); {
		p.sock("sock", &c.Sock)
		p.i32("backlog", &c.Backlog)
	}
}

// ShutdownCell is the cell of socket_shutdown.
type ShutdownCell struct {
	Sock Sock
	How  int32
}

func (c *ShutdownCell) appendTo(b []byte, _ Type) []byte {
	b = c.Sock.appendTo(append(b, `{"sock": `...))
	b = appendInt(append(b, `, "how": "`...), int64(c.How))
	return append(b, `"}`...)
}

func (c *ShutdownCell) read(p *Parser, _ Type) {
	*c = ShutdownCell{}
	for at := p.begin(); p.more(&at); {
		p.sock("sock", &c.Sock)
		p.i32("how", &c.How)
	}
}

// SetsockoptCell is the cell of socket_setsockopt.
type SetsockoptCell struct {
	Sock    Sock
	Level   int32
	Optname int32
}

func (c *SetsockoptCell) appendTo(b []byte, _ Type) []byte {
	b = c.Sock.appendTo(append(b, `{"sock": `...))
	b = appendInt(append(b, `, "level": "`...), int64(c.Level))
	b = appendInt(append(b, `", "optname": "`...), int64(c.Optname))
	return append(b, `"}`...)
}

func (c *SetsockoptCell) read(p *Parser, _ Type) {
	*c = SetsockoptCell{}
	for at := p.begin(); p.more(&at); {
		p.sock("sock", &c.Sock)
		p.i32("level", &c.Level)
		p.i32("optname", &c.Optname)
	}
}

// SockCell is the cell of socket_getsockname, socket_getpeername and tun_dev_attach_queue.
type SockCell struct {
	Sock Sock
}

func (c *SockCell) appendTo(b []byte, _ Type) []byte {
	b = c.Sock.appendTo(append(b, `{"sock": `...))
	return append(b, '}')
}

func (c *SockCell) read(p *Parser, _ Type) {
	*c = SockCell{}
	for at := p.begin(); p.more(&at); {
		p.sock("sock", &c.Sock)
	}
}

// SockPairCell is the cell of unix_stream_connect and unix_may_send (sock, other) and of
// socket_socketpair (socka, sockb).
type SockPairCell struct{ First, Second Sock }

func (c *SockPairCell) appendTo(b []byte, t Type) []byte {
	names := &t.Info().names
	b = append(append(b, `{"`...), names[0]...)
	b = c.First.appendTo(append(b, `": `...))
	b = append(append(b, `, "`...), names[1]...)
	b = c.Second.appendTo(append(b, `": `...))
	return append(b, '}')
}

func (c *SockPairCell) read(p *Parser, t Type) {
	names := &t.Info().names
	*c = SockPairCell{}
	for at := p.begin(); p.more(&at); {
		p.sock(names[0], &c.First)
		p.sock(names[1], &c.Second)
	}
}

// NetlinkCell is the cell of netlink_send.
type NetlinkCell struct {
	Sock     Sock
	UID      uint32
	GID      uint32
	PortID   uint32
	DstGroup uint32
	Flags    uint32
	NSIDSet  uint32
	NSID     int32
}

func (c *NetlinkCell) appendTo(b []byte, _ Type) []byte {
	b = c.Sock.appendTo(append(b, `{"sock": `...))
	b = appendUint(append(b, `, "uid": "`...), uint64(c.UID))
	b = appendUint(append(b, `", "gid": "`...), uint64(c.GID))
	b = appendUint(append(b, `", "portid": "`...), uint64(c.PortID))
	b = appendUint(append(b, `", "dst_group": "`...), uint64(c.DstGroup))
	b = appendUint(append(b, `", "flags": "`...), uint64(c.Flags))
	b = appendUint(append(b, `", "nsid_set": "`...), uint64(c.NSIDSet))
	b = appendInt(append(b, `", "nsid": "`...), int64(c.NSID))
	return append(b, `"}`...)
}

func (c *NetlinkCell) read(p *Parser, _ Type) {
	*c = NetlinkCell{}
	for at := p.begin(); p.more(&at); {
		p.sock("sock", &c.Sock)
		p.u32("uid", &c.UID)
		p.u32("gid", &c.GID)
		p.u32("portid", &c.PortID)
		p.u32("dst_group", &c.DstGroup)
		p.u32("flags", &c.Flags)
		p.u32("nsid_set", &c.NSIDSet)
		p.i32("nsid", &c.NSID)
	}
}
