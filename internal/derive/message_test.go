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

// socket makes a socket that counts as the task's. (How one is found that was
// just made cannot be tried within one process: the deriver's descriptors would
// be among the task's.)
func (c *caller) socket(family, kind, protocol int) int {
	c.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		c.Skip("needs sockets of family", family, ":", err)
	}
	c.Cleanup(func() { unix.Close(fd) })
	c.owns(fd)
	return fd
}

// owns makes the socket at fd the task's.
func (c *caller) owns(fd int) {
	c.Helper()
	ino, err := socketInode(c.task.TID, int32(fd))
	if err != nil {
		c.Fatal(err)
	}
	s := c.d.shared.Sockets
	made, _ := describe(c.task, int32(fd), tsem.Sock{Owner: c.task.TaskID})
	s.remember(ino, made)
}

// ownSocket describes a socket that the task has made.
func (c *caller) ownSocket(family, kind, protocol int32) tsem.Sock {
	return tsem.Sock{Family: family, Type: kind, Protocol: protocol, Owner: c.task.TaskID}
}

// othersSocket describes a socket that nobody of the context has made.
func (c *caller) othersSocket(family, kind, protocol int32) tsem.Sock {
	return tsem.Sock{Family: family, Type: kind, Protocol: protocol, Owner: c.d.opts.Algorithm.Zero()}
}

// inet is a struct sockaddr_in of 127.0.0.1.
func inet(port uint16) []byte {
	b := make([]byte, 16)
	binary.NativeEndian.PutUint16(b, unix.AF_INET)
	binary.BigEndian.PutUint16(b[2:], port)
	copy(b[4:], []byte{127, 0, 0, 1})
	return b
}

