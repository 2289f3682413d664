// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"runtime"

	"github.com/cilium/ebpf"

	"quixote-export/internal/derive"
	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// callKind says what the programs on the tracepoints of system calls tell of one.
type callKind uint8

const (
	_ callKind = iota
	callExec
	callOpen
	callOpenat2
	callMmap
	callMmapPacked
	callLink
	callUnlink
	callRmdir
	callSymlink
	callMkdir
	callMknod
	callRename
	callChmod
	callChown
	callTruncate
	callUtimes
	callGetattr
	callSetxattr
	callSetxattrat
	callGetxattr
	callListxattr
	callRemovexattr
	callIoctl
	callFcntl
	callFlock
	callStatfs
	callSocket
	callSocketpair
	callConnect
	callBind
	callListen
	callAccept
	callGetsockname
	callGetpeername
	callSetsockopt
	callShutdown
	callSendto
	callSendmsg
	callSendmmsg
	callRecvfrom
	callRecvmsg
	callRecvmmsg
	callKill
	callTgkill
	callPrctl
	callCapget
	callCapset
	callSetpgid
	callGetpgid
	callGetsid
	callSetpriority
	callIoprioSet
	callIoprioGet
	callSetscheduler
	callGetscheduler
	callSetrlimit
	callPrlimit
	callPtrace
	callMount
	callUmount
	callPivotRoot
	callMoveMount
	callBPF
	callSyslog
	callSettimeofday
	callClockSettime
	callPidfdGetfd
	callSocketcall
	callShmget
	callShmat
	callShmctl
	callSemget
	callSemctl
	callSemop
	callMsgget
	callMsgctl
	callMsgsnd
	callMsgrcv
	callIPC
	callAddKey
	callRequestKey
	callKeyctl
	callQuotactl
	callQuotactlFD
	callInitModule
	callFinitModule
	callKexecLoad
	callKexecFileLoad
	callPidfdSendSignal
	callNice
	callFsconfig
	callProcessVM
	callProcessMadvise
	callKcmp
	callLookInto
	callKinds
)

// told is a call that is told of, by name.
type told struct {
	kind  callKind
	early bool // it is looked at when it begins, too
	// events are what it is told of as: not all that the table of system calls has
	// for it.
	events []tsem.Type
}

func tell(k callKind, t ...tsem.Type) told      { return told{kind: k, events: t} }
func tellEarly(k callKind, t ...tsem.Type) told { return told{k, true, t} }

