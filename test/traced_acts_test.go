// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// Commands and flags of System V that the standard library's packages leave out.
const (
	ipcCreate    = 0o1000
	ipcExclusive = 0o2000
	ipcRemove    = 0
	ipcSet       = 1
	ipcStat      = 2
	ipcInfo      = 3
	shmLock      = 11
	shmUnlock    = 12
	shmStat      = 13
	shmInfo      = 14
	shmStatAny   = 15
	shmReadOnly  = 0o10000
	msgExcept    = 0o20000
)

// sequence makes system calls one behind the other; the first that fails ends it.
type sequence struct{ err error }

func (c *sequence) call(number uintptr, args ...uintptr) uintptr {
	if c.err != nil {
		return 0
	}
	var a [6]uintptr
	copy(a[:], args)
	r, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		c.err = fmt.Errorf("call %d: %w", number, errno)
	}
	return r
}

// apart has an act done where nobody else makes objects of System V: when a call is
// stopped it is not known yet which one it will make.
func apart(string) (int, error) { return -1, unix.Unshare(unix.CLONE_NEWIPC) }

// sysv makes an act of calls, with a key.
func sysv(do func(c *sequence, key uintptr, b []byte)) func(string, int) error {
	return func(string, int) error {
		var c sequence
		do(&c, 7178, make([]byte, 4096))
		return c.err
	}
}

// ofTypes wants events of some types, whatever is in them.
func ofTypes(types ...tsem.Type) func(*scene) []record {
	return func(*scene) (all []record) {
		for _, t := range types {
			all = append(all, record{kind: t})
		}
		return all
	}
}

// waiting starts a program that waits, and comes back when it does.
func waiting(string) (int, error) {
	var fds [4]int
	if err := errors.Join(unix.Pipe2(fds[:2], unix.O_CLOEXEC), unix.Pipe2(fds[2:], unix.O_CLOEXEC)); err != nil {
		return -1, err
	}
	in, out := os.NewFile(uintptr(fds[0]), "in"), os.NewFile(uintptr(fds[3]), "out")
	defer in.Close()
	defer out.Close()
	p, err := os.StartProcess("/bin/cat", []string{"cat"}, &os.ProcAttr{Files: []*os.File{in, out}})
	if err != nil {
		return -1, err
	}
	if _, err := unix.Write(fds[1], []byte("x")); err != nil {
		return -1, err
	}
	_, err = unix.Read(fds[2], make([]byte, 1))
	return p.Pid, err
}

// onChild makes an act of calls about that.
func onChild(do func(c *sequence, pid uintptr)) func(string, int) error {
	return func(_ string, pid int) error {
		var c sequence
		do(&c, uintptr(pid))
		_, err := unix.Wait4(pid, nil, 0, nil)
		return errors.Join(c.err, err)
	}
}

// withDevice makes a name for the device that the folder is on, if that has a file
// system of the ext family: such do something for quotas even without any.
func withDevice(s *scene) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	s.do(errors.Join(unix.Statfs(s.dir, &fs), unix.Stat(s.dir, &st)))
	if fs.Type == unix.EXT4_SUPER_MAGIC {
		s.do(unix.Mknod(s.path("device"), unix.S_IFBLK|0o600, int(st.Dev)))
	}
}