// networkPort is how TSEM writes a port: its bytes as the host reads them.
func networkPort(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

var loopback = binary.NativeEndian.Uint32([]byte{127, 0, 0, 1})

// header is a struct msghdr with one buffer.
func (c *caller) header(name []byte, size int) []byte {
	order := binary.NativeEndian
	var vector []byte
	vector = order.AppendUint64(vector, c.bytes(make([]byte, max(size, 1))))
	vector = order.AppendUint64(vector, uint64(size))
	var b []byte
	if name == nil {
		b = append(b, make([]byte, 16)...)
	} else {
		b = order.AppendUint64(b, c.bytes(name))
		b = order.AppendUint64(b, uint64(len(name)))
	}
	b = order.AppendUint64(b, c.bytes(vector))
	b = order.AppendUint64(b, 1)
	return append(b, make([]byte, 24)...)
}

func TestSocketpair(t *testing.T) {
	c := newCaller(t)
	fds := make([]byte, 8)
	const kind = unix.SOCK_STREAM | unix.SOCK_CLOEXEC
	events, _ := c.do(unix.SYS_SOCKETPAIR, "socketpair", unix.AF_UNIX, kind, 0, c.bytes(fds))
	create := Event{tsem.SocketCreate, &tsem.SocketCreateCell{Family: unix.AF_UNIX, Type: unix.SOCK_STREAM}}
	sock := c.ownSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	c.want(events, create, create, Event{tsem.SocketSocketpair, &tsem.SockPairCell{First: sock, Second: sock}})
	for i := range 2 {
		unix.Close(int(binary.NativeEndian.Uint32(fds[4*i:])))
	}
}

func TestSocketpairThatFails(t *testing.T) {
	c := newCaller(t)
	fds := c.bytes(make([]byte, 8))
	create := func(family, kind, protocol uint32) Event {
		return Event{tsem.SocketCreate, &tsem.SocketCreateCell{Family: family, Type: kind, Protocol: protocol}}
	}
	// Behind the hook the family turns out to have no pairs.
	sock := c.ownSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	c.want(c.derive("socketpair", unix.AF_INET, unix.SOCK_STREAM, 0, fds), create(2, 1, 0), create(2, 1, 0),
		Event{tsem.SocketSocketpair, &tsem.SockPairCell{First: sock, Second: sock}})
	c.d.Undo(c.task)
	// The first of the two cannot be made.
	c.want(c.derive("socketpair", unix.AF_UNIX, unix.SOCK_STREAM, 7, fds), create(1, 1, 7))
	c.want(c.derive("socketpair", unix.AF_UNIX, unix.SOCK_RDM, 0, fds), create(1, unix.SOCK_RDM, 0))
	// Not even begun.
	c.want(c.derive("socketpair", unix.AF_UNIX, unix.SOCK_STREAM|0x10000, 0, fds))
	c.want(c.derive("socketpair", 99, unix.SOCK_STREAM, 0, fds))
	c.want(c.derive("socketpair", unix.AF_UNIX, unix.SOCK_STREAM, 0, 8))
}

func TestQuestionsToASocket(t *testing.T) {
	c := newCaller(t)
	fd := uint64(c.socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	sock := c.ownSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	c.want(c.derive("getsockname", fd, 8, 8), Event{tsem.SocketGetsockname, &tsem.SockCell{Sock: sock}})
	// Whether it is connected is not looked at before the hook.
	c.want(c.derive("getpeername", fd, 8, 8), Event{tsem.SocketGetpeername, &tsem.SockCell{Sock: sock}})
	c.want(c.derive("shutdown", fd, 1), Event{tsem.SocketShutdown, &tsem.ShutdownCell{Sock: sock, How: 1}})
	c.want(c.derive("setsockopt", fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, c.bytes(make([]byte, 4)), 4),
		Event{tsem.SocketSetsockopt, &tsem.SetsockoptCell{Sock: sock, Level: 1, Optname: 2}})
	minus := uint32(0xffffffff)
	c.want(c.derive("setsockopt", fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0, uint64(minus)))

	outside, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs IPv6:", err)
	}
	defer unix.Close(outside)
	sock = c.othersSocket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	c.want(c.derive("shutdown", uint64(outside), 2), Event{tsem.SocketShutdown, &tsem.ShutdownCell{Sock: sock, How: 2}})

	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, fd := range []uint64{uint64(file.Fd()), 9999} {
		c.want(c.derive("getsockname", fd, 8, 8))
		c.want(c.derive("shutdown", fd, 0))
	}
}

func TestSend(t *testing.T) {
	c := newCaller(t)
	fd := uint64(c.socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	sock := c.ownSocket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	data := c.bytes([]byte("x"))
	to := Event{tsem.SocketSendmsg, &tsem.SockAddrCell{Sock: sock, Addr: tsem.Addr{
		Family: tsem.AddrInet, Port: networkPort(443), Address: loopback,
	}}}
	other := Event{tsem.SocketSendmsg, &tsem.SockAddrCell{Sock: sock, Addr: tsem.Addr{
		Family: tsem.AddrInet, Port: networkPort(444), Address: loopback,
	}}}
	nowhere := Event{tsem.SocketSendmsg, &tsem.SockAddrCell{Sock: sock}}

	c.want(c.derive("sendto", fd, data, 1, 0, c.bytes(inet(443)), 16), to)
	c.want(c.derive("sendto", fd, data, 1, 0, 0, 0), nowhere)
	c.want(c.derive("sendto", fd, data, 1, 0, c.bytes(inet(443)), 200)) // longer than any address
	c.want(c.derive("sendto", fd, data, 1, 0, 8, 16))

	c.want(c.derive("sendmsg", fd, c.bytes(c.header(inet(443), 1)), 0), to)
	c.want(c.derive("sendmsg", fd, c.bytes(c.header(nil, 1)), 0), nowhere)
	c.want(c.derive("sendmsg", fd, c.bytes(c.header(nil, 1)), cmsgCompat))
	c.want(c.derive("sendmsg", fd, 8, 0))

	// The same address is asked about once as long as it does not change.
	var many []byte
	for _, name := range [][]byte{inet(443), inet(443), inet(444), nil, nil} {
		many = append(append(many, c.header(name, 1)...), make([]byte, 8)...)
	}
	c.want(c.derive("sendmmsg", fd, c.bytes(many), 5, 0), to, other, nowhere, nowhere)
	c.want(c.derive("sendmmsg", fd, c.bytes(many), 0, 0))
}

func TestSendOverIPv6(t *testing.T) {
	c := newCaller(t)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("needs IPv6:", err)
	}
	defer unix.Close(fd)
	name := make([]byte, 28)
	binary.NativeEndian.PutUint16(name, unix.AF_INET6)
	binary.BigEndian.PutUint16(name[2:], 443)
	name[4], name[23], name[24] = 1, 1, 1 // flow, address, scope
	addr := tsem.Addr{Family: tsem.AddrInet6Short, Port: networkPort(443)}
	addr.Address6[15] = 1
	c.want(c.derive("sendto", uint64(fd), c.bytes([]byte("x")), 1, 0, c.bytes(name), 28), Event{tsem.SocketSendmsg,
		&tsem.SockAddrCell{Sock: c.othersSocket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP), Addr: addr}})
}

