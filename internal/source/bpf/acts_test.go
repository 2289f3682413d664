// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// marked is the first of the values that a thread is given for what nobody needs,
// so that an event tells where an act begins.
const marked = 0x71780000

func mark(i int) { unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(marked+i), 0, 0, 0) }

// deed is something that a workload does, and the type of the event that tells
// of it.
type deed struct {
	typ   tsem.Type
	do    func() error
	check func(c tsem.Cell) bool
}

// deeds are done in the directory that the workload is in, by root: those that a
// system call tells of which succeeds, and the others.
var deeds = slices.Concat(callDeeds, hookDeeds)

var callDeeds = []deed{
	{tsem.InodeMkdir, func() error { return unix.Mkdir("d", 0o755) }, func(c tsem.Cell) bool {
		m := c.(*tsem.CreateCell)
		return m.Mode&0o7777 == 0o755 && ends(m.Dentry.Path.Pathname, "/d") && m.Dentry.Path.Created && m.Dentry.Path.Instance > 0 && !m.Dentry.HasInode
	}},
	{tsem.InodeCreate, func() error { return os.WriteFile("d/f", []byte("text"), 0o640) }, func(c tsem.Cell) bool {
		m := c.(*tsem.CreateCell)
		return m.Mode == unix.S_IFREG|0o640 && ends(m.Dentry.Path.Pathname, "/d/f") && m.Dir.Mode == unix.S_IFDIR|0o755 && m.Dentry.Path.Instance == 1
	}},
	{tsem.FileOpen, func() error { return opened("d/f", unix.O_RDWR|unix.O_APPEND) }, func(c tsem.Cell) bool {
		f := c.(*tsem.FileCell).File
		return f.Flags == unix.O_RDWR|unix.O_APPEND|0x8000 && ends(f.Path.Pathname, "/d/f") && f.Path.Created && f.Path.Instance == 1 && f.Inode.Mode == unix.S_IFREG|0o640 && len(f.Digest) == 32
	}},
	{tsem.InodeLink, func() error { return os.Link("d/f", "d/g") }, func(c tsem.Cell) bool {
		m := c.(*tsem.LinkCell)
		return ends(m.Old.Path.Pathname, "/d/f") && m.Old.HasInode && ends(m.New.Path.Pathname, "/d/g") && !m.New.HasInode
	}},
	{tsem.InodeSymlink, func() error { return os.Symlink("what it says", "d/s") }, func(c tsem.Cell) bool {
		m := c.(*tsem.SymlinkCell)
		return string(m.OldName) == "what it says" && ends(m.Dentry.Path.Pathname, "/d/s")
	}},
	{tsem.InodeMknod, func() error { return unix.Mknod("d/n", unix.S_IFCHR|0o600, int(unix.Mkdev(5, 300))) }, func(c tsem.Cell) bool {
		m := c.(*tsem.MknodCell)
		return m.Mode == unix.S_IFCHR|0o600 && m.Dev == tsem.Dev{Major: 5, Minor: 300} && ends(m.Dentry.Path.Pathname, "/d/n")
	}},
	{tsem.InodeRename, func() error { return os.Rename("d/g", "d/h") }, func(c tsem.Cell) bool {
		m := c.(*tsem.RenameCell)
		return ends(m.Old.Path.Pathname, "/d/g") && ends(m.New.Path.Pathname, "/d/h") && m.OldDir.Mode == m.NewDir.Mode && !m.New.HasInode
	}},
	{tsem.InodeSetattr, func() error { return os.Chmod("d/f", 0o604) }, func(c tsem.Cell) bool {
		m := c.(*tsem.SetattrCell)
		return m.Valid&1 != 0 && m.Mode == unix.S_IFREG|0o604 && m.Size == 0 && m.UID == 0 && ends(m.Dentry.Path.Pathname, "/d/f")
	}},
	{tsem.InodeSetattr, func() error { return os.Chown("d/f", 12, 34) }, func(c tsem.Cell) bool {
		m := c.(*tsem.SetattrCell)
		return m.Valid&6 == 6 && m.UID == 12 && m.GID == 34
	}},
	{tsem.InodeSetattr, func() error { return os.Truncate("d/f", 3) }, func(c tsem.Cell) bool {
		m := c.(*tsem.SetattrCell)
		return m.Valid&8 != 0 && m.Size == 3 && m.Dentry.Inode.UID == 12
	}},
	{tsem.InodeGetattr, func() error { var st unix.Stat_t; return unix.Stat("d/f", &st) }, func(c tsem.Cell) bool {
		p := c.(*tsem.GetattrCell).Path
		return ends(p.Path.Pathname, "/d/f") && p.Inode.GID == 34 && p.Path.Instance == 1
	}},
	{tsem.InodeSetxattr, func() error { return unix.Setxattr("d/f", "user.name", []byte("va\x00lue"), unix.XATTR_CREATE) }, func(c tsem.Cell) bool {
		m := c.(*tsem.SetxattrCell)
		return string(m.Name) == "user.name" && string(m.Value) == "va\x00lue" && m.Flags == unix.XATTR_CREATE
	}},
	{tsem.InodeGetxattr, func() error { _, err := unix.Getxattr("d/f", "user.name", make([]byte, 9)); return err }, func(c tsem.Cell) bool {
		return string(c.(*tsem.XattrCell).Name) == "user.name"
	}},
	{tsem.InodeListxattr, func() error { _, err := unix.Listxattr("d/f", make([]byte, 99)); return err }, func(c tsem.Cell) bool {
		return ends(c.(*tsem.DentryCell).Dentry.Path.Pathname, "/d/f")
	}},
	{tsem.InodeRemovexattr, func() error { return unix.Removexattr("d/f", "user.name") }, func(c tsem.Cell) bool {
		return string(c.(*tsem.XattrCell).Name) == "user.name"
	}},
	{tsem.SBStatfs, func() error { var fs unix.Statfs_t; return unix.Statfs("d", &fs) }, func(c tsem.Cell) bool {
		return ends(c.(*tsem.DentryCell).Dentry.Path.Pathname, "/d")
	}},
	{tsem.FileIoctl, onFile("d/f", func(fd int) error { unix.IoctlGetInt(fd, figetbsz); return nil }), func(c tsem.Cell) bool {
		m := c.(*tsem.FileCmdCell)
		return m.Cmd == figetbsz && ends(m.File.Path.Pathname, "/d/f")
	}},
	{tsem.FileFcntl, onFile("d/f", func(fd int) error { _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); return err }), func(c tsem.Cell) bool {
		return c.(*tsem.FileCmdCell).Cmd == unix.F_GETFL
	}},
	{tsem.FileLock, onFile("d/f", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX) }), func(c tsem.Cell) bool {
		return c.(*tsem.FileCmdCell).Cmd == unix.F_WRLCK
	}},
	{tsem.MmapFile, onFile("d/f", func(fd int) error {
		_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE)
		return err
	}), func(c tsem.Cell) bool {
		m := c.(*tsem.MmapCell)
		return m.HasFile && ends(m.File.Path.Pathname, "/d/f") && m.Prot == unix.PROT_READ && m.Flags == unix.MAP_PRIVATE
	}},
	{tsem.MmapFile, func() error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		return err
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.MmapCell)
		return !m.HasFile && m.Prot == unix.PROT_READ|unix.PROT_EXEC && m.Flags == unix.MAP_PRIVATE|unix.MAP_ANONYMOUS
	}},
	{tsem.InodeUnlink, func() error { return os.Remove("d/s") }, func(c tsem.Cell) bool {
		m := c.(*tsem.RemoveCell)
		return ends(m.Dentry.Path.Pathname, "/d/s") && m.Dentry.Inode.Mode&unix.S_IFMT == unix.S_IFLNK
	}},
	{tsem.InodeRmdir, func() error {
		for _, name := range []string{"d/f", "d/h", "d/n"} {
			os.Remove(name)
		}
		return unix.Rmdir("d")
	}, func(c tsem.Cell) bool {
		p := c.(*tsem.RemoveCell).Dentry.Path
		return ends(p.Pathname, "/d") && p.Created
	}},
	{tsem.SBMount, func() error {
		os.Mkdir("m", 0o755)
		return unix.Mount("some", "m", "tmpfs", unix.MS_NOSUID, "")
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.MountCell)
		return string(m.DevName) == "some" && ends(m.Path.Pathname, "/m") && string(m.Type) == "tmpfs" && m.Flags == unix.MS_NOSUID
	}},
	{tsem.SBRemount, func() error { return unix.Mount("", "m", "", unix.MS_REMOUNT|unix.MS_NODEV, "") }, func(c tsem.Cell) bool {
		m := c.(*tsem.RemountCell)
		return string(m.FSType) == "tmpfs" && string(m.Dentry.Path.Pathname) == "/"
	}},
	{tsem.FileOpen, func() error {
		if err := os.WriteFile("m/x", []byte("y"), 0o600); err != nil {
			return err
		}
		return opened("m/x", unix.O_RDONLY)
	}, func(c tsem.Cell) bool {
		f := c.(*tsem.FileCell).File
		return ends(f.Path.Pathname, "/m/x") && f.Inode.Magic == unix.TMPFS_MAGIC && string(f.Inode.SID) == "tmpfs"
	}},
	{tsem.SBUmount, func() error { return unix.Unmount("m", unix.MNT_DETACH) }, func(c tsem.Cell) bool {
		m := c.(*tsem.UmountCell)
		return m.Flags == unix.MNT_DETACH && string(m.Mnt.Path.Pathname) == "/"
	}},
	{tsem.SocketCreate, func() error {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		return err
	}, func(c tsem.Cell) bool {
		return *c.(*tsem.SocketCreateCell) == tsem.SocketCreateCell{Family: unix.AF_INET, Type: unix.SOCK_DGRAM, Protocol: unix.IPPROTO_UDP}
	}},
	{tsem.SocketBind, onSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 443, Addr: [4]byte{127, 0, 0, 1}})
	}), func(c tsem.Cell) bool {
		a := c.(*tsem.SockAddrCell).Addr
		return a.Family == tsem.AddrInet && a.Port == 47873 && a.Address == 16777343
	}},
	{tsem.SocketListen, onSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error { return unix.Listen(fd, 7) }), func(c tsem.Cell) bool {
		return c.(*tsem.ListenCell).Backlog == 7
	}},
	{tsem.SocketConnect, onSocket(unix.AF_INET6, unix.SOCK_DGRAM, func(fd int) error {
		return unix.Connect(fd, &unix.SockaddrInet6{Port: 5555, Addr: [16]byte{15: 1}})
	}), func(c tsem.Cell) bool {
		m := c.(*tsem.SockAddrCell)
		return m.Addr.Family == tsem.AddrInet6 && m.Addr.Port == 45845 && m.Addr.Address6[15] == 1 && m.Sock.Type == unix.SOCK_DGRAM && m.Sock.Protocol == unix.IPPROTO_UDP
	}},
	{tsem.SocketAccept, accepting, func(c tsem.Cell) bool {
		a := c.(*tsem.SockAddrCell).Addr
		return a.Family == tsem.AddrInet && a.Port == 4444 && a.Address == 16777343
	}},
	{tsem.SocketSetsockopt, onSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}), func(c tsem.Cell) bool {
		m := c.(*tsem.SetsockoptCell)
		return m.Level == unix.SOL_SOCKET && m.Optname == unix.SO_KEEPALIVE
	}},
	{tsem.SocketGetsockname, onSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error { _, err := unix.Getsockname(fd); return err }), func(c tsem.Cell) bool {
		return c.(*tsem.SockCell).Sock.Family == unix.AF_INET && nonzero(c.(*tsem.SockCell).Sock.Owner)
	}},
	{tsem.SocketSendmsg, onSocket(unix.AF_INET, unix.SOCK_DGRAM, func(fd int) error {
		return unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 443, Addr: [4]byte{127, 0, 0, 1}})
	}), func(c tsem.Cell) bool {
		a := c.(*tsem.SockAddrCell).Addr
		return a.Family == tsem.AddrInet && a.Port == 47873 && a.Address == 16777343
	}},
	{tsem.SocketSocketpair, func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0); return err }, func(c tsem.Cell) bool {
		m := c.(*tsem.SockPairCell)
		return m.First.Type == unix.SOCK_SEQPACKET && m.Second.Family == unix.AF_UNIX && nonzero(m.First.Owner)
	}},
	{tsem.UnixStreamConnect, func() error {
		l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		at := &unix.SockaddrUnix{Name: "sock"}
		unix.Bind(l, at)
		unix.Listen(l, 1)
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Connect(c, at)
		}
		os.Remove("sock")
		return err
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.SockPairCell)
		return m.First.Family == unix.AF_UNIX && m.Second.Type == unix.SOCK_STREAM && nonzero(m.Second.Owner)
	}},
	{tsem.NetlinkSend, onSocket(unix.AF_NETLINK, unix.SOCK_RAW, func(fd int) error {
		unix.Sendto(fd, make([]byte, 16), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return nil
	}), func(c tsem.Cell) bool {
		m := c.(*tsem.NetlinkCell)
		return m.Sock.Family == unix.AF_NETLINK && m.PortID != 0
	}},
	{tsem.TaskKill, func() error { return unix.Kill(unix.Getpid(), unix.SIGCONT) }, func(c tsem.Cell) bool {
		m := c.(*tsem.KillCell)
		return m.Sig == uint32(unix.SIGCONT) && m.CrossNS == 0 && nonzero(m.Target)
	}},
	{tsem.TaskKill, func() error { return unix.Kill(unix.Getppid(), 0) }, func(c tsem.Cell) bool {
		m := c.(*tsem.KillCell)
		return m.Sig == 0 && m.CrossNS == 1 && !nonzero(m.Target)
	}},
	{tsem.TaskSetpgid, func() error { return unix.Setpgid(0, 0) }, func(c tsem.Cell) bool {
		m := c.(*tsem.SetpgidCell)
		return nonzero(m.Task) && string(m.Task) == string(m.Source)
	}},
	{tsem.TaskGetpgid, func() error { _, err := unix.Getpgid(unix.Getpid()); return err }, aboutMe},
	{tsem.TaskGetsid, func() error { _, err := unix.Getsid(unix.Getpid()); return err }, aboutMe},
	{tsem.TaskSetnice, func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 3) }, func(c tsem.Cell) bool {
		return c.(*tsem.TaskValueCell).Value == 3
	}},
	{tsem.TaskSetioprio, func() error { return call(unix.SYS_IOPRIO_SET, 1, 0, 2<<13|5) }, func(c tsem.Cell) bool {
		return c.(*tsem.TaskValueCell).Value == 2<<13|5
	}},
	{tsem.TaskGetioprio, func() error { return call(unix.SYS_IOPRIO_GET, 1, uintptr(unix.Gettid()), 0) }, aboutMe},
	{tsem.TaskSetrlimit, func() error {
		return unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: 5, Max: unix.RLIM_INFINITY}, nil)
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.SetrlimitCell)
		return m.Resource == unix.RLIMIT_CORE && m.Current == 5 && m.Max == ^uint64(0)
	}},
	{tsem.TaskSetscheduler, func() error { return call(unix.SYS_SCHED_SETSCHEDULER, 0, 3, address(new([4]byte))) }, aboutMe},
	{tsem.TaskGetscheduler, func() error { return call(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0) }, aboutMe},
	{tsem.Capget, func() error {
		var data [2]unix.CapUserData
		return unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.CapgetCell)
		return nonzero(m.Target) && m.Effective != 0 && m.Permitted == m.Effective && m.Inheritable == 0
	}},
	{tsem.Syslog, func() error { _, err := unix.Klogctl(10, nil); return err }, func(c tsem.Cell) bool { return c.(*tsem.SyslogCell).Type == 10 }},
	{tsem.Settime, func() error {
		var now unix.Timeval
		unix.Gettimeofday(&now)
		return unix.Settimeofday(&now)
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.SettimeCell)
		return m.HasTime && !m.HasZone && int64(m.Seconds) > time.Now().Unix()-3600
	}},
	{tsem.BPFMap, func() error {
		call(unix.SYS_BPF, 0, address(&[16]byte{0: 2, 4: 4, 8: 4, 12: 1}), 16)
		return nil
	}, func(c tsem.Cell) bool { return *c.(*tsem.BPFMapCell) == tsem.BPFMapCell{MapType: 2, Fmode: 3} }},
	{tsem.TaskPrctl, func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }, func(c tsem.Cell) bool {
		m := c.(*tsem.PrctlCell)
		return m.Option == unix.PR_SET_DUMPABLE && m.Arg2 == 1
	}},
	{tsem.PtraceTraceme, func() error { return traced() }, func(c tsem.Cell) bool { return nonzero(c.(*tsem.TracemeCell).Source) }},
	{tsem.TaskPrlimit, func() error { var l unix.Rlimit; return unix.Prlimit(1, unix.RLIMIT_CORE, nil, &l) }, func(c tsem.Cell) bool {
		m := c.(*tsem.PrlimitCell)
		return m.Flags == 1 && m.Cred.CapEff != 0 && m.TCred.CapEff != 0
	}},
	{tsem.ShmAssociate, func() error { return twice(unix.SYS_SHMGET, 0x7178, 4096, 0o1600) }, func(c tsem.Cell) bool {
		m := c.(*tsem.IPCCell)
		return m.Value == 0o1600 && m.Perm.Mode&0o777 == 0o600 && nonzero(m.Perm.Owner)
	}},
	{tsem.ShmShmat, func() error {
		id, _, _ := unix.Syscall(unix.SYS_SHMGET, 0x7178, 0, 0)
		return call(unix.SYS_SHMAT, id, 0, 0o10000)
	}, func(c tsem.Cell) bool { return c.(*tsem.IPCCell).Value == 0o10000 }},
	{tsem.ShmShmctl, func() error {
		id, _, _ := unix.Syscall(unix.SYS_SHMGET, 0x7178, 0, 0)
		return call(unix.SYS_SHMCTL, id, 0, 0)
	}, func(c tsem.Cell) bool { return c.(*tsem.IPCCell).Value == 0 }},
	{tsem.SemAssociate, func() error { return twice(unix.SYS_SEMGET, 0x7179, 1, 0o1600) }, func(c tsem.Cell) bool {
		return nonzero(c.(*tsem.IPCCell).Perm.Owner)
	}},
	{tsem.SemSemop, func() error {
		id, _, _ := unix.Syscall(unix.SYS_SEMGET, 0x7179, 0, 0)
		return call(unix.SYS_SEMOP, id, address(&[6]byte{2: 1}), 1)
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.SemopCell)
		return m.NSops == 1 && m.Alter == 1
	}},
	{tsem.SemSemctl, func() error {
		id, _, _ := unix.Syscall(unix.SYS_SEMGET, 0x7179, 0, 0)
		return call(unix.SYS_SEMCTL, id, 0, 0)
	}, func(c tsem.Cell) bool { return c.(*tsem.IPCCell).Value == 0 }},
	{tsem.MsgQueueAssociate, func() error { return twice(unix.SYS_MSGGET, 0x717a, 0o1600, 0) }, func(c tsem.Cell) bool {
		return nonzero(c.(*tsem.IPCCell).Perm.Owner)
	}},
	{tsem.MsgQueueMsgsnd, func() error {
		id, _, _ := unix.Syscall(unix.SYS_MSGGET, 0x717a, 0, 0)
		return call(unix.SYS_MSGSND, id, address(&[16]byte{0: 9}), 8)
	}, func(c tsem.Cell) bool { return c.(*tsem.IPCCell).Perm.Mode&0o777 == 0o600 }},
	{tsem.MsgQueueMsgrcv, func() error {
		id, _, _ := unix.Syscall(unix.SYS_MSGGET, 0x717a, 0, 0)
		_, _, e := unix.Syscall6(unix.SYS_MSGRCV, id, address(&[16]byte{}), 8, 9, 0, 0)
		return errno(e)
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.MsgrcvCell)
		return m.Type == 9 && m.Mode == 2 && nonzero(m.Target)
	}},
	{tsem.IPCPermission, func() error { _, _, e := unix.Syscall(unix.SYS_MSGGET, 0x717a, 0o400, 0); return errno(e) }, func(c tsem.Cell) bool {
		return c.(*tsem.IPCPermissionCell).Flag == 0o400
	}},
	{tsem.MsgQueueMsgctl, func() error {
		id, _, _ := unix.Syscall(unix.SYS_MSGGET, 0x717a, 0, 0)
		return call(unix.SYS_MSGCTL, id, 0, 0)
	}, func(c tsem.Cell) bool { return c.(*tsem.IPCCell).Value == 0 }},
	{tsem.FileReceive, receiving, func(c tsem.Cell) bool {
		f := c.(*tsem.FileCell).File
		return ends(f.Path.Pathname, "/received") && f.Flags == unix.O_RDWR|0x8000 && f.Path.Created
	}},
	{tsem.KeyAlloc, func() error {
		_, err := unix.AddKey("user", "quixote", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	}, func(c tsem.Cell) bool {
		return c.(*tsem.KeyAllocCell).Cred.CapEff != 0
	}},
	{tsem.KeyPermission, func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_PROCESS_KEYRING, false); return err }, func(c tsem.Cell) bool {
		m := c.(*tsem.KeyPermissionCell)
		return m.Possessed == 1 && m.Perm != 0 && m.UID == 0
	}},
}

