// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// rawAddr is a socket address as bytes: the family, and what is behind it.
func rawAddr(family uint16, rest ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, family), rest...)
}

func inet(port uint16, a, b, c, d byte) []byte {
	return append(binary.BigEndian.AppendUint16(rawAddr(unix.AF_INET), port), a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0)
}

func inet6(port uint16, flow, scope uint32, last byte) []byte {
	b := binary.BigEndian.AppendUint16(rawAddr(unix.AF_INET6), port)
	b = binary.NativeEndian.AppendUint32(b, flow)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last)
	return binary.NativeEndian.AppendUint32(b, scope)
}

// onSocket is bind or connect with an address of bytes.
func onSocket(call uintptr, fd int, sa []byte) error {
	_, _, errno := unix.Syscall(call, uintptr(fd), addr(sa), uintptr(len(sa)))
	return zero(errno)
}

func newSocket(family, kind, protocol int) func(string) (int, error) {
	return func(string) (int, error) { return unix.Socket(family, kind, protocol) }
}

func boundTo(sa []byte) func(string, int) error {
	return func(_ string, fd int) error { return onSocket(unix.SYS_BIND, fd, sa) }
}

func connectedTo(sa []byte) func(string, int) error {
	return func(_ string, fd int) error { return onSocket(unix.SYS_CONNECT, fd, sa) }
}

// networkOrder is a port as TSEM writes it: its two bytes read as a number of
// the host.
func networkOrder(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

func (s *scene) sock(family, kind, protocol int32) tsem.Sock {
	return tsem.Sock{Family: family, Type: kind, Protocol: protocol, Owner: s.taskID}
}

func madeSocket(family, kind, protocol uint32) func(*scene) []record {
	return func(*scene) []record {
		return []record{{tsem.SocketCreate, &tsem.SocketCreateCell{Family: family, Type: kind, Protocol: protocol}}}
	}
}

// addressed wants one bind or connect.
func addressed(kind tsem.Type, family, typ, protocol int32, a tsem.Addr) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{kind, &tsem.SockAddrCell{Sock: s.sock(family, typ, protocol), Addr: a}}}
	}
}

func makesSocket(family, kind, protocol int) func(string, int) error {
	return func(string, int) error {
		_, err := unix.Socket(family, kind, protocol)
		return err
	}
}

// listening makes a socket that listens at an address.
func listening(family int, sa []byte) func(string) (int, error) {
	return func(string) (int, error) {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err == nil {
			err = onSocket(unix.SYS_BIND, fd, sa)
		}
		if err == nil {
			err = unix.Listen(fd, 3)
		}
		return fd, err
	}
}

func accepts(_ string, fd int) error {
	_, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	return err
}