func TestReceive(t *testing.T) {
	c := newCaller(t)
	fd := uint64(c.socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	one := Event{tsem.SocketRecvmsg, &tsem.SockAddrCell{Sock: c.ownSocket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP)}}
	room := c.bytes(make([]byte, 128))
	// Room for an address is no address.
	c.want(c.derive("recvfrom", fd, room, 10, 0, room, c.bytes([]byte{128, 0, 0, 0})), one)
	c.want(c.derive("recvmsg", fd, c.bytes(c.header(make([]byte, 128), 1)), 0), one)
	c.want(c.derive("recvmsg", fd, 8, 0))
	c.want(c.derive("recvmsg", 9999, c.bytes(c.header(nil, 1)), 0))

	many := append(append(c.header(nil, 1), make([]byte, 8)...), append(c.header(nil, 1), make([]byte, 8)...)...)
	c.want(c.derive("recvmmsg", fd, c.bytes(many), 2, 0, 0), one)
	c.want(c.derive("recvmmsg", fd, c.bytes(many), 0, 0, 0))
	late := make([]byte, 16)
	binary.NativeEndian.PutUint64(late[8:], 1e9)
	c.want(c.derive("recvmmsg", fd, c.bytes(many), 2, 0, c.bytes(late)))
}

// The structures of 32-bit programs are made of smaller words.
func TestMessagesOf32BitPrograms(t *testing.T) {
	c := newCaller(t)
	fd := c.socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	low := c.low()
	order := binary.NativeEndian
	name := low.put(inet(443))
	vector := low.put(order.AppendUint32(order.AppendUint32(nil, name), 16))
	var b []byte
	for _, w := range []uint32{name, 16, vector, 1, 0, 0, 0} {
		b = order.AppendUint32(b, w)
	}
	header := low.put(b)
	call := &Call{Task: c.task, Row: c.rows["sendmsg"], Compat: true, Args: [6]uint64{uint64(fd), uint64(header)}}
	c.want(c.d.Derive(call).Events, Event{tsem.SocketSendmsg, &tsem.SockAddrCell{
		Sock: c.ownSocket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP),
		Addr: tsem.Addr{Family: tsem.AddrInet, Port: networkPort(443), Address: loopback},
	}})
	args := low.put(order.AppendUint32(order.AppendUint32(nil, uint32(fd)), 1))
	call = &Call{Task: c.task, Row: c.rows["socketcall"], Compat: true, Args: [6]uint64{13, uint64(args)}}
	c.want(c.d.Derive(call).Events, Event{tsem.SocketShutdown, &tsem.ShutdownCell{
		Sock: c.ownSocket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP), How: 1,
	}})
}

// lowMemory is memory where a 32-bit program could have it.
type lowMemory struct {
	t        testing.TB
	at, used uint64
}

func (c *caller) low() *lowMemory {
	c.Helper()
	const size = 4096
	p, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|mapLow)
	if err != nil || uint64(uintptr(p)) >= 1<<32 {
		c.Skip("needs memory below 4 GiB")
	}
	c.Cleanup(func() { unix.MunmapPtr(p, size) })
	return &lowMemory{t: c.TB, at: uint64(uintptr(p))}
}

// put copies b there and returns its address.
func (m *lowMemory) put(b []byte) uint32 {
	m.t.Helper()
	at := m.at + m.used
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}
	if _, err := unix.ProcessVMWritev(os.Getpid(), local, remote, 0); err != nil {
		m.t.Fatal(err)
	}
	m.used += uint64(len(b)+7) &^ 7
	return uint32(at)
}

// mapLow is MAP_32BIT, which only x86 has.
const mapLow = 0x40