var hookDeeds = []deed{
	{tsem.SocketShutdown, onSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error { unix.Shutdown(fd, unix.SHUT_WR); return nil }), func(c tsem.Cell) bool {
		return c.(*tsem.ShutdownCell).How == unix.SHUT_WR
	}},
	{tsem.SocketGetpeername, onSocket(unix.AF_INET, unix.SOCK_STREAM, func(fd int) error { unix.Getpeername(fd); return nil }), func(c tsem.Cell) bool {
		return c.(*tsem.SockCell).Sock.Type == unix.SOCK_STREAM
	}},
	{tsem.SocketSendmsg, func() error {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			_, err = unix.Write(fds[0], []byte("x")) // with no call of sockets
		}
		return err
	}, func(c tsem.Cell) bool { return c.(*tsem.SockAddrCell).Sock.Family == unix.AF_UNIX }},
	{tsem.SocketRecvmsg, func() error {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			unix.Write(fds[0], []byte("x"))
			_, err = unix.Read(fds[1], make([]byte, 1))
		}
		return err
	}, func(c tsem.Cell) bool { return c.(*tsem.SockAddrCell).Addr.Family == tsem.AddrNone }},
	{tsem.UnixMaySend, func() error {
		l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		at := &unix.SockaddrUnix{Name: "@quixote-bpf-test"}
		if err := unix.Bind(l, at); err != nil {
			return err
		}
		c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err == nil {
			err = unix.Sendto(c, []byte("x"), 0, at)
		}
		return err
	}, func(c tsem.Cell) bool { return c.(*tsem.SockPairCell).First.Type == unix.SOCK_DGRAM }},
	{tsem.PtraceAccessCheck, func() error { _, err := os.Readlink("/proc/" + strconv.Itoa(unix.Getppid()) + "/exe"); return err }, func(c tsem.Cell) bool {
		return !nonzero(c.(*tsem.AccessCheckCell).Child) && c.(*tsem.AccessCheckCell).Mode != 0
	}},
	{tsem.Capable, func() error { unix.Sethostname([]byte("vm")); return nil }, func(c tsem.Cell) bool {
		return c.(*tsem.CapableCell).Cap == unix.CAP_SYS_ADMIN
	}},
	{tsem.Capset, func() error {
		data := [2]unix.CapUserData{{Effective: ^uint32(0), Permitted: ^uint32(0)}, {Effective: 0x1ff, Permitted: 0x1ff}}
		return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.CapsetCell)
		return m.Effective == 0x1ffffffffff && m.Permitted == m.Effective && m.Inheritable == 0
	}},
	{tsem.BPF, func() error { call(unix.SYS_BPF, 99, address(new([16]byte)), 16); return nil }, func(c tsem.Cell) bool {
		return *c.(*tsem.BPFCell) == tsem.BPFCell{Cmd: 99, Size: 16}
	}},
	{tsem.Quotactl, func() error {
		unix.Syscall6(unix.SYS_QUOTACTL, 0x800001<<8, 0, 0, 0, 0, 0)
		return nil
	}, func(c tsem.Cell) bool {
		return c.(*tsem.QuotactlCell).Cmds == 0x800001 && string(c.(*tsem.QuotactlCell).FSType) == "(null)"
	}},
	{tsem.KernelModuleRequest, func() error { unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 200); return nil }, func(c tsem.Cell) bool {
		return string(c.(*tsem.ModuleRequestCell).Name) == "net-pf-2-proto-200-type-1"
	}},
	{tsem.KernelLoadData, func() error { unix.InitModule(make([]byte, 4096), ""); return nil }, func(c tsem.Cell) bool {
		return *c.(*tsem.LoadDataCell) == tsem.LoadDataCell{ID: readingModule, Contents: 1}
	}},
	{tsem.KernelReadFile, func() error {
		if err := os.WriteFile("module", make([]byte, 4096), 0o600); err != nil {
			return err
		}
		fd, err := unix.Open("module", unix.O_RDONLY, 0) // nobody may write
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		unix.FinitModule(fd, "", 0)
		return nil
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.ReadFileCell)
		return m.ID == readingModule && m.Contents == 1 && ends(m.File.Path.Pathname, "/module") && m.File.Inode.Mode == unix.S_IFREG|0o600
	}},
	{tsem.InodeKillpriv, func() error {
		if err := os.WriteFile("capable", nil, 0o755); err != nil {
			return err
		}
		capability := make([]byte, 20) // of version 2: nothing but CAP_CHOWN
		capability[3], capability[4] = 2, 1
		if err := unix.Setxattr("capable", "security.capability", capability, 0); err != nil {
			return err
		}
		return os.Chown("capable", 5, 6)
	}, func(c tsem.Cell) bool { return ends(c.(*tsem.DentryCell).Dentry.Path.Pathname, "/capable") }},
	{tsem.MoveMount, func() error {
		os.Mkdir("to", 0o755)
		fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		if err := unix.FsconfigCreate(fs); err != nil {
			return err
		}
		tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, "to", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return err
		}
		return unix.Unmount("to", unix.MNT_DETACH)
	}, func(c tsem.Cell) bool {
		m := c.(*tsem.PathPairCell)
		return string(m.First.Pathname) == "/" && ends(m.Second.Pathname, "/to")
	}},
	{tsem.SBPivotroot, elsewhere(pivoting), func(c tsem.Cell) bool {
		m := c.(*tsem.PathPairCell)
		return ends(m.First.Pathname, "/old") && m.Second.Type == tsem.PathNamespace
	}},
	{tsem.QuotaOn, func() error {
		if err := os.WriteFile("/quota", nil, 0o600); err != nil {
			return err
		}
		defer os.Remove("/quota")
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT, "usrquota"); err != nil {
			return err
		}
		const on = 0x800002 // Q_QUOTAON
		device, name := unsafe.Pointer(unsafe.StringData("/dev/vda\x00")), unsafe.Pointer(unsafe.StringData("/quota\x00"))
		unix.Syscall6(unix.SYS_QUOTACTL, on<<8, uintptr(device), 2, uintptr(name), 0, 0)
		return nil
	}, func(c tsem.Cell) bool { return string(c.(*tsem.DentryCell).Dentry.Path.Pathname) == "/quota" }},
	{tsem.BPFProg, func() error {
		program := [2][8]byte{{0: 0xb7}, {0: 0x95}} // return 0
		license := [4]byte{'G', 'P', 'L'}
		attr := struct {
			kind, count      uint32
			program, license uintptr
			rest             [64]byte
		}{1, 2, address(&program), address(&license), [64]byte{}}
		err := call(unix.SYS_BPF, 5, address(&attr), 48)
		runtime.KeepAlive(&program)
		runtime.KeepAlive(&license)
		return err
	}, func(c tsem.Cell) bool { return *c.(*tsem.BPFProgCell) == tsem.BPFProgCell{Type: 1} }},
	{tsem.TunDevCreate, tunnel(func(a, b int) error { return tunSet(a) }), anything},
	{tsem.TunDevAttach, tunnel(func(a, b int) error { return tunSet(a) }), anything},
	{tsem.TunDevOpen, tunnel(func(a, b int) error { return errors.Join(tunSet(a), tunSet(b)) }), anything},
	{tsem.TunDevAttachQueue, tunnel(func(a, b int) error {
		return errors.Join(tunSet(a), tunSet(b), tunFlag(b, unix.IFF_DETACH_QUEUE), tunFlag(b, unix.IFF_ATTACH_QUEUE))
	}), anything},
}

