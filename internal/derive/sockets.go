// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Socket is one socket of the context.
type Socket struct {
	tsem.Sock
	name     unix.Sockaddr // where it listens, once asked
	accepted bool          // it came with its peer: accept made it
}

// Sockets knows which task made each socket. As with files, a socket has no
// number yet when the call that makes it is seen; it gets the lowest free
// descriptors, where it is looked for afterwards. Sockets that accept makes,
// and those from outside the context, have no owner.
//
// Sockets are asked without the lock: to close one that its owner has closed
// meanwhile can take as long as it lingers.
type Sockets struct {
	mu      sync.Mutex
	size    int // of a digest, in bytes
	known   map[uint64]*Socket
	pending []pendingSocket
	limit   int // how many are known when those that are gone are looked for
	tasks   *task.Registry
}

type pendingSocket struct {
	maker *task.Task
	fd    int32   // where it should come
	used  []int32 // the descriptors that were open before, ascending
	call  string  // what the maker is doing, while the call lasts
	twin  int32   // the descriptor of the other one of a pair, or -1
	tsem.Sock
}

const fewSockets = 4096

func newSockets(size int, tasks *task.Registry) *Sockets {
	return &Sockets{size: size, known: make(map[uint64]*Socket), limit: fewSockets, tasks: tasks}
}

// remember adds a socket, and now and then forgets those that no task of the
// context has open any longer.
func (s *Sockets) remember(ino uint64, sock *Socket) {
	s.known[ino] = sock
	if len(s.known) <= s.limit {
		return
	}
	open := make(map[uint64]*Socket)
	for _, pid := range s.tasks.Processes() {
		for _, fd := range descriptors(pid) {
			if n, err := socketInode(pid, fd); err == nil && s.known[n] != nil {
				open[n] = s.known[n]
			}
		}
	}
	open[ino] = sock
	s.known = open
	s.limit = 2*len(open) + fewSockets
}

// Begin notes that t is about to make n sockets.
func (s *Sockets) Begin(t *task.Task, n int, sock tsem.Sock) {
	sock.Owner = t.TaskID
	used, call := descriptors(t.TID), currentCall(t.TID)
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := lowestFree(used, n)
	for i, fd := range fds {
		twin := int32(none)
		if n == 2 {
			twin = fds[1-i]
		}
		s.pending = append(s.pending, pendingSocket{t, fd, used, call, twin, sock})
	}
}

// Undo forgets the sockets that t was about to make: its call was not made.
func (s *Sockets) Undo(t *task.Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(p pendingSocket) bool { return p.maker == t })
}

// Settle finds the sockets that t has made: it is about to make another call.
func (s *Sockets) Settle(l *proc.Lens, t *task.Task) {
	s.mu.Lock()
	var mine []pendingSocket
	s.pending = slices.DeleteFunc(s.pending, func(p pendingSocket) bool {
		if p.maker == t {
			mine = append(mine, p)
		}
		return p.maker != t && p.maker.Dead()
	})
	s.mu.Unlock()
	if len(mine) == 0 {
		return
	}
	for i := range mine {
		p := &mine[i]
		if s.take(t, p.fd, p.Sock) || s.takeTwin(l, t, p) {
			continue
		}
		// Another thread has that descriptor, or keeps it for a call that
		// waits: look through those that are new.
		for _, fd := range descriptors(t.TID) {
			if _, old := slices.BinarySearch(p.used, fd); !old && s.take(t, fd, p.Sock) {
				break
			}
		}
	}
	s.Undo(t)
}

// takeTwin registers one of a pair of AF_UNIX sockets, which its maker has
// closed (but left to a child, perhaps), as the peer of the other.
func (s *Sockets) takeTwin(l *proc.Lens, t *task.Task, p *pendingSocket) bool {
	if p.twin < 0 || p.Family != unix.AF_UNIX {
		return false
	}
	if _, err := socketInode(t.TID, p.fd); err == nil {
		return false
	}
	ino, err := socketInode(t.TID, p.twin)
	if err != nil {
		return false
	}
	other, err := l.UnixSocketOf(t, ino)
	if err != nil || other.Peer == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[other.Peer] == nil {
		s.remember(other.Peer, &Socket{Sock: p.Sock})
	}
	return true
}

// take registers the socket at descriptor fd as sock, if it can be that.
func (s *Sockets) take(t *task.Task, fd int32, sock tsem.Sock) bool {
	ino, err := socketInode(t.TID, fd)
	if err != nil || s.knows(ino) != nil {
		return false
	}
	made, _ := describe(t, fd, sock)
	if !made.canBe(&sock) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[ino] != nil {
		return false
	}
	s.remember(ino, made)
	return true
}

func (s *Sockets) knows(ino uint64) *Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[ino]
}

// canBe tells whether the socket is one that was asked for as sock.
func (made *Socket) canBe(sock *tsem.Sock) bool {
	return made.Family == sock.Family && made.Type == sock.Type && !made.accepted
}

