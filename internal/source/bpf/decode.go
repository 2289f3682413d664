// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// decoder makes events of what the programs write. It belongs to one goroutine,
// and allocates nothing for an event that is like those before.
type decoder struct {
	alg     *tsem.Algorithm
	hasher  *tsem.Hasher
	zero    tsem.Digest // what identifies tasks from outside
	empty   tsem.Digest // digest of no bytes
	ids     identities
	model   *model.Model
	made    *made
	digests *digests
	host    bool          // every task is in the context
	born    uint64        // boot time when the context was made, in nanoseconds
	wall    bool          // events carry the wall-clock time
	boot    time.Time     // when the machine was booted, by the wall clock of now
	cursor  cursor        // in the record
	head    head          // of the event
	event   tsem.Event    // the same for the writer
	cells   cells         // what it is about
	text    []byte        // names in it
	program tsem.FileCell // of an exec
}

func newDecoder(alg *tsem.Algorithm, m *model.Model, digests *digests) *decoder {
	return &decoder{
		model: m, alg: alg, hasher: tsem.NewHasher(alg), zero: alg.Zero(), empty: alg.Z(),
		made: newMade(), digests: digests,
		text: make([]byte, 0, 16<<10),
	}
}

// id is the identity of a task by the number of its exec. It is empty if that
// exec could not be noted, which has been counted.
func (d *decoder) id(ttd uint64) tsem.Digest {
	if ttd == nothing {
		return d.zero
	}
	if ttd == 0 {
		return d.zero
	}
	return d.ids.get(ttd)
}

// depth is the number of an exec for a record: 0 where there was none.
func depth(ttd uint64) uint64 {
	if ttd == nothing {
		return 0
	}
	return ttd
}

// cells has one cell of each shape.
type cells struct {
	file    tsem.FileCell
	command tsem.FileCmdCell
	mapping tsem.MmapCell
	read    tsem.ReadFileCell

	create  tsem.CreateCell
	remove  tsem.RemoveCell
	link    tsem.LinkCell
	symlink tsem.SymlinkCell
	mknod   tsem.MknodCell
	rename  tsem.RenameCell
	setattr tsem.SetattrCell
	getattr tsem.GetattrCell
	xattr   tsem.XattrCell
	setx    tsem.SetxattrCell
	dentry  tsem.DentryCell

	mount   tsem.MountCell
	umount  tsem.UmountCell
	remount tsem.RemountCell
	paths   tsem.PathPairCell
	quota   tsem.QuotactlCell

	socket   tsem.SocketCreateCell
	address  tsem.SockAddrCell
	listen   tsem.ListenCell
	shutdown tsem.ShutdownCell
	option   tsem.SetsockoptCell
	sock     tsem.SockCell
	socks    tsem.SockPairCell
	netlink  tsem.NetlinkCell

	kill      tsem.KillCell
	setpgid   tsem.SetpgidCell
	task      tsem.TaskCell
	value     tsem.TaskValueCell
	prlimit   tsem.PrlimitCell
	setrlimit tsem.SetrlimitCell
	prctl     tsem.PrctlCell
	access    tsem.AccessCheckCell
	traceme   tsem.TracemeCell
	capable   tsem.CapableCell
	capget    tsem.CapgetCell
	capset    tsem.CapsetCell

	module tsem.ModuleRequestCell
	load   tsem.LoadDataCell

	ipc     tsem.IPCCell
	semop   tsem.SemopCell
	msgrcv  tsem.MsgrcvCell
	ipcPerm tsem.IPCPermissionCell

	syslog   tsem.SyslogCell
	settime  tsem.SettimeCell
	keyAlloc tsem.KeyAllocCell
	key      tsem.KeyPermissionCell
	bpf      tsem.BPFCell
	bpfMap   tsem.BPFMapCell
	bpfProg  tsem.BPFProgCell
	none     tsem.EmptyCell
}