// toldCalls are the calls that are told of.
var toldCalls = map[string]told{
	"execve": tellEarly(callExec, tsem.FileOpen), "execveat": tellEarly(callExec, tsem.FileOpen),
	"open": tell(callOpen, tsem.FileOpen, tsem.InodeCreate, tsem.InodeSetattr), "openat": tell(callOpen, tsem.FileOpen, tsem.InodeCreate, tsem.InodeSetattr),
	"creat":   tell(callOpen, tsem.FileOpen, tsem.InodeCreate, tsem.InodeSetattr),
	"openat2": tell(callOpenat2, tsem.FileOpen, tsem.InodeCreate, tsem.InodeSetattr),
	"mmap":    tell(callMmap, tsem.MmapFile), "mmap2": tell(callMmap, tsem.MmapFile),

	"link": tell(callLink, tsem.InodeLink), "linkat": tell(callLink, tsem.InodeLink),
	"unlink": tellEarly(callUnlink, tsem.InodeUnlink), "unlinkat": tellEarly(callUnlink, tsem.InodeUnlink, tsem.InodeRmdir),
	"rmdir":   tellEarly(callRmdir, tsem.InodeRmdir),
	"symlink": tell(callSymlink, tsem.InodeSymlink), "symlinkat": tell(callSymlink, tsem.InodeSymlink),
	"mkdir": tell(callMkdir, tsem.InodeMkdir), "mkdirat": tell(callMkdir, tsem.InodeMkdir),
	"mknod": tell(callMknod, tsem.InodeMknod, tsem.InodeCreate), "mknodat": tell(callMknod, tsem.InodeMknod, tsem.InodeCreate),
	"rename": tellEarly(callRename, tsem.InodeRename), "renameat": tellEarly(callRename, tsem.InodeRename), "renameat2": tellEarly(callRename, tsem.InodeRename),

	"chmod": tellEarly(callChmod, tsem.InodeSetattr), "fchmod": tellEarly(callChmod, tsem.InodeSetattr),
	"fchmodat": tellEarly(callChmod, tsem.InodeSetattr), "fchmodat2": tellEarly(callChmod, tsem.InodeSetattr),
	"chown": tellEarly(callChown, tsem.InodeSetattr), "lchown": tellEarly(callChown, tsem.InodeSetattr),
	"fchown": tellEarly(callChown, tsem.InodeSetattr), "fchownat": tellEarly(callChown, tsem.InodeSetattr),
	"chown32": tellEarly(callChown, tsem.InodeSetattr), "lchown32": tellEarly(callChown, tsem.InodeSetattr), "fchown32": tellEarly(callChown, tsem.InodeSetattr),
	"truncate": tellEarly(callTruncate, tsem.InodeSetattr), "ftruncate": tellEarly(callTruncate, tsem.InodeSetattr),
	"truncate64": tellEarly(callTruncate, tsem.InodeSetattr), "ftruncate64": tellEarly(callTruncate, tsem.InodeSetattr),
	"utime": tellEarly(callUtimes, tsem.InodeSetattr), "utimes": tellEarly(callUtimes, tsem.InodeSetattr), "futimesat": tellEarly(callUtimes, tsem.InodeSetattr),
	"utimensat": tellEarly(callUtimes, tsem.InodeSetattr), "utimensat_time64": tellEarly(callUtimes, tsem.InodeSetattr),
	"stat": tell(callGetattr, tsem.InodeGetattr), "lstat": tell(callGetattr, tsem.InodeGetattr), "fstat": tell(callGetattr, tsem.InodeGetattr),
	"newfstatat": tell(callGetattr, tsem.InodeGetattr), "statx": tell(callGetattr, tsem.InodeGetattr),
	"oldstat": tell(callGetattr, tsem.InodeGetattr), "oldlstat": tell(callGetattr, tsem.InodeGetattr), "oldfstat": tell(callGetattr, tsem.InodeGetattr),
	"stat64": tell(callGetattr, tsem.InodeGetattr), "lstat64": tell(callGetattr, tsem.InodeGetattr), "fstat64": tell(callGetattr, tsem.InodeGetattr),
	"fstatat64": tell(callGetattr, tsem.InodeGetattr),
	"setxattr":  tell(callSetxattr, tsem.InodeSetxattr), "lsetxattr": tell(callSetxattr, tsem.InodeSetxattr), "fsetxattr": tell(callSetxattr, tsem.InodeSetxattr),
	"setxattrat": tell(callSetxattrat, tsem.InodeSetxattr),
	"getxattr":   tell(callGetxattr, tsem.InodeGetxattr), "lgetxattr": tell(callGetxattr, tsem.InodeGetxattr),
	"fgetxattr": tell(callGetxattr, tsem.InodeGetxattr), "getxattrat": tell(callGetxattr, tsem.InodeGetxattr),
	"listxattr": tell(callListxattr, tsem.InodeListxattr), "llistxattr": tell(callListxattr, tsem.InodeListxattr),
	"flistxattr": tell(callListxattr, tsem.InodeListxattr), "listxattrat": tell(callListxattr, tsem.InodeListxattr),
	"removexattr": tell(callRemovexattr, tsem.InodeRemovexattr), "lremovexattr": tell(callRemovexattr, tsem.InodeRemovexattr),
	"fremovexattr": tell(callRemovexattr, tsem.InodeRemovexattr), "removexattrat": tell(callRemovexattr, tsem.InodeRemovexattr),

	"ioctl": tell(callIoctl, tsem.FileIoctl, tsem.FileIoctlCompat, tsem.TunDevCreate, tsem.TunDevOpen, tsem.TunDevAttach, tsem.TunDevAttachQueue),
	"fcntl": tell(callFcntl, tsem.FileFcntl, tsem.FileLock), "fcntl64": tell(callFcntl, tsem.FileFcntl, tsem.FileLock),
	"flock":  tell(callFlock, tsem.FileLock),
	"statfs": tell(callStatfs, tsem.SBStatfs), "fstatfs": tell(callStatfs, tsem.SBStatfs),
	"statfs64": tell(callStatfs, tsem.SBStatfs), "fstatfs64": tell(callStatfs, tsem.SBStatfs),

	"socket": tell(callSocket, tsem.SocketCreate), "socketpair": tell(callSocketpair, tsem.SocketSocketpair, tsem.SocketCreate),
	"connect": tell(callConnect, tsem.SocketConnect, tsem.UnixStreamConnect, tsem.UnixMaySend), "bind": tell(callBind, tsem.SocketBind, tsem.InodeMknod),
	"listen": tell(callListen, tsem.SocketListen), "accept": tell(callAccept, tsem.SocketAccept), "accept4": tell(callAccept, tsem.SocketAccept),
	"getsockname": tell(callGetsockname, tsem.SocketGetsockname), "getpeername": tell(callGetpeername, tsem.SocketGetpeername),
	"setsockopt": tell(callSetsockopt, tsem.SocketSetsockopt), "shutdown": tell(callShutdown, tsem.SocketShutdown),
	"sendto": tell(callSendto, tsem.SocketSendmsg, tsem.UnixMaySend, tsem.NetlinkSend), "sendmsg": tell(callSendmsg, tsem.SocketSendmsg, tsem.UnixMaySend, tsem.NetlinkSend),
	"sendmmsg": tell(callSendmmsg, tsem.SocketSendmsg, tsem.UnixMaySend, tsem.NetlinkSend), "recvfrom": tell(callRecvfrom, tsem.SocketRecvmsg),
	"recvmsg": tell(callRecvmsg, tsem.SocketRecvmsg, tsem.FileReceive), "recvmmsg": tell(callRecvmmsg, tsem.SocketRecvmsg, tsem.FileReceive),
	"recvmmsg_time64": tell(callRecvmmsg, tsem.SocketRecvmsg, tsem.FileReceive),
	"pidfd_getfd":     tell(callPidfdGetfd, tsem.PtraceAccessCheck, tsem.FileReceive),
	"socketcall":      tell(callSocketcall),

	"shmget": tellEarly(callShmget, tsem.ShmAssociate, tsem.IPCPermission), "shmat": tell(callShmat, tsem.ShmShmat, tsem.IPCPermission),
	"shmctl": tellEarly(callShmctl, tsem.ShmShmctl, tsem.IPCPermission),
	"semget": tellEarly(callSemget, tsem.SemAssociate, tsem.IPCPermission), "semctl": tellEarly(callSemctl, tsem.SemSemctl, tsem.IPCPermission),
	"semop": tell(callSemop, tsem.SemSemop, tsem.IPCPermission), "semtimedop": tell(callSemop, tsem.SemSemop, tsem.IPCPermission),
	"semtimedop_time64": tell(callSemop, tsem.SemSemop, tsem.IPCPermission),
	"msgget":            tellEarly(callMsgget, tsem.MsgQueueAssociate, tsem.IPCPermission), "msgctl": tellEarly(callMsgctl, tsem.MsgQueueMsgctl, tsem.IPCPermission),
	"msgsnd": tell(callMsgsnd, tsem.MsgQueueMsgsnd, tsem.IPCPermission), "msgrcv": tell(callMsgrcv, tsem.MsgQueueMsgrcv, tsem.IPCPermission),
	"ipc": tellEarly(callIPC),

	"add_key": tellEarly(callAddKey, tsem.KeyAlloc, tsem.KeyPermission), "request_key": tellEarly(callRequestKey, tsem.KeyAlloc, tsem.KeyPermission),
	"keyctl": tellEarly(callKeyctl, tsem.KeyAlloc, tsem.KeyPermission),

	"quotactl": tell(callQuotactl, tsem.Quotactl, tsem.QuotaOn), "quotactl_fd": tell(callQuotactlFD, tsem.Quotactl),
	"init_module": tell(callInitModule, tsem.KernelLoadData), "finit_module": tell(callFinitModule, tsem.KernelReadFile),
	"kexec_load": tell(callKexecLoad, tsem.KernelLoadData), "kexec_file_load": tell(callKexecFileLoad, tsem.KernelReadFile),

	"process_vm_readv": tell(callProcessVM, tsem.PtraceAccessCheck), "process_vm_writev": tell(callProcessVM, tsem.PtraceAccessCheck),
	"process_madvise": tell(callProcessMadvise, tsem.PtraceAccessCheck), "kcmp": tell(callKcmp, tsem.PtraceAccessCheck),
	"get_robust_list": tell(callLookInto, tsem.PtraceAccessCheck), "move_pages": tell(callLookInto, tsem.PtraceAccessCheck),
	"migrate_pages": tell(callLookInto, tsem.PtraceAccessCheck),

	"kill": tell(callKill, tsem.TaskKill), "tkill": tell(callKill, tsem.TaskKill), "tgkill": tell(callTgkill, tsem.TaskKill),
	"pidfd_send_signal": tell(callPidfdSendSignal, tsem.TaskKill),
	"rt_sigqueueinfo":   tell(callKill, tsem.TaskKill), "rt_tgsigqueueinfo": tell(callTgkill, tsem.TaskKill),
	"prctl": tell(callPrctl, tsem.TaskPrctl), "capget": tell(callCapget, tsem.Capget), "capset": tell(callCapset, tsem.Capset),
	"setpgid": tell(callSetpgid, tsem.TaskSetpgid), "getpgid": tell(callGetpgid, tsem.TaskGetpgid), "getsid": tell(callGetsid, tsem.TaskGetsid),
	"setpriority": tell(callSetpriority, tsem.TaskSetnice), "nice": tell(callNice, tsem.TaskSetnice), "ioprio_set": tell(callIoprioSet, tsem.TaskSetioprio), "ioprio_get": tell(callIoprioGet, tsem.TaskGetioprio),
	"sched_setscheduler": tell(callSetscheduler, tsem.TaskSetscheduler), "sched_setparam": tell(callSetscheduler, tsem.TaskSetscheduler),
	"sched_setattr": tell(callSetscheduler, tsem.TaskSetscheduler), "sched_setaffinity": tell(callSetscheduler, tsem.TaskSetscheduler),
	"sched_getscheduler": tell(callGetscheduler, tsem.TaskGetscheduler), "sched_getparam": tell(callGetscheduler, tsem.TaskGetscheduler),
	"sched_getattr": tell(callGetscheduler, tsem.TaskGetscheduler), "sched_getaffinity": tell(callGetscheduler, tsem.TaskGetscheduler),
	"sched_rr_get_interval": tell(callGetscheduler, tsem.TaskGetscheduler), "sched_rr_get_interval_time64": tell(callGetscheduler, tsem.TaskGetscheduler),
	"setrlimit": tell(callSetrlimit, tsem.TaskSetrlimit), "prlimit64": tell(callPrlimit, tsem.TaskPrlimit, tsem.TaskSetrlimit),
	"ptrace": tell(callPtrace, tsem.PtraceTraceme, tsem.PtraceAccessCheck),

	"mount": tellEarly(callMount, tsem.SBMount, tsem.SBRemount), "umount": tellEarly(callUmount, tsem.SBUmount), "umount2": tellEarly(callUmount, tsem.SBUmount),
	"fsconfig":   tell(callFsconfig, tsem.SBRemount),
	"pivot_root": tellEarly(callPivotRoot, tsem.SBPivotroot), "move_mount": tellEarly(callMoveMount, tsem.MoveMount),

	"bpf": tell(callBPF, tsem.BPF, tsem.BPFMap, tsem.BPFProg), "syslog": tell(callSyslog, tsem.Syslog),
	"settimeofday": tell(callSettimeofday, tsem.Settime), "clock_settime": tell(callClockSettime, tsem.Settime), "clock_settime64": tell(callClockSettime, tsem.Settime),
}

