// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// UnixSocket is an AF_UNIX socket, as the kernel lists it.
type UnixSocket struct {
	Inode     uint64
	Type      int32
	Listening bool
	Connected bool
	Name      []byte // what it is bound to: an abstract name begins with NUL
	Peer      uint64 // inode of the socket it is connected to, 0 if none is known
	Shutdown  uint8  // RCV_SHUTDOWN 1, SEND_SHUTDOWN 2
	Waiting   uint32 // connections of a listening socket that wait to be accepted
	Backlog   uint32 // and how many may
	SendSpace uint32 // bytes of the send buffer, 0 if it is not known

	dev  uint32 // of the file it is bound to, as the kernel writes it
	file uint32 // low bits of the inode number of that file
}

// From linux/sock_diag.h and linux/unix_diag.h.
const (
	sockDiagByFamily = 20
	unixDiagRequest  = 24
	unixDiagMessage  = 16

	showName, showVFS, showPeer, showQueue, showMemory = 1, 2, 4, 16, 32

	attrName, attrVFS, attrPeer, attrQueue, attrMemory, attrShutdown = 0, 1, 2, 4, 5, 6

	stateEstablished, stateListen = 1, 10
)

// UnixSocketOf describes the AF_UNIX socket of an inode number, in the network
// namespace of t.
func (l *Lens) UnixSocketOf(t *task.Task, ino uint64) (*UnixSocket, error) {
	return l.findUnix(t, uint32(ino), func(s *UnixSocket) bool { return s.Inode == ino })
}

// UnixSocketNamed finds the socket of a type that is bound to an abstract name.
func (l *Lens) UnixSocketNamed(t *task.Task, name []byte, kind int32) (*UnixSocket, error) {
	return l.findUnix(t, 0, func(s *UnixSocket) bool { return s.Type == kind && bytes.Equal(s.Name, name) })
}

// UnixSocketAt finds the socket that is bound to the file o, which the task
// names as path.
func (l *Lens) UnixSocketAt(t *task.Task, o *Object, path []byte) (*UnixSocket, error) {
	dev := o.Stat.Dev_major<<20 | o.Stat.Dev_minor
	s, err := l.findUnix(t, 0, func(s *UnixSocket) bool {
		return s.file != 0 && s.file == uint32(o.Stat.Ino) && s.dev == dev
	})
	if err != unix.ECONNREFUSED {
		return s, err
	}
	// Stacked file systems show other numbers than the kernel keeps.
	return l.findUnix(t, 0, func(s *UnixSocket) bool {
		return len(s.Name) > 0 && (bytes.Equal(s.Name, path) || bytes.Equal(s.Name, o.Path))
	})
}

// findUnix asks for one socket, or with ino 0 for all, and returns the first
// that is wanted. ECONNREFUSED: there is none.
func (l *Lens) findUnix(t *task.Task, ino uint32, want func(*UnixSocket) bool) (*UnixSocket, error) {
	fd, err := l.diag(t)
	if err == nil {
		var found *UnixSocket
		found, err = askUnix(fd, ino, want)
		unix.Close(fd)
		if err == nil || err == unix.ECONNREFUSED {
			return found, err
		}
	}
	return listedUnix(t, want)
}