// decode reads one record of the ring. The event is the decoder's until the
// next one; nil if the record is not one.
func (d *decoder) decode(b []byte) *tsem.Event {
	c := &d.cursor
	*c = cursor{b: b}
	d.text = d.text[:0]
	d.head.read(c)
	if int(d.head.kind) >= len(readers) || readers[d.head.kind] == nil {
		return nil
	}
	e := &d.event
	e.Type = tsem.Type(d.head.kind)
	e.Async = e.Type.Info().Async
	e.Context = d.head.context
	e.PID, e.TNum, e.Process = d.head.pid, d.head.tnum, d.head.comm
	e.TTD, e.PTTD = depth(d.head.ttd), depth(d.head.pttd)
	e.TaskID, e.PTaskID = d.id(d.head.ttd), d.id(d.head.pttd)
	e.TS = 0
	if d.head.ts > d.born {
		e.TS = d.head.ts - d.born
	}
	if d.wall {
		e.Time = d.boot.Add(time.Duration(d.head.ts))
	}
	e.COE = d.head.coe
	e.Cell = readers[d.head.kind](d, c)
	if c.short {
		return nil
	}
	return e
}

// keeps tells whether the event that was decoded last is one of the model.
func (d *decoder) keeps() bool {
	e := &d.event
	when, kept := d.model.Of(e.Type)
	if !kept || when == 0 {
		return kept
	}
	facts := model.Facts{Root: d.head.euid == 0}
	switch c := e.Cell.(type) {
	case *tsem.FileCell:
		facts.Mode, facts.Flags = c.File.Inode.Mode, c.File.Flags
	case *tsem.MmapCell:
		if c.HasFile {
			facts.Mode, facts.Flags, facts.Prot = c.File.Inode.Mode, c.File.Flags, c.Prot
		}
	}
	return d.model.Keeps(e.Type, facts)
}

// readers has a function for each event type, which reads the parts that the
// program on the hook writes.
var readers = [tsem.NumTypes + 1]func(*decoder, *cursor) tsem.Cell{
	tsem.FileOpen:        fileOpen,
	tsem.FileReceive:     fileReceive,
	tsem.FileIoctl:       fileCommand,
	tsem.FileIoctlCompat: fileCommand,
	tsem.FileLock:        fileCommand,
	tsem.FileFcntl:       fileCommand,
	tsem.MmapFile:        mmapFile,
	tsem.KernelReadFile:  kernelReadFile,

	tsem.InodeCreate:      inodeCreate,
	tsem.InodeMkdir:       inodeCreate,
	tsem.InodeUnlink:      inodeRemove,
	tsem.InodeRmdir:       inodeRemove,
	tsem.InodeLink:        inodeLink,
	tsem.InodeSymlink:     inodeSymlink,
	tsem.InodeMknod:       inodeMknod,
	tsem.InodeRename:      inodeRename,
	tsem.InodeSetattr:     inodeSetattr,
	tsem.InodeGetattr:     inodeGetattr,
	tsem.InodeSetxattr:    inodeSetxattr,
	tsem.InodeGetxattr:    inodeXattr,
	tsem.InodeRemovexattr: inodeXattr,
	tsem.InodeListxattr:   dentryOnly,
	tsem.InodeKillpriv:    dentryOnly,
	tsem.SBStatfs:         dentryOnly,
	tsem.QuotaOn:          dentryOnly,

	tsem.SBMount:     sbMount,
	tsem.SBUmount:    sbUmount,
	tsem.SBRemount:   sbRemount,
	tsem.SBPivotroot: pathPair,
	tsem.MoveMount:   pathPair,
	tsem.Quotactl:    quotactl,

	tsem.SocketCreate:      socketCreate,
	tsem.SocketConnect:     socketAddress,
	tsem.SocketBind:        socketAddress,
	tsem.SocketAccept:      socketAccept,
	tsem.SocketListen:      socketListen,
	tsem.SocketShutdown:    socketShutdown,
	tsem.SocketSetsockopt:  socketSetsockopt,
	tsem.SocketGetsockname: socketOnly,
	tsem.SocketGetpeername: socketOnly,
	tsem.SocketSendmsg:     socketMessage,
	tsem.SocketRecvmsg:     socketMessage,
	tsem.SocketSocketpair:  socketPair,
	tsem.UnixStreamConnect: socketPair,
	tsem.UnixMaySend:       socketPair,
	tsem.NetlinkSend:       netlinkSend,

	tsem.TaskKill:          taskKill,
	tsem.TaskSetpgid:       taskSetpgid,
	tsem.TaskGetpgid:       taskOnly,
	tsem.TaskGetsid:        taskOnly,
	tsem.TaskGetioprio:     taskOnly,
	tsem.TaskSetscheduler:  taskOnly,
	tsem.TaskGetscheduler:  taskOnly,
	tsem.TaskSetnice:       taskValue,
	tsem.TaskSetioprio:     taskValue,
	tsem.TaskPrlimit:       taskPrlimit,
	tsem.TaskSetrlimit:     taskSetrlimit,
	tsem.TaskPrctl:         taskPrctl,
	tsem.PtraceAccessCheck: ptraceAccessCheck,
	tsem.PtraceTraceme:     ptraceTraceme,
	tsem.Capable:           capable,
	tsem.Capget:            capget,
	tsem.Capset:            capset,

	tsem.KernelModuleRequest: moduleRequest,
	tsem.KernelLoadData:      loadData,

	tsem.ShmAssociate:      ipcValue,
	tsem.ShmShmctl:         ipcValue,
	tsem.ShmShmat:          ipcValue,
	tsem.SemAssociate:      ipcValue,
	tsem.SemSemctl:         ipcValue,
	tsem.MsgQueueAssociate: ipcValue,
	tsem.MsgQueueMsgctl:    ipcValue,
	tsem.MsgQueueMsgsnd:    ipcValue,
	tsem.SemSemop:          semop,
	tsem.MsgQueueMsgrcv:    msgrcv,
	tsem.IPCPermission:     ipcPermission,

	tsem.Syslog:            syslog,
	tsem.Settime:           settime,
	tsem.KeyAlloc:          keyAlloc,
	tsem.KeyPermission:     keyPermission,
	tsem.BPF:               bpfCommand,
	tsem.BPFMap:            bpfMap,
	tsem.BPFProg:           bpfProg,
	tsem.TunDevCreate:      empty,
	tsem.TunDevOpen:        empty,
	tsem.TunDevAttachQueue: tunQueue,
	tsem.TunDevAttach:      empty,
}