// lasting tells of calls that are looked at whatever the model: what they make is
// known from then on.
var lasting = map[callKind]bool{
	callSocket: true, callSocketpair: true, callSocketcall: true, callMkdir: true, callMknod: true,
	callShmget: true, callSemget: true, callMsgget: true, callIPC: true,
}

// How a call is to be taken.
const (
	howEarly = 1 << iota
	howNarrow
	howSplit
	howCoarse
)

// callsMax is how many numbers a set of system calls has; behind it are those of
// 32-bit programs.
const callsMax = 512

// callEntry is a struct call of the programs.
type callEntry struct {
	Kind                                    callKind
	Dir, Path, Dir2, Path2, FD, Flags, Mode int8
	Fixed                                   int32
	How                                     uint8
	_                                       [3]uint8
}

// callTable is what the programs are told of the system calls that a model needs.
func callTable(m *model.Model) ([]ebpf.MapKV, error) {
	own, compatible, err := derive.Calls(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	var table []ebpf.MapKV
	for i, rows := range []map[int32]*derive.Row{own, compatible} {
		for number, row := range rows {
			t, ok := toldCalls[row.Name]
			if !ok || number >= callsMax || !t.needed(m) {
				continue
			}
			table = append(table, ebpf.MapKV{Key: uint32(number) + uint32(i)*callsMax, Value: t.entry(row)})
		}
	}
	return table, nil
}

func (t told) needed(m *model.Model) bool {
	if lasting[t.kind] {
		return true
	}
	for _, typ := range t.events {
		if _, kept := m.Of(typ); kept {
			return true
		}
	}
	return false
}

func (t told) entry(row *derive.Row) callEntry {
	p := row.Places()
	e := callEntry{
		Kind: t.kind, Dir: p.Dir, Path: p.Path, Dir2: p.Dir2, Path2: p.Path2, FD: p.FD, Flags: p.Flags, Mode: p.Mode, Fixed: p.Fixed,
	}
	for how, on := range map[uint8]bool{howEarly: t.early, howNarrow: p.Narrow, howSplit: p.Split, howCoarse: p.Coarse} {
		if on {
			e.How |= how
		}
	}
	if p.Packed && t.kind == callMmap {
		e.Kind = callMmapPacked
	}
	return e
}