// act is the workload that does something.
func act(args []string) int {
	var err error
	switch args[0] {
	case "deeds":
		for i, d := range deeds[:atoi(args[1])] {
			mark(i)
			if e := d.do(); e != nil {
				fmt.Fprintf(os.Stderr, "deed %d (%s): %v\n", i, d.typ, e)
			}
		}
		mark(len(deeds))
	case "traceme":
		err = errno(func() unix.Errno { _, _, e := unix.Syscall(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0); return e }())
	case "quotas":
		err = quotas()
	case "forks":
		err = forks(atoi(args[1]), args[2])
	case "flood":
		flood(atoi(args[1]), atoi(args[2]))
	case "hang":
		os.Stdout.WriteString("ready\n")
		select {}
	case "multiply":
		err = multiply()
	case "touch", "orphan", "prisoner":
		err = touch(args[0], args[1])
	default:
		err = unix.ENOSYS
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// quotas turns quotas on for the file system of /, and off again.
func quotas() error {
	const on, off, format = 0x800002 << 8, 0x800003 << 8, 4 // QFMT_VFS_V1
	// A header with magic number and version, two times and flags, and how many blocks
	// there are: this one and the root of an empty tree.
	file := make([]byte, 2048)
	binary.LittleEndian.PutUint32(file, 0xd9c01f11)
	binary.LittleEndian.PutUint32(file[4:], 1)
	binary.LittleEndian.PutUint32(file[20:], 2)
	if err := os.WriteFile("/quota", file, 0o600); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT, "usrquota"); err != nil {
		return err
	}
	device, name := unsafe.Pointer(unsafe.StringData("/dev/vda\x00")), unsafe.Pointer(unsafe.StringData("/quota\x00"))
	_, _, e := unix.Syscall6(unix.SYS_QUOTACTL, on, uintptr(device), format, uintptr(name), 0, 0)
	if e != 0 {
		return fmt.Errorf("quotas cannot be turned on: %w", e)
	}
	_, _, e = unix.Syscall6(unix.SYS_QUOTACTL, off, uintptr(device), 0, 0, 0, 0)
	os.Remove("/quota")
	return errno(e)
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

// forks starts a program n times at the same time.
func forks(n int, program string) error {
	var wait sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := exec.Command(program).Run(); err != nil {
				errs <- err
			}
		}()
	}
	wait.Wait()
	close(errs)
	return <-errs
}