func fileOpen(d *decoder, c *cursor) tsem.Cell {
	d.file(c, &d.cells.file.File, true)
	return &d.cells.file
}

func fileReceive(d *decoder, c *cursor) tsem.Cell {
	d.file(c, &d.cells.file.File, false)
	return &d.cells.file
}

func fileCommand(d *decoder, c *cursor) tsem.Cell {
	d.file(c, &d.cells.command.File, false)
	d.cells.command.Cmd = c.u32()
	return &d.cells.command
}

func mmapFile(d *decoder, c *cursor) tsem.Cell {
	m := &d.cells.mapping
	m.Prot, m.Flags = c.two()
	if m.HasFile = c.u64() != 0; m.HasFile {
		d.file(c, &m.File, false)
	}
	return m
}

func kernelReadFile(d *decoder, c *cursor) tsem.Cell {
	id, contents := c.two()
	d.cells.read.ID, d.cells.read.Contents = int32(id), int32(contents)
	d.file(c, &d.cells.read.File, false)
	return &d.cells.read
}

func inodeCreate(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.create
	number := c.u64()
	dir := d.inode(c, &n.Dir)
	d.dentry(c, &n.Dentry, relative, byTask)
	n.Mode = c.u32()
	p := &n.Dentry.Path
	p.Created, p.Owner, p.Instance = true, d.id(d.head.ttd), d.made.begin(number, dir.inodeKey, d.head.ttd, d.event.TaskID)
	return n
}

func inodeRemove(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.remove
	d.inode(c, &n.Dir)
	st := d.dentry(c, &n.Dentry, relative, byMaker)
	if st.nlink <= 1 || d.event.Type == tsem.InodeRmdir {
		d.made.removing(st.inodeKey)
	}
	return n
}

func inodeLink(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.link
	d.dentry(c, &n.Old, relative, byTask)
	d.inode(c, &n.Dir)
	d.dentry(c, &n.New, relative, byTask)
	return n
}

func inodeSymlink(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.symlink
	d.inode(c, &n.Dir)
	d.dentry(c, &n.Dentry, relative, byTask)
	n.OldName = c.bytes()
	return n
}

