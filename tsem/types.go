// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "iter"

// A Type is the type of a security event: an LSM hook that TSEM knows, in the
// order of the table. The zero value is no type.
type Type uint8

// The event types. The name of each is that of its LSM hook, in Go spelling.
const (
	TaskKill Type = iota + 1
	TaskSetpgid
	TaskGetpgid
	TaskGetsid
	TaskSetnice
	TaskSetioprio
	TaskGetioprio
	TaskPrlimit
	TaskSetrlimit
	TaskSetscheduler
	TaskGetscheduler
	TaskPrctl

	FileOpen
	FileReceive
	FileIoctl
	FileIoctlCompat
	FileLock
	FileFcntl

	MmapFile

	UnixStreamConnect
	UnixMaySend

	SocketCreate
	SocketConnect
	SocketBind
	SocketAccept
	SocketListen
	SocketSocketpair
	SocketSendmsg
	SocketRecvmsg
	SocketGetsockname
	SocketGetpeername
	SocketSetsockopt
	SocketShutdown

	PtraceAccessCheck
	PtraceTraceme

	Capable
	Capget
	Capset

	KernelModuleRequest
	KernelLoadData
	KernelReadFile

	SBMount
	SBUmount
	SBRemount
	SBPivotroot
	SBStatfs
	MoveMount

	ShmAssociate
	ShmShmctl
	ShmShmat
	SemAssociate
	SemSemctl
	MsgQueueAssociate
	MsgQueueMsgctl
	MsgQueueMsgsnd
	SemSemop
	MsgQueueMsgrcv
	IPCPermission

	Syslog

	Settime

	Quotactl
	QuotaOn

	KeyAlloc
	KeyPermission

	NetlinkSend

	InodeCreate
	InodeMkdir
	InodeUnlink
	InodeRmdir
	InodeLink
	InodeSymlink
	InodeMknod
	InodeRename
	InodeSetattr
	InodeGetattr
	InodeSetxattr
	InodeGetxattr
	InodeListxattr
	InodeRemovexattr
	InodeKillpriv

	TunDevCreate
	TunDevOpen
	TunDevAttachQueue
	TunDevAttach

	BPF
	BPFMap
	BPFProg

	FileTruncate

	BprmCheckSecurity
	CredPrepare

	PathTruncate
	PathUnlink
	PathMkdir
	PathRmdir
	PathSymlink
	PathMknod
	PathLink
	PathRename
	PathChmod
	PathChrootHook // path_chroot: PathChroot is a kind of path
	PathChown

	BprmCommittedCreds
	TaskAlloc
	TaskFree
)

// NumTypes is the number of types, and the highest value of a Type.
const NumTypes = 104

// String returns the name of the event, such as "file_open", and "" for no
// type.
func (t Type) String() string { return t.Info().Name }

// Info returns what the table says of t. It must not be changed.
func (t Type) Info() *Info {
	if t > NumTypes {
		t = 0
	}
	return &table[t]
}

// TypeByName finds the type with the given name. It does not allocate, nor
// does TypeByName(string(bytes)).
func TypeByName(name string) (Type, bool) {
	t, ok := byName[name]
	return t, ok
}

// All yields every type in the order of the table.
func All() iter.Seq[Type] {
	return func(yield func(Type) bool) {
		for t := Type(1); t <= NumTypes; t++ {
			if !yield(t) {
				return
			}
		}
	}
}

var byName = func() map[string]Type {
	m := make(map[string]Type, NumTypes)
	for t := range All() {
		m[table[t].Name] = t
	}
	return m
}()