// flood makes n calls on each of some threads, each of which is one event.
func flood(threads, n int) {
	var wait sync.WaitGroup
	for range threads {
		wait.Add(1)
		go func() {
			defer wait.Done()
			runtime.LockOSThread()
			for i := range n {
				mark(i)
			}
		}()
	}
	wait.Wait()
}

func ends(b []byte, suffix string) bool {
	return len(b) >= len(suffix) && string(b[len(b)-len(suffix):]) == suffix
}

func nonzero(d tsem.Digest) bool {
	for _, x := range d {
		if x != 0 {
			return true
		}
	}
	return false
}

func aboutMe(c tsem.Cell) bool { return nonzero(c.(*tsem.TaskCell).Task) }

func opened(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func onFile(path string, f func(fd int) error) func() error {
	return func() error {
		fd, err := unix.Open(path, unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(fd)
	}
}

func onSocket(family, kind int, f func(fd int) error) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(fd)
	}
}

// accepting accepts a connection on port 4444.
func accepting() error {
	return onSocket(unix.AF_INET, unix.SOCK_STREAM, func(l int) error {
		at := &unix.SockaddrInet4{Port: 4444, Addr: [4]byte{127, 0, 0, 1}}
		unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err := unix.Bind(l, at); err != nil {
			return err
		}
		if err := unix.Listen(l, 1); err != nil {
			return err
		}
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(c)
		if err := unix.Connect(c, at); err != nil {
			return err
		}
		fd, _, err := unix.Accept(l)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})()
}