func inodeMknod(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.mknod
	d.inode(c, &n.Dir)
	d.dentry(c, &n.Dentry, relative, byTask)
	mode, dev := c.two()
	n.Mode, n.Dev = mode, tsem.Dev{Major: dev >> minorBits, Minor: dev & (1<<minorBits - 1)}
	return n
}

func inodeRename(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.rename
	d.inode(c, &n.OldDir)
	d.dentry(c, &n.Old, relative, byTask)
	d.inode(c, &n.NewDir)
	if st := d.dentry(c, &n.New, relative, byTask); n.New.HasInode && st.nlink <= 1 {
		d.made.removing(st.inodeKey)
	}
	return n
}

// Bits of the attributes that a change is about.
const (
	attrMode = 1 << iota
	attrUID
	attrGID
	attrSize
)

func inodeSetattr(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.setattr
	d.dentry(c, &n.Dentry, relative, byTask)
	n.Mode, n.UID, n.GID, n.Size = 0, 0, 0, 0
	valid, mode := c.two()
	uid, gid := c.two()
	size := c.u64()
	n.Valid = valid
	if valid&attrMode != 0 {
		n.Mode = mode
	}
	if valid&attrUID != 0 {
		n.UID = d.head.uid(uid)
	}
	if valid&attrGID != 0 {
		n.GID = d.head.gid(gid)
	}
	if valid&attrSize != 0 {
		n.Size = size
	}
	return n
}

func inodeGetattr(d *decoder, c *cursor) tsem.Cell {
	d.dentry(c, &d.cells.getattr.Path, absolute, byTask)
	return &d.cells.getattr
}

func inodeSetxattr(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.setx
	d.dentry(c, &n.Dentry, relative, byTask)
	n.Name = c.bytes()
	n.Flags = int32(c.u32())
	n.Value = c.bytes()
	return n
}

func inodeXattr(d *decoder, c *cursor) tsem.Cell {
	d.dentry(c, &d.cells.xattr.Dentry, relative, byTask)
	d.cells.xattr.Name = c.bytes()
	return &d.cells.xattr
}

func dentryOnly(d *decoder, c *cursor) tsem.Cell {
	d.dentry(c, &d.cells.dentry.Dentry, relative, byTask)
	return &d.cells.dentry
}

func sbMount(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.mount
	n.DevName = c.bytes()
	d.location(c, &n.Path)
	n.Type = c.bytes()
	n.Flags = c.u64()
	return n
}

func sbUmount(d *decoder, c *cursor) tsem.Cell {
	d.dentry(c, &d.cells.umount.Mnt, relative, byTask)
	d.cells.umount.Flags = int32(c.u32())
	return &d.cells.umount
}

func sbRemount(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.remount
	n.FSType, n.Flags = d.superblock(c, &n.Dentry)
	return n
}

func pathPair(d *decoder, c *cursor) tsem.Cell {
	d.location(c, &d.cells.paths.First)
	d.location(c, &d.cells.paths.Second)
	return &d.cells.paths
}

func quotactl(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.quota
	cmds, kind := c.two()
	id, has := c.two()
	n.Cmds, n.Type, n.ID = int32(cmds), int32(kind), int32(id)
	if has == 0 {
		// All file systems: TSEM has no words for none.
		n.FSType, n.Flags = noSuperblock, 0
		n.Dentry = tsem.Dentry{Path: tsem.Path{Type: d.placeType(), Pathname: noSuperblock}}
		return n
	}
	var flags uint64
	n.FSType, flags = d.superblock(c, &n.Dentry)
	n.Flags = int32(flags)
	return n
}

var noSuperblock = []byte("(null)")

func socketCreate(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.socket
	n.Family, n.Type = c.two()
	n.Protocol, n.Kern = c.two()
	return n
}

// sockaddr reads the bytes of an address.
func (c *cursor) sockaddr() []byte {
	n := c.u64()
	return c.take(addrMax)[:min(n, addrMax)]
}

func socketAddress(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.address
	d.sock(c, &n.Sock)
	n.Addr = derive.Address(d.alg, n.Sock.Family, c.sockaddr())
	return n
}