var (
	loopback6 = [16]byte{15: 1}
	netlink   = rawAddr(unix.AF_NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
)

func otherDigest(sa []byte) tsem.Digest {
	d := sha256.Sum256(sa[2:])
	return d[:]
}

var socketActs = []act{
	{name: "inet stream", do: makesSocket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0), want: madeSocket(unix.AF_INET, unix.SOCK_STREAM, 0)},
	{name: "inet6 datagram", do: makesSocket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP), want: madeSocket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP)},
	{name: "raw", do: makesSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), want: madeSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
	{name: "unix", do: makesSocket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), want: madeSocket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)},
	{name: "netlink", do: makesSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), want: madeSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)},
	{name: "a wrong protocol", do: makesSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP), errno: unix.EPROTONOSUPPORT, want: madeSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP)},
	{name: "no family", do: makesSocket(99, unix.SOCK_STREAM, 0), errno: unix.EAFNOSUPPORT, want: none},
	{name: "no type", do: makesSocket(unix.AF_INET, 15, 0), errno: unix.EINVAL, want: none},
	{name: "strange flags", do: makesSocket(unix.AF_INET, 1|0x100, 0), errno: unix.EINVAL, want: none},

	{name: "bind inet", before: newSocket(unix.AF_INET, unix.SOCK_STREAM, 0), do: boundTo(inet(0, 127, 0, 0, 1)),
		want: addressed(tsem.SocketBind, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP,
			tsem.Addr{Family: tsem.AddrInet, Address: binary.NativeEndian.Uint32([]byte{127, 0, 0, 1})})},
	{name: "bind inet to a port", before: newSocket(unix.AF_INET, unix.SOCK_DGRAM, 0), do: boundTo(inet(45991, 127, 0, 0, 2)),
		want: addressed(tsem.SocketBind, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP,
			tsem.Addr{Family: tsem.AddrInet, Port: networkOrder(45991), Address: binary.NativeEndian.Uint32([]byte{127, 0, 0, 2})})},
	{name: "bind inet6", before: newSocket(unix.AF_INET6, unix.SOCK_STREAM, 0), do: boundTo(inet6(45992, 7, 0, 1)),
		want: addressed(tsem.SocketBind, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP,
			tsem.Addr{Family: tsem.AddrInet6, Port: networkOrder(45992), Flow: 7, Address6: loopback6})},
	{name: "bind netlink", before: newSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), do: boundTo(netlink),
		want: addressed(tsem.SocketBind, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE,
			tsem.Addr{Family: tsem.AddrOther, Digest: otherDigest(netlink)})},
	{name: "bind abstract", before: newSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0), do: boundTo(rawAddr(unix.AF_UNIX, []byte("\x00quixote-test-bind")...)),
		want: addressed(tsem.SocketBind, unix.AF_UNIX, unix.SOCK_STREAM, 0, tsem.Addr{Family: tsem.AddrUnix})},
	{name: "bind unix", before: newSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0), do: func(dir string, fd int) error {
		return onSocket(unix.SYS_BIND, fd, rawAddr(unix.AF_UNIX, []byte(dir+"/s\x00")...))
	}, want: func(s *scene) []record {
		return []record{
			{tsem.SocketBind, &tsem.SockAddrCell{Sock: s.sock(unix.AF_UNIX, unix.SOCK_STREAM, 0),
				Addr: tsem.Addr{Family: tsem.AddrUnix, Path: []byte(s.path("s"))}}},
			{tsem.InodeMknod, &tsem.MknodCell{Dir: s.inode(""), Dentry: s.newName("s"), Mode: unix.S_IFSOCK | 0o755}},
		}
	}},
	{name: "bind unix without its end", before: newSocket(unix.AF_UNIX, unix.SOCK_DGRAM, 0), do: func(dir string, fd int) error {
		return onSocket(unix.SYS_BIND, fd, rawAddr(unix.AF_UNIX, []byte(dir+"/sock")...))
	}, want: func(s *scene) []record {
		return []record{
			{tsem.SocketBind, &tsem.SockAddrCell{Sock: s.sock(unix.AF_UNIX, unix.SOCK_DGRAM, 0),
				Addr: tsem.Addr{Family: tsem.AddrUnix, Path: []byte(s.path("soc"))}}},
			{tsem.InodeMknod, &tsem.MknodCell{Dir: s.inode(""), Dentry: s.newName("sock"), Mode: unix.S_IFSOCK | 0o755}},
		}
	}},
	{name: "bind unix where something is", prepare: withFile, before: newSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0), do: func(dir string, fd int) error {
		return onSocket(unix.SYS_BIND, fd, rawAddr(unix.AF_UNIX, []byte(dir+"/f\x00")...))
	}, errno: unix.EADDRINUSE, want: func(s *scene) []record {
		return addressed(tsem.SocketBind, unix.AF_UNIX, unix.SOCK_STREAM, 0, tsem.Addr{Family: tsem.AddrUnix, Path: []byte(s.path("f"))})(s)
	}},
	{name: "bind a file", prepare: withFile, before: openF(0), do: boundTo(inet(0, 127, 0, 0, 1)), errno: unix.ENOTSOCK, want: none},
	{name: "bind nothing", do: boundTo(inet(0, 127, 0, 0, 1)), errno: unix.EBADF, want: none},
	{name: "bind to too long an address", before: newSocket(unix.AF_INET, unix.SOCK_STREAM, 0), do: boundTo(make([]byte, 129)), errno: unix.EINVAL, want: none},

	{name: "connect inet", before: newSocket(unix.AF_INET, unix.SOCK_STREAM, 0), do: connectedTo(inet(1, 127, 0, 0, 1)), errno: unix.ECONNREFUSED,
		want: addressed(tsem.SocketConnect, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP,
			tsem.Addr{Family: tsem.AddrInet, Port: networkOrder(1), Address: binary.NativeEndian.Uint32([]byte{127, 0, 0, 1})})},
	{name: "connect inet6", before: newSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0), do: connectedTo(inet6(443, 0, 1, 1)),
		want: addressed(tsem.SocketConnect, unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP,
			tsem.Addr{Family: tsem.AddrInet6, Port: networkOrder(443), Scope: 1, Address6: loopback6})},
	{name: "connect netlink", before: newSocket(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_ROUTE), do: connectedTo(netlink),
		want: addressed(tsem.SocketConnect, unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_ROUTE,
			tsem.Addr{Family: tsem.AddrOther, Digest: otherDigest(netlink)})},
	{name: "connect unix to nothing", before: newSocket(unix.AF_UNIX, unix.SOCK_STREAM, 0), do: func(dir string, fd int) error {
		return onSocket(unix.SYS_CONNECT, fd, rawAddr(unix.AF_UNIX, []byte(dir+"/absent\x00")...))
	}, errno: unix.ENOENT, want: func(s *scene) []record {
		return addressed(tsem.SocketConnect, unix.AF_UNIX, unix.SOCK_STREAM, 0, tsem.Addr{Family: tsem.AddrUnix, Path: []byte(s.path("absent"))})(s)
	}},
	{name: "connect abstract", before: func(string) (int, error) {
		if _, err := listening(unix.AF_UNIX, rawAddr(unix.AF_UNIX, []byte("\x00quixote-test-connect")...))(""); err != nil {
			return -1, err
		}
		return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	}, do: connectedTo(rawAddr(unix.AF_UNIX, []byte("\x00quixote-test-connect")...)), want: func(s *scene) []record {
		sock := s.sock(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return []record{
			{tsem.SocketConnect, &tsem.SockAddrCell{Sock: sock, Addr: tsem.Addr{Family: tsem.AddrUnix}}},
			{tsem.UnixStreamConnect, &tsem.SockPairCell{First: sock, Second: sock}},
		}
	}},

	{name: "listen", before: newSocket(unix.AF_INET, unix.SOCK_STREAM, 0), do: func(_ string, fd int) error { return unix.Listen(fd, 7) }, want: listened(unix.AF_INET, unix.IPPROTO_TCP, 7)},
	{name: "listen with a large backlog", before: newSocket(unix.AF_INET6, unix.SOCK_STREAM, 0), do: func(_ string, fd int) error { return unix.Listen(fd, 1<<30) }, want: listened(unix.AF_INET6, unix.IPPROTO_TCP, -1)},
	{name: "listen with a negative backlog", before: newSocket(unix.AF_INET, unix.SOCK_STREAM, 0), do: func(_ string, fd int) error { return unix.Listen(fd, -1) }, want: listened(unix.AF_INET, unix.IPPROTO_TCP, -1)},

	{name: "accept inet", before: listening(unix.AF_INET, inet(45993, 127, 0, 0, 1)), do: accepts, errno: unix.EAGAIN,
		want: addressed(tsem.SocketAccept, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP,
			tsem.Addr{Family: tsem.AddrInet, Port: 45993, Address: binary.NativeEndian.Uint32([]byte{127, 0, 0, 1})})},
	{name: "accept inet6", before: listening(unix.AF_INET6, inet6(45994, 0, 0, 1)), do: accepts, errno: unix.EAGAIN,
		want: addressed(tsem.SocketAccept, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP,
			tsem.Addr{Family: tsem.AddrInet6Short, Port: 45994, Address6: loopback6})},
	{name: "accept abstract", before: listening(unix.AF_UNIX, rawAddr(unix.AF_UNIX, []byte("\x00quixote-test-accept")...)), do: accepts, errno: unix.EAGAIN,
		want: addressed(tsem.SocketAccept, unix.AF_UNIX, unix.SOCK_STREAM, 0, tsem.Addr{Family: tsem.AddrUnix})},
	{name: "accept with strange flags", before: listening(unix.AF_UNIX, rawAddr(unix.AF_UNIX, []byte("\x00quixote-test-flags")...)),
		do: func(_ string, fd int) error { _, _, err := unix.Accept4(fd, 1); return err }, errno: unix.EINVAL, want: none},
	{name: "accept on a file", prepare: withFile, before: openF(0), do: accepts, errno: unix.ENOTSOCK, want: none},
	{name: "a socket made before and used by another descriptor",
		before: func(string) (int, error) {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				return -1, err
			}
			other, err := unix.Dup(fd)
			unix.Close(fd)
			return other, err
		}, do: func(_ string, fd int) error { return unix.Listen(fd, 1) }, want: listened(unix.AF_INET, unix.IPPROTO_TCP, 1)},
}

// listened wants one listen; -1 stands for as many as the system allows.
func listened(family, protocol, backlog int32) func(*scene) []record {
	return func(s *scene) []record {
		n := backlog
		if n < 0 {
			b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
			s.do(err)
			n = int32(number(s.t, strings.TrimSpace(string(b))))
		}
		return []record{{tsem.SocketListen, &tsem.ListenCell{Sock: s.sock(family, unix.SOCK_STREAM, protocol), Backlog: n}}}
	}
}

func TestSockets(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "socket", options{})
}