func traced() error {
	cmd := exec.Command("/proc/self/exe", "traceme")
	// The signals by which the runtime preempts would stop it. Nor is it to look at
	// its processors now and then, which is an event.
	cmd.Env = append(os.Environ(), acts+"=1", "GODEBUG=asyncpreemptoff=1,updatemaxprocs=0")
	return cmd.Run()
}

func errno(e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

func call(number, a, b, c uintptr) error {
	_, _, e := unix.Syscall(number, a, b, c)
	return errno(e)
}

// figetbsz is FIGETBSZ, which asks for the size of a block.
const figetbsz = 2

// address is that of some bytes, for a call that takes it as a number.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// twice makes a call that makes an object, and then finds it.
func twice(number, a, b, c uintptr) error {
	if err := call(number, a, b, c); err != nil {
		return err
	}
	return call(number, a, b, c)
}

// readingModule is READING_MODULE, and LOADING_MODULE.
const readingModule = 2

func anything(tsem.Cell) bool { return true }

// receiving gets a descriptor in a message.
func receiving() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if err := os.WriteFile("received", []byte("x"), 0o600); err != nil {
		return err
	}
	err = onFile("received", func(fd int) error { return unix.Sendmsg(fds[0], []byte("x"), unix.UnixRights(fd), nil, 0) })()
	if err != nil {
		return err
	}
	rest := make([]byte, unix.CmsgSpace(4))
	if _, _, _, _, err = unix.Recvmsg(fds[1], make([]byte, 1), rest, 0); err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(rest)
	if err != nil {
		return err
	}
	got, err := unix.ParseUnixRights(&messages[0])
	if err == nil {
		unix.Close(got[0])
	}
	return err
}

// elsewhere does something on a thread that ends with it, in a mount namespace
// of its own.
func elsewhere(do func() error) func() error {
	return func() error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked
			err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
			if err == nil {
				err = do()
			}
			done <- err
		}()
		return <-done
	}
}

func pivoting() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("root", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("none", "root", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.Mkdir("root/old", 0o755); err != nil {
		return err
	}
	return unix.PivotRoot("root", "root/old")
}

// tunnel does something with two descriptors of the network tunnel device, which
// the kernel takes back with them.
func tunnel(do func(a, b int) error) func() error {
	return func() error {
		os.MkdirAll("/dev/net", 0o755)
		unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200)))
		a, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer unix.Close(a)
		b, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer unix.Close(b)
		return do(a, b)
	}
}

func tunSet(fd int) error {
	r, err := unix.NewIfreq("quixote0")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
}

func tunFlag(fd int, what uint16) error {
	r, err := unix.NewIfreq("quixote0")
	if err != nil {
		return err
	}
	r.SetUint16(what)
	return unix.IoctlIfreq(fd, unix.TUNSETQUEUE, r)
}