// socketAccept describes the listening socket, the port in the order of the
// host.
func socketAccept(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.address
	d.sock(c, &n.Sock)
	port, inet := c.two()
	six := c.take(16)
	name := c.sockaddr()
	switch n.Sock.Family {
	case unix.AF_INET:
		n.Addr = tsem.Addr{Family: tsem.AddrInet, Port: hostOrder(port), Address: inet}
	case unix.AF_INET6:
		n.Addr = tsem.Addr{Family: tsem.AddrInet6Short, Port: hostOrder(port)}
		copy(n.Addr.Address6[:], six)
	case unix.AF_UNIX:
		n.Addr = tsem.Addr{Family: tsem.AddrUnix}
		if len(name) > 2 {
			n.Addr.Path, _, _ = bytes.Cut(name[2:], []byte{0})
		}
	default:
		n.Addr = tsem.Addr{Family: tsem.AddrOther, Digest: d.zero}
	}
	return n
}

// hostOrder is a port, which comes as its bytes on the network.
func hostOrder(port uint32) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], uint16(port))
	return binary.BigEndian.Uint16(b[:])
}

func socketListen(d *decoder, c *cursor) tsem.Cell {
	d.sock(c, &d.cells.listen.Sock)
	d.cells.listen.Backlog = int32(c.u32())
	return &d.cells.listen
}

func socketShutdown(d *decoder, c *cursor) tsem.Cell {
	d.sock(c, &d.cells.shutdown.Sock)
	d.cells.shutdown.How = int32(c.u32())
	return &d.cells.shutdown
}

func socketSetsockopt(d *decoder, c *cursor) tsem.Cell {
	d.sock(c, &d.cells.option.Sock)
	level, name := c.two()
	d.cells.option.Level, d.cells.option.Optname = int32(level), int32(name)
	return &d.cells.option
}

func socketOnly(d *decoder, c *cursor) tsem.Cell {
	d.sock(c, &d.cells.sock.Sock)
	return &d.cells.sock
}

func socketMessage(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.address
	d.sock(c, &n.Sock)
	n.Addr = derive.Destination(d.alg, n.Sock.Family, c.sockaddr())
	return n
}

func socketPair(d *decoder, c *cursor) tsem.Cell {
	d.sock(c, &d.cells.socks.First)
	d.sock(c, &d.cells.socks.Second)
	return &d.cells.socks
}

func netlinkSend(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.netlink
	d.sock(c, &n.Sock)
	uid, gid := c.two()
	n.UID, n.GID = d.head.uid(uid), d.head.gid(gid)
	n.PortID, n.DstGroup = c.two()
	n.Flags, n.NSIDSet = c.two()
	n.NSID = int32(c.u32())
	return n
}

func taskKill(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.kill
	ttd := c.u64()
	n.Target, n.Sig, n.CrossNS = d.id(ttd), c.u32(), 0
	if ttd == nothing && !d.host {
		n.CrossNS = 1
	}
	return n
}

func taskSetpgid(d *decoder, c *cursor) tsem.Cell {
	d.cells.setpgid.Task, d.cells.setpgid.Source = d.id(c.u64()), d.id(c.u64())
	return &d.cells.setpgid
}

func taskOnly(d *decoder, c *cursor) tsem.Cell {
	d.cells.task.Task = d.id(c.u64())
	return &d.cells.task
}

func taskValue(d *decoder, c *cursor) tsem.Cell {
	d.cells.value.Task, d.cells.value.Value = d.id(c.u64()), int32(c.u32())
	return &d.cells.value
}

func taskPrlimit(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.prlimit
	d.creds(c, &n.Cred)
	d.creds(c, &n.TCred)
	n.Flags = int32(c.u32())
	return n
}

func taskSetrlimit(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.setrlimit
	n.Task, n.Resource = d.id(c.u64()), c.u32()
	n.Current, n.Max = c.u64(), c.u64()
	return n
}

func taskPrctl(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.prctl
	n.Option = int32(c.u32())
	n.Arg2, n.Arg3, n.Arg4, n.Arg5 = c.u64(), c.u64(), c.u64(), c.u64()
	if n.Option == unix.PR_SET_NAME || n.Option == unix.PR_GET_NAME {
		n.Arg2 = 0
	}
	return n
}

func ptraceAccessCheck(d *decoder, c *cursor) tsem.Cell {
	d.cells.access.Child, d.cells.access.Mode = d.id(c.u64()), c.u32()
	return &d.cells.access
}