// passed sends a file to itself in a message, and gets it by a pidfd before.
func passed(dir string, _ int) error {
	f, err := unix.Open(dir+"/f", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	own, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	if _, err := unix.PidfdGetfd(own, f, 0); err != nil {
		return err
	}
	if err := unix.Sendmsg(fds[0], []byte("x"), unix.UnixRights(f, f), nil, 0); err != nil {
		return err
	}
	rest := make([]byte, unix.CmsgSpace(2*4))
	_, _, _, _, err = unix.Recvmsg(fds[1], make([]byte, 1), rest, 0)
	return err
}

// tracedActs are told by the tracepoints as they are told when each call is
// stopped.
var tracedActs = []act{
	{name: "shared memory", want: ofTypes(tsem.ShmShmat, tsem.ShmShmctl, tsem.IPCPermission), before: apart, do: sysv(func(c *sequence, _ uintptr, b []byte) {
		id := c.call(unix.SYS_SHMGET, 0, 4096, 0o640)
		buf := addr(b)
		for _, flags := range []uintptr{0, shmReadOnly} {
			c.call(unix.SYS_SHMDT, c.call(unix.SYS_SHMAT, id, 0, flags))
		}
		for _, cmd := range []uintptr{ipcStat, shmLock, shmUnlock, ipcInfo, shmInfo} {
			c.call(unix.SYS_SHMCTL, id, cmd, buf)
		}
		c.call(unix.SYS_SHMCTL, id&0x7fff, shmStat, buf)
		c.call(unix.SYS_SHMCTL, id&0x7fff, shmStatAny, buf)
		c.call(unix.SYS_SHMCTL, id, ipcStat, buf)
		b[4] = 7 // its owner
		c.call(unix.SYS_SHMCTL, id, ipcSet, buf)
		c.call(unix.SYS_SHMCTL, id, ipcRemove)
	})},
	{name: "shared memory by its key", want: ofTypes(tsem.ShmAssociate, tsem.ShmShmctl, tsem.IPCPermission), before: apart, do: sysv(func(c *sequence, key uintptr, _ []byte) {
		id := c.call(unix.SYS_SHMGET, key, 4096, ipcCreate|ipcExclusive|0o640)
		c.call(unix.SYS_SHMGET, key, 0, 0o400)
		c.call(unix.SYS_SHMGET, key, 4096, ipcCreate|0o600)
		c.call(unix.SYS_SHMCTL, id, ipcRemove)
		id = c.call(unix.SYS_SHMGET, key, 4096, ipcCreate|0o600) // again, in the same place
		c.call(unix.SYS_SHMCTL, id, ipcRemove)
	})},
	{name: "semaphores", want: ofTypes(tsem.SemSemop, tsem.SemSemctl, tsem.IPCPermission), before: apart, do: sysv(func(c *sequence, _ uintptr, b []byte) {
		const getPID, setAll, semStat, semStatAny = 11, 17, 18, 20
		id := c.call(unix.SYS_SEMGET, 0, 3, 0o600)
		raise, wait := [6]byte{0: 1, 2: 1}, [6]byte{} // of the second by one; for the first to be 0
		c.call(unix.SYS_SEMOP, id, uintptr(unsafe.Pointer(&raise)), 1)
		c.call(unix.SYS_SEMTIMEDOP, id, uintptr(unsafe.Pointer(&wait)), 1, 0)
		for cmd := uintptr(getPID); cmd <= setAll; cmd++ {
			arg := addr(b)
			if cmd == 16 { // SETVAL
				arg = 5
			}
			c.call(unix.SYS_SEMCTL, id, 1, cmd, arg)
		}
		for _, cmd := range []uintptr{semStat, semStatAny} {
			c.call(unix.SYS_SEMCTL, id&0x7fff, 0, cmd, addr(b))
		}
		c.call(unix.SYS_SEMCTL, id, 0, ipcStat, addr(b))
		c.call(unix.SYS_SEMCTL, id, 0, ipcSet, addr(b))
		c.call(unix.SYS_SEMCTL, id, 0, ipcRemove)
	})},
	{name: "semaphores by their key", want: ofTypes(tsem.SemAssociate, tsem.IPCPermission), before: apart, do: sysv(func(c *sequence, key uintptr, _ []byte) {
		id := c.call(unix.SYS_SEMGET, key, 1, ipcCreate|0o640)
		c.call(unix.SYS_SEMGET, key, 1, ipcCreate|0o640)
		c.call(unix.SYS_SEMGET, key, 0, 0)
		c.call(unix.SYS_SEMCTL, id, 0, ipcRemove)
	})},
	{name: "messages", want: ofTypes(tsem.MsgQueueMsgsnd, tsem.MsgQueueMsgrcv, tsem.MsgQueueMsgctl, tsem.IPCPermission), before: apart, do: sysv(func(c *sequence, _ uintptr, b []byte) {
		const msgStat, msgStatAny = 11, 13
		id := c.call(unix.SYS_MSGGET, 0, 0o600)
		b[0] = 9
		message := addr(b)
		for _, r := range []struct{ kind, flags uintptr }{{9, 0}, {0, 0}, {8, msgExcept}, {^uintptr(8), 0}} {
			c.call(unix.SYS_MSGSND, id, message, 8, unix.O_NONBLOCK)
			c.call(unix.SYS_MSGRCV, id, message, 8, r.kind, r.flags)
		}
		for _, cmd := range []uintptr{msgStat, msgStatAny} {
			c.call(unix.SYS_MSGCTL, id&0x7fff, cmd, addr(b))
		}
		c.call(unix.SYS_MSGCTL, id, ipcStat, addr(b))
		c.call(unix.SYS_MSGCTL, id, ipcSet, addr(b))
		c.call(unix.SYS_MSGCTL, id, ipcRemove)
	})},
	{name: "messages by their key", want: ofTypes(tsem.MsgQueueAssociate, tsem.IPCPermission), before: apart, do: sysv(func(c *sequence, key uintptr, _ []byte) {
		id := c.call(unix.SYS_MSGGET, key, ipcCreate|0o640)
		c.call(unix.SYS_MSGGET, key, 0o200)
		c.call(unix.SYS_MSGCTL, id, ipcRemove)
	})},
	{name: "limits of others", want: ofTypes(tsem.TaskPrlimit, tsem.TaskSetrlimit), before: waiting, do: onChild(func(c *sequence, pid uintptr) {
		var old unix.Rlimit
		limit := unix.Rlimit{Cur: 3, Max: 5}
		c.call(unix.SYS_PRLIMIT64, pid, unix.RLIMIT_CORE, 0, uintptr(unsafe.Pointer(&old)))
		c.call(unix.SYS_PRLIMIT64, pid, unix.RLIMIT_CORE, uintptr(unsafe.Pointer(&limit)), 0)
		c.call(unix.SYS_PRLIMIT64, pid, unix.RLIMIT_CORE, uintptr(unsafe.Pointer(&limit)), uintptr(unsafe.Pointer(&old)))
		c.call(unix.SYS_PRLIMIT64, uintptr(unix.Gettid()), unix.RLIMIT_CORE, 0, uintptr(unsafe.Pointer(&old)))
		c.call(unix.SYS_PRLIMIT64, 1, unix.RLIMIT_CORE, 0, uintptr(unsafe.Pointer(&old)))
		c.call(unix.SYS_KILL, pid, uintptr(unix.SIGKILL))
	})},
	{name: "a file of another", want: ofTypes(tsem.PtraceAccessCheck, tsem.FileReceive), before: waiting, do: onChild(func(c *sequence, pid uintptr) {
		fd := c.call(unix.SYS_PIDFD_OPEN, pid, 0)
		c.call(unix.SYS_PIDFD_GETFD, fd, 0)
		c.call(unix.SYS_KILL, pid, uintptr(unix.SIGKILL))
	})},
	{name: "keys", want: ofTypes(tsem.KeyAlloc, tsem.KeyPermission), do: func(string, int) error {
		const thread, process = ^uintptr(0), ^uintptr(1)
		var c sequence
		kind, ring, name, value := []byte("user\x00"), []byte("keyring\x00"), []byte("traced\x00"), []byte("value")
		for range 2 { // the second time it is there
			c.call(unix.SYS_ADD_KEY, addr(kind), addr(name), addr(value), uintptr(len(value)), thread)
		}
		for range 2 {
			c.call(unix.SYS_ADD_KEY, addr(ring), addr(name), 0, 0, process)
		}
		id := c.call(unix.SYS_REQUEST_KEY, addr(kind), addr(name), 0, 0)
		c.call(unix.SYS_KEYCTL, unix.KEYCTL_DESCRIBE, id, 0, 0)
		for _, own := range []uintptr{thread, process} {
			c.call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, own, 1)
			c.call(unix.SYS_KEYCTL, unix.KEYCTL_DESCRIBE, own, 0, 0)
			c.call(unix.SYS_KEYCTL, unix.KEYCTL_READ, own, 0, 0)
			c.call(unix.SYS_KEYCTL, unix.KEYCTL_SETPERM, own, 0x3f1f0000)
			c.call(unix.SYS_KEYCTL, unix.KEYCTL_CLEAR, own)
		}
		return c.err
	}},
	{name: "looking into another", want: ofTypes(tsem.PtraceAccessCheck, tsem.TaskKill), before: waiting, do: onChild(func(c *sequence, pid uintptr) {
		const kcmpFiles = 2
		var head, size uintptr
		own := uintptr(os.Getpid())
		c.call(unix.SYS_KCMP, pid, own, kcmpFiles)
		c.call(unix.SYS_KCMP, own, pid, kcmpFiles)
		c.call(unix.SYS_GET_ROBUST_LIST, pid, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
		c.call(unix.SYS_GET_ROBUST_LIST, 0, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
		fd := c.call(unix.SYS_PIDFD_OPEN, pid, 0)
		c.call(unix.SYS_PIDFD_SEND_SIGNAL, fd, 0, 0, 0)
		c.call(unix.SYS_PIDFD_SEND_SIGNAL, fd, uintptr(unix.SIGKILL), 0, 0)
	})},
	{name: "memory of another", want: ofTypes(tsem.PtraceAccessCheck), before: waiting, do: onChild(func(c *sequence, pid uintptr) {
		// The list of locks of a thread lies in its own memory.
		var head, size, word uintptr
		c.call(unix.SYS_GET_ROBUST_LIST, pid, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
		local, remote := [2]uintptr{uintptr(unsafe.Pointer(&word)), 8}, [2]uintptr{head, 8}
		c.call(unix.SYS_PROCESS_VM_READV, pid, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
		c.call(unix.SYS_PROCESS_VM_WRITEV, pid, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
		c.call(unix.SYS_PROCESS_VM_READV, pid, uintptr(unsafe.Pointer(&local)), 0, uintptr(unsafe.Pointer(&remote)), 0, 0)
		c.call(unix.SYS_KILL, pid, uintptr(unix.SIGKILL))
	})},
	{name: "a socket with a path", want: ofTypes(tsem.SocketBind, tsem.InodeMknod), do: func(dir string, _ int) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + dir}); err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/s"})
	}},
	{name: "a file system that changes", want: ofTypes(tsem.SBRemount), prepare: withMount, do: func(dir string, _ int) error {
		fs, err := unix.Fspick(unix.AT_FDCWD, dir+"/m", 0)
		if err != nil {
			return err
		}
		return unix.FsconfigReconfigure(fs)
	}},
	{name: "quotas", want: ofTypes(tsem.Quotactl), prepare: withDevice, do: func(dir string, _ int) error {
		const quotaSync, ofGroups = 0x800001 << 8, 1
		var c sequence
		c.call(unix.SYS_QUOTACTL, quotaSync|ofGroups, 0, 0, 0)
		if _, err := os.Lstat(dir + "/device"); err == nil {
			path := append([]byte(dir+"/device"), 0)
			c.call(unix.SYS_QUOTACTL, quotaSync, addr(path), 5, 0)
			fd, err := unix.Open(dir, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			c.call(unix.SYS_QUOTACTL_FD, uintptr(fd), quotaSync, 6, 0)
		}
		return c.err
	}},
	{name: "network tunnels", want: ofTypes(tsem.TunDevCreate, tsem.TunDevOpen, tsem.TunDevAttach, tsem.TunDevAttachQueue), do: func(string, int) error {
		var c sequence
		r, err := unix.NewIfreq(fmt.Sprintf("traced%d", os.Getpid()))
		if err != nil {
			return err
		}
		request := uintptr(unsafe.Pointer(r))
		path := append([]byte("/dev/net/tun"), 0)
		var fds [2]uintptr
		for i := range fds {
			at := unix.AT_FDCWD
			fds[i] = c.call(unix.SYS_OPENAT, uintptr(at), addr(path), unix.O_RDWR)
			r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
			c.call(unix.SYS_IOCTL, fds[i], unix.TUNSETIFF, request)
		}
		for _, what := range []uint16{unix.IFF_DETACH_QUEUE, unix.IFF_ATTACH_QUEUE} {
			r.SetUint16(what)
			c.call(unix.SYS_IOCTL, fds[1], unix.TUNSETQUEUE, request)
		}
		// One that stays without anybody, and is opened again.
		c.call(unix.SYS_IOCTL, fds[0], unix.TUNSETPERSIST, 1)
		c.call(unix.SYS_CLOSE, fds[0])
		c.call(unix.SYS_CLOSE, fds[1])
		at := unix.AT_FDCWD
		fd := c.call(unix.SYS_OPENAT, uintptr(at), addr(path), unix.O_RDWR)
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
		c.call(unix.SYS_IOCTL, fd, unix.TUNSETIFF, request)
		c.call(unix.SYS_IOCTL, fd, unix.TUNSETPERSIST, 0)
		c.call(unix.SYS_CLOSE, fd)
		return c.err
	}},
	{name: "a thread that is not the first", want: ofTypes(tsem.TaskGetscheduler), do: func(string, int) error {
		var c sequence
		c.call(unix.SYS_SCHED_GETSCHEDULER, uintptr(unix.Gettid()))
		c.call(unix.SYS_SCHED_GETSCHEDULER, uintptr(os.Getpid()))
		return c.err
	}},
}

// passedActs are told by the tracepoints alone.
var passedActs = []act{
	{name: "files in a message", prepare: withFile, do: passed, want: ofTypes(tsem.FileReceive, tsem.FileReceive, tsem.FileReceive)},
}

// mountedAnew is in what lies on a file system without a device, which has another
// number each time it is mounted.
var mountedAnew = regexp.MustCompile(`("major": "0", "minor": ")[0-9]+`)

// toldOf runs a table of acts and gives the records of each act.
func toldOf(t *testing.T, table, source string, keep func(*tsem.Event) bool) (told [][]string) {
	t.Helper()
	dir := openDir(t)
	acts := tables()[table]
	for i, a := range acts {
		s := &scene{t: t, dir: filepath.Join(dir, fmt.Sprint(i))}
		if err := os.Mkdir(s.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if a.prepare != nil {
			a.prepare(s)
		}
	}
	st := run(t, options{dir: dir, flags: []string{"--source", source}}, anActor(t, table, dir)...)
	for i, line := range strings.Split(strings.TrimSpace(st.stdout), "\n") {
		if _, result, _ := strings.Cut(line, " "); result != "0" {
			t.Fatalf("%s: %s has ended with %s", source, acts[i].name, result)
		}
	}
	for i := range acts {
		var lines []string
		for _, e := range st.by(fmt.Sprintf("act-%d", i)) {
			if e.Type == tsem.TaskPrctl || !keep(e) {
				continue
			}
			// Whose thread it is is up to the runtime.
			e.Context, e.Number, e.PID, e.TS, e.TNum, e.PTTD, e.PTaskID = 0, 0, 0, 0, 0, 0, nil
			if c, ok := e.Cell.(*tsem.KeyPermissionCell); ok {
				c.Flags &^= 1 << 10 // KEY_FLAG_USER_ALIVE is new, and of no meaning
			}
			line := strings.ReplaceAll(string(e.AppendJSON(nil)), dir, "DIR")
			line = uuid.ReplaceAllString(line, noUUID)
			lines = append(lines, mountedAnew.ReplaceAllString(line, "${1}X"))
		}
		told = append(told, lines)
	}
	return told
}

// The objects that calls name by a number are found in the kernel, and told of as
// when each call is stopped.
func TestTracepointsFindObjects(t *testing.T) {
	needTrace(t)
	needSeccomp(t)
	t.Parallel()
	keep := func(e *tsem.Event) bool { return e.Type != tsem.MmapFile && e.Type != tsem.FileOpen } // the runtime's
	want, got := toldOf(t, "traced", "seccomp", keep), toldOf(t, "traced", "trace", keep)
	for i, a := range tracedActs {
		t.Run(a.name, func(t *testing.T) {
			for k := range max(len(want[i]), len(got[i])) {
				w, g := "nothing", "nothing"
				if k < len(want[i]) {
					w = want[i][k]
				}
				if k < len(got[i]) {
					g = got[i][k]
				}
				if w != g {
					t.Errorf("record %d\ngot  %s\nwant %s", k+1, g, w)
					break
				}
			}
			for _, r := range a.want(nil) {
				if !strings.Contains(strings.Join(got[i], "\n"), fmt.Sprintf("%q", r.kind)) {
					t.Errorf("no %s", r.kind)
				}
			}
		})
	}
}

// A file that comes in a message is told of like one that comes in another way.
func TestTracepointsTellFilesInMessages(t *testing.T) {
	needTrace(t)
	t.Parallel()
	got := toldOf(t, "passed", "trace", func(e *tsem.Event) bool { return e.Type == tsem.FileReceive })[0]
	if len(got) != 3 || got[0] != got[1] || got[1] != got[2] {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	if len(got) > 0 && (!strings.Contains(got[0], "DIR/0/f") || !strings.Contains(got[0], fmt.Sprint(syscall.O_RDONLY|largeFile))) {
		t.Errorf("got %s", got[0])
	}
}