// Find returns the socket behind descriptor fd of t. ENOTSOCK: it is none.
func (s *Sockets) Find(l *proc.Lens, t *task.Task, fd int32) (*Socket, error) {
	ino, err := socketInode(t.TID, fd)
	if err != nil {
		return nil, err
	}
	if known := s.knows(ino); known != nil {
		return known, nil
	}
	made, asked := describe(t, fd, tsem.Sock{Owner: make(tsem.Digest, s.size)})
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.known[ino]; known != nil {
		return known, nil
	}
	// Another thread, or the parent, may have made it and not called since. The
	// parent may have closed it as well.
	s.pending = slices.DeleteFunc(s.pending, func(p pendingSocket) bool {
		if p.fd != fd || p.maker.TGID != t.TGID && !bytes.Equal(p.Owner, t.TaskID) && !bytes.Equal(p.Owner, t.PTaskID) {
			return false
		}
		at, err := socketInode(p.maker.TID, fd)
		if err != nil && currentCall(p.maker.TID) == p.call {
			return false // it is being made
		}
		if err == nil && at != ino || s.known[ino] != nil || asked && !made.canBe(&p.Sock) {
			return false
		}
		if made.Owner = p.Owner; !asked {
			made.Sock = p.Sock
		}
		s.remember(ino, made)
		return true
	})
	if s.known[ino] == nil {
		s.remember(ino, made)
	}
	return s.known[ino], nil
}

// ByInode returns the AF_UNIX socket of an inode number and a type. One that
// the context has not made has no owner.
func (s *Sockets) ByInode(ino uint64, kind int32) tsem.Sock {
	s.mu.Lock()
	known := s.known[ino]
	pending := slices.Clone(s.pending)
	s.mu.Unlock()
	if known == nil {
		// Its maker may not have made another call since.
		for _, p := range pending {
			if at, err := socketInode(p.maker.TID, p.fd); err == nil && at == ino && s.take(p.maker, p.fd, p.Sock) {
				s.drop(&p)
				break
			}
		}
		known = s.knows(ino)
	}
	if known != nil {
		return known.Sock
	}
	return tsem.Sock{Family: unix.AF_UNIX, Type: kind, Owner: make(tsem.Digest, s.size)}
}

// drop takes p off the list.
func (s *Sockets) drop(p *pendingSocket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(x pendingSocket) bool {
		return x.maker == p.maker && x.fd == p.fd && x.call == p.call
	})
}

// describe asks the socket itself for its family, type and protocol: what was
// asked for when it was made leaves the protocol open. Where it cannot be asked
// it is taken to be sock.
func describe(t *task.Task, fd int32, sock tsem.Sock) (made *Socket, asked bool) {
	made = &Socket{Sock: sock}
	n, err := borrow(t, fd)
	if err != nil {
		return made, false
	}
	defer unix.Close(n)
	for option, field := range map[int]*int32{unix.SO_DOMAIN: &made.Family, unix.SO_TYPE: &made.Type, unix.SO_PROTOCOL: &made.Protocol} {
		if v, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, option); err == nil {
			*field = int32(v)
		}
	}
	if made.Type == unix.SOCK_STREAM && (made.Family == unix.AF_INET || made.Family == unix.AF_INET6) {
		_, err := unix.Getpeername(n)
		made.accepted = err == nil
	}
	return made, true
}

// Name is the address the socket is bound to; nil if it cannot be told.
func (s *Sockets) Name(t *task.Task, fd int32, sock *Socket) unix.Sockaddr {
	s.mu.Lock()
	name := sock.name
	s.mu.Unlock()
	if name != nil {
		return name
	}
	n, err := borrow(t, fd)
	if err != nil {
		return nil
	}
	defer unix.Close(n)
	if name, err = unix.Getsockname(n); err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sock.name = name
	return name
}

// borrow takes a duplicate of a descriptor of t. It must be closed at once:
// while it is open, a close by t does not end a connection.
func borrow(t *task.Task, fd int32) (int, error) {
	pidfd, err := unix.PidfdOpen(t.TGID, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, int(fd), 0)
}

// currentCall tells one call of a task from its next, and from what it does in
// between.
func currentCall(tid int) string {
	b, err := kernel.ReadProc(tid, "syscall", make([]byte, 256))
	if err != nil {
		return "none"
	}
	return string(b)
}

// socketInode is the inode number of the socket at descriptor fd. It is taken
// from the link, since to ask the file would be to ask its file system.
func socketInode(tid int, fd int32) (uint64, error) {
	if fd < 0 {
		return 0, unix.EBADF
	}
	var b [64]byte
	n, err := unix.Readlink(kernel.ProcPath(tid, "fd/"+strconv.Itoa(int(fd))), b[:])
	if err != nil {
		return 0, unix.EBADF
	}
	text, ok := bytes.CutPrefix(b[:n], []byte("socket:["))
	if !ok {
		return 0, unix.ENOTSOCK
	}
	ino, err := strconv.ParseUint(string(bytes.TrimSuffix(text, []byte("]"))), 10, 64)
	if err != nil {
		return 0, unix.ENOTSOCK
	}
	return ino, nil
}

// descriptors lists the open descriptors of tid, ascending.
func descriptors(tid int) (used []int32) {
	dir, err := os.Open(kernel.ProcPath(tid, "fd"))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			used = append(used, int32(fd))
		}
	}
	slices.Sort(used)
	return used
}

// lowestFree returns the n lowest descriptors that are not in used.
func lowestFree(used []int32, n int) (free []int32) {
	for fd := int32(0); len(free) < n; fd++ {
		if len(used) > 0 && used[0] == fd {
			used = used[1:]
			continue
		}
		free = append(free, fd)
	}
	return free
}

// somaxconn is the bound of a listen backlog.
func somaxconn() int32 {
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return 4096
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 4096
	}
	return int32(n)
}
