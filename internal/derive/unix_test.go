// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// local is a struct sockaddr_un with a path, or an abstract name that begins
// with NUL.
func local(name string) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	b = append(b, name...)
	if name[0] != 0 {
		b = append(b, 0)
	}
	return b
}

// bound makes an AF_UNIX socket with a name.
func (c *caller) bound(kind int, name string) int {
	c.Helper()
	fd := c.socket(unix.AF_UNIX, kind, 0)
	if name[0] == 0 {
		name = "@" + name[1:]
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		c.Fatal(err)
	}
	return fd
}

// shortDir is a folder whose paths fit into an address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "u")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestConnectToAStream(t *testing.T) {
	c := newCaller(t)
	dir := shortDir(t)
	names := map[string]string{"path": filepath.Join(dir, "s"), "abstract name": "\x00quixote-export " + dir}
	for kind, name := range names {
		for _, style := range []int32{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
			os.Remove(name)
			server := c.bound(int(style), name)
			client := c.socket(unix.AF_UNIX, int(style), 0)
			to := local(name)
			path := []byte(name)
			if name[0] == 0 {
				path = nil
			}
			sock := c.ownSocket(unix.AF_UNIX, style, 0)
			attempt := Event{tsem.SocketConnect, &tsem.SockAddrCell{Sock: sock, Addr: tsem.Addr{Family: tsem.AddrUnix, Path: path}}}
			try := func(to []byte) []Event {
				return c.derive("connect", uint64(client), c.bytes(to), uint64(len(to)))
			}
			t.Log(kind, style)
			c.want(try(to), attempt) // nobody listens yet
			if err := unix.Listen(server, 0); err != nil {
				t.Fatal(err)
			}
			meet := Event{tsem.UnixStreamConnect, &tsem.SockPairCell{First: sock, Second: sock}}
			c.want(try(to), attempt, meet)
			c.want(c.derive("connect", uint64(server), c.bytes(to), uint64(len(to))), attempt) // which listens itself

			// One connection waits, as many as may: the next waits too, or fails.
			events, _ := c.do(unix.SYS_CONNECT, "connect", uint64(client), c.bytes(to), uint64(len(to)))
			c.want(events, attempt, meet)
			c.want(try(to), attempt) // connected already
			client = c.socket(unix.AF_UNIX, int(style), 0)
			c.want(try(to), attempt, meet)
			unix.SetNonblock(client, true)
			c.want(try(to), attempt)
			unix.Close(server)
		}
	}
}

func TestConnectToNothing(t *testing.T) {
	c := newCaller(t)
	dir := shortDir(t)
	datagrams := filepath.Join(dir, "d")
	c.bound(unix.SOCK_DGRAM, datagrams)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	client := c.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	for _, name := range []string{datagrams, file, filepath.Join(dir, "none"), "\x00quixote-export nobody"} {
		to := local(name)
		if events := c.derive("connect", uint64(client), c.bytes(to), uint64(len(to))); len(events) != 1 {
			t.Errorf("%q: %s", name, list(events))
		}
	}
}

// Who may not write to the file of a socket does not reach it.
func TestConnectWithoutPermission(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	name := filepath.Join(shortDir(t), "s")
	server := c.bound(unix.SOCK_STREAM, name)
	if err := unix.Listen(server, 5); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o755); err != nil {
		t.Fatal(err)
	}
	client := c.socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	to := local(name)
	try := func() int { return len(c.derive("connect", uint64(client), c.bytes(to), uint64(len(to)))) }
	if n := try(); n != 2 {
		t.Errorf("root: %d events", n)
	}
	c.task.Status.COE.FSUID, c.task.Status.COE.CapEff = 65534, 0
	if n := try(); n != 1 {
		t.Errorf("nobody: %d events", n)
	}
}

func TestDatagrams(t *testing.T) {
	c := newCaller(t)
	dir := shortDir(t)
	path, abstract := filepath.Join(dir, "d"), "\x00quixote-export d "+dir
	c.bound(unix.SOCK_DGRAM, path)
	c.bound(unix.SOCK_DGRAM, abstract)
	client := c.socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	sock := c.ownSocket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	sent := Event{tsem.SocketSendmsg, &tsem.SockAddrCell{Sock: sock}}
	may := Event{tsem.UnixMaySend, &tsem.SockPairCell{First: sock, Second: sock}}
	data := c.bytes([]byte("x"))
	send := func(from int, size uint64, to []byte) []Event {
		if to == nil {
			return c.derive("sendto", uint64(from), data, size, 0, 0, 0)
		}
		return c.derive("sendto", uint64(from), data, size, 0, c.bytes(to), uint64(len(to)))
	}
	c.want(send(client, 1, local(path)), sent, may)
	c.want(send(client, 1, local(abstract)), sent, may)
	c.want(send(client, 1, local(filepath.Join(dir, "none"))), sent)
	c.want(send(client, 1, nil), sent) // it has no peer
	c.want(send(client, 1<<30, local(path)), sent)
	c.want(c.derive("sendmsg", uint64(client), c.bytes(c.header(local(path), 1)), 0), sent, may)
	c.want(c.derive("sendto", uint64(client), data, 1, unix.MSG_OOB, 0, 0), sent)

	to := local(path)
	events, _ := c.do(unix.SYS_CONNECT, "connect", uint64(client), c.bytes(to), uint64(len(to)))
	c.want(events, Event{tsem.SocketConnect, &tsem.SockAddrCell{
		Sock: sock, Addr: tsem.Addr{Family: tsem.AddrUnix, Path: []byte(path)},
	}}, may)
	c.want(send(client, 1, nil), sent, may)

	// A pair takes nothing from others; one end of it may be from outside.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	c.owns(pair[0])
	mayOut := Event{tsem.UnixMaySend, &tsem.SockPairCell{First: sock, Second: c.othersSocket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)}}
	c.want(send(pair[0], 1, nil), sent, mayOut)
	if err := unix.Bind(pair[1], &unix.SockaddrUnix{Name: filepath.Join(dir, "p")}); err != nil {
		t.Fatal(err)
	}
	c.want(send(client, 1, local(filepath.Join(dir, "p"))), sent)
	if err := unix.Shutdown(pair[1], unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	c.want(send(pair[0], 1, nil), sent)
	unix.Close(pair[0])

	// Disconnecting asks nobody.
	to = make([]byte, 16)
	events = c.derive("connect", uint64(client), c.bytes(to), 16)
	if len(events) != 1 {
		t.Errorf("disconnecting: %s", list(events))
	}
}