// diag opens a socket on which the network namespace of t can be asked for its
// sockets.
func (l *Lens) diag(t *task.Task) (int, error) {
	open := func() (int, error) {
		return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	}
	const own = "/proc/thread-self/ns/net"
	ns, err := inode(kernel.ProcPath(t.TID, "ns/net"))
	if err != nil {
		return -1, err
	}
	if here, err := inode(own); err == nil && here == ns {
		return open()
	}
	back, err := unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(back)
	there, err := unix.Open(kernel.ProcPath(t.TID, "ns/net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Setns(there, unix.CLONE_NEWNET)
	unix.Close(there)
	if err != nil {
		return -1, err
	}
	defer unix.Setns(back, unix.CLONE_NEWNET)
	return open()
}

func askUnix(fd int, ino uint32, want func(*UnixSocket) bool) (*UnixSocket, error) {
	const anyCookie = 0xffffffff
	flags := uint16(unix.NLM_F_REQUEST)
	if ino == 0 {
		flags |= unix.NLM_F_DUMP
	}
	order := binary.NativeEndian
	var b []byte
	b = order.AppendUint32(b, unix.NLMSG_HDRLEN+unixDiagRequest)
	b = order.AppendUint16(b, sockDiagByFamily)
	b = order.AppendUint16(b, flags)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint32(b, 0)
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = order.AppendUint32(b, 0xffffffff) // sockets in every state
	b = order.AppendUint32(b, ino)
	b = order.AppendUint32(b, showName|showVFS|showPeer|showQueue|showMemory)
	b = order.AppendUint32(b, anyCookie)
	b = order.AppendUint32(b, anyCookie)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(order.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return nil, unix.EBADMSG
			}
			body := b[unix.NLMSG_HDRLEN:size]
			switch kind := order.Uint16(b[4:]); kind {
			case unix.NLMSG_DONE:
				return nil, unix.ECONNREFUSED
			case unix.NLMSG_ERROR:
				if len(body) >= 4 && int32(order.Uint32(body)) == -int32(unix.ENOENT) && ino != 0 {
					return nil, unix.ECONNREFUSED
				}
				return nil, unix.EOPNOTSUPP
			case sockDiagByFamily:
				if s := parseUnix(body); s != nil && want(s) {
					return s, nil
				}
			}
			if ino != 0 {
				return nil, unix.ECONNREFUSED
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}

func parseUnix(b []byte) *UnixSocket {
	if len(b) < unixDiagMessage {
		return nil
	}
	order := binary.NativeEndian
	s := &UnixSocket{
		Type: int32(b[1]), Inode: uint64(order.Uint32(b[4:])),
		Listening: b[2] == stateListen, Connected: b[2] == stateEstablished,
	}
	for b = b[unixDiagMessage:]; len(b) >= 4; {
		size, kind := int(order.Uint16(b)), order.Uint16(b[2:])
		if size < 4 || size > len(b) {
			break
		}
		v := b[4:size]
		switch {
		case kind == attrName && len(v) > 0 && v[0] != 0:
			name, _, _ := bytes.Cut(v, []byte{0})
			s.Name = bytes.Clone(name)
		case kind == attrName:
			s.Name = bytes.Clone(v)
		case kind == attrVFS && len(v) >= 8:
			s.file, s.dev = order.Uint32(v), order.Uint32(v[4:])
		case kind == attrPeer && len(v) >= 4:
			s.Peer = uint64(order.Uint32(v))
		case kind == attrQueue && len(v) >= 8:
			s.Waiting, s.Backlog = order.Uint32(v), order.Uint32(v[4:])
		case kind == attrMemory && len(v) >= 16:
			s.SendSpace = order.Uint32(v[12:])
		case kind == attrShutdown && len(v) >= 1:
			s.Shutdown = v[0]
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return s
}

// listedUnix looks through /proc, which tells less: neither peers nor files.
func listedUnix(t *task.Task, want func(*UnixSocket) bool) (*UnixSocket, error) {
	table, err := os.ReadFile(kernel.ProcPath(t.TID, "net/unix"))
	if err != nil {
		return nil, err
	}
	const acceptsConnections = 0x10000
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) < 7 {
			continue
		}
		number := func(i, base int) uint64 {
			n, _ := strconv.ParseUint(string(f[i]), base, 64)
			return n
		}
		s := &UnixSocket{
			Inode: number(6, 10), Type: int32(number(4, 16)),
			Listening: number(3, 16)&acceptsConnections != 0, Connected: number(5, 16) == 3,
			Backlog: ^uint32(0),
		}
		if len(f) > 7 {
			// What is behind the inode number, with spaces in it or without.
			rest := line
			for range 7 {
				_, rest, _ = bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
			}
			s.Name = bytes.Clone(bytes.TrimSuffix(rest, []byte("\n")))
			if len(s.Name) > 0 && s.Name[0] == '@' {
				s.Name[0] = 0
			}
		}
		if want(s) {
			return s, nil
		}
	}
	return nil, unix.ECONNREFUSED
}