func ptraceTraceme(d *decoder, c *cursor) tsem.Cell {
	d.cells.traceme.Source = d.id(c.u64())
	return &d.cells.traceme
}

func capable(d *decoder, c *cursor) tsem.Cell {
	n, opts := c.two()
	d.cells.capable.Cap, d.cells.capable.Opts = int32(n), opts
	return &d.cells.capable
}

func capget(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.capget
	n.Target = d.id(c.u64())
	n.Effective, n.Inheritable, n.Permitted = c.u64(), c.u64(), c.u64()
	return n
}

func capset(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.capset
	n.Effective, n.Inheritable, n.Permitted = c.u64(), c.u64(), c.u64()
	return n
}

func moduleRequest(d *decoder, c *cursor) tsem.Cell {
	d.cells.module.Name = c.bytes()
	return &d.cells.module
}

func loadData(d *decoder, c *cursor) tsem.Cell {
	id, contents := c.two()
	d.cells.load.ID, d.cells.load.Contents = int32(id), int32(contents)
	return &d.cells.load
}

func ipcValue(d *decoder, c *cursor) tsem.Cell {
	d.perm(c, &d.cells.ipc.Perm)
	d.cells.ipc.Value = int32(c.u32())
	return &d.cells.ipc
}

func semop(d *decoder, c *cursor) tsem.Cell {
	d.perm(c, &d.cells.semop.Perm)
	n, alter := c.two()
	d.cells.semop.NSops, d.cells.semop.Alter = n, int32(alter)
	return &d.cells.semop
}

func msgrcv(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.msgrcv
	d.perm(c, &n.Perm)
	n.Target, n.Type, n.Mode = d.id(c.u64()), int64(c.u64()), int32(c.u32())
	return n
}

func ipcPermission(d *decoder, c *cursor) tsem.Cell {
	d.perm(c, &d.cells.ipcPerm.Perm)
	d.cells.ipcPerm.Flag = c.u32()
	return &d.cells.ipcPerm
}

func syslog(d *decoder, c *cursor) tsem.Cell {
	d.cells.syslog.Type = int32(c.u32())
	return &d.cells.syslog
}

func settime(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.settime
	time, zone := c.two()
	*n = tsem.SettimeCell{HasTime: time != 0, HasZone: zone != 0}
	sec, nsec := c.two()
	west, dst := c.two()
	if n.HasTime {
		n.Seconds, n.Nsecs = int32(sec), int32(nsec)
	}
	if n.HasZone {
		n.MinutesWest, n.DSTTime = int32(west), int32(dst)
	}
	return n
}

func keyAlloc(d *decoder, c *cursor) tsem.Cell {
	d.creds(c, &d.cells.keyAlloc.Cred)
	d.cells.keyAlloc.Flags = c.u64()
	return &d.cells.keyAlloc
}

func keyPermission(d *decoder, c *cursor) tsem.Cell {
	n := &d.cells.key
	n.Possessed, n.Perm = c.two()
	uid, gid := c.two()
	n.UID, n.GID = d.head.uid(uid), d.head.gid(gid)
	n.Flags = c.u64()
	d.creds(c, &n.Cred)
	return n
}

func bpfCommand(d *decoder, c *cursor) tsem.Cell {
	cmd, size := c.two()
	d.cells.bpf.Cmd, d.cells.bpf.Size = int32(cmd), size
	return &d.cells.bpf
}

func bpfMap(d *decoder, c *cursor) tsem.Cell {
	kind, mode := c.two()
	d.cells.bpfMap.MapType, d.cells.bpfMap.Fmode = int32(kind), mode
	return &d.cells.bpfMap
}

func bpfProg(d *decoder, c *cursor) tsem.Cell {
	kind, attach := c.two()
	d.cells.bpfProg.Type, d.cells.bpfProg.AttachType = int32(kind), int32(attach)
	return &d.cells.bpfProg
}

func empty(d *decoder, _ *cursor) tsem.Cell { return &d.cells.none }

// tunQueue has a socket that TSEM never fills in.
func tunQueue(d *decoder, _ *cursor) tsem.Cell {
	d.cells.sock = tsem.SockCell{Sock: tsem.Sock{Owner: d.zero}}
	return &d.cells.sock
}
