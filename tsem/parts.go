// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// A Digest is the raw bytes of a hash. It is written as lower-case hex digits;
// without bytes it is written as "".
type Digest []byte

// COE is the context of the event: the credentials of the acting task.
type COE struct {
	UID, EUID, SUID, GID, EGID, SGID, FSUID, FSGID uint32
	CapEff                                         uint64 // the effective capabilities
}

// Creds are credentials that an event is about.
type Creds struct {
	COE
	Securebits uint32
}

// Inode describes an inode and its file system.
type Inode struct {
	UID, GID uint32
	Mode     uint32   // with the bits of the file type
	Magic    uint32   // of the file system: the low 32 bits of its s_magic
	SID      []byte   // s_id, the device or file system name, at most 31 bytes
	UUID     [16]byte // of the file system, in the order of its bytes
}

// Dev is a device number.
type Dev struct{ Major, Minor uint32 }

// A PathType says from where a path counts.
type PathType string

// The kinds of path. Readers keep a kind they do not know; an empty one is not
// written, as kernels before 2025 did not write any.
const (
	PathRoot      PathType = "root"
	PathChroot    PathType = "chroot"
	PathNamespace PathType = "namespace"
)

// A Path is a path name. Within a File, in mounts and in inode_getattr it is
// absolute, elsewhere relative to the root of its file system.
type Path struct {
	HasDev bool
	Dev    Dev // of the file system, if HasDev

	// Created: the file was made within the context. Only then are owner
	// and instance written.
	Created  bool
	Owner    Digest // TASK_ID
	Instance uint64 // which file of Owner in its directory, from 1

	Type     PathType
	Pathname []byte
	// Missing is a word that says why the path could not be read. If it is
	// not empty, an empty pathname and path_missing are written instead of
	// Pathname.
	Missing string
	// Abspath is the absolute path. Nil is not written.
	Abspath []byte
}

// A Dentry is a name in a directory, and the inode it has, if any.
type Dentry struct {
	HasInode bool
	Inode    Inode
	Path     Path
}

// A File is an open file.
type File struct {
	Flags  uint32 // f_flags
	Inode  Inode
	Path   Path
	Digest Digest // of the content
	// DigestMissing is a word that says why there is no digest. If it is not
	// empty, an empty digest and digest_missing are written instead of Digest.
	DigestMissing string
}

// A Sock is a socket.
type Sock struct {
	Family, Type, Protocol int32
	Owner                  Digest // TASK_ID of the task that made it
}

// Perm describes a System V IPC object.
type Perm struct {
	UID, GID, CUID, CGID uint32
	Mode                 uint32
	Owner                Digest // TASK_ID of the task that made it
}

// An AddrFamily is the form of an Addr.
type AddrFamily uint8

// The forms of an address.
const (
	AddrNone       AddrFamily = iota // there is none: the member is not written
	AddrInet                         // af_inet: Port, Address
	AddrInet6                        // af_inet6: Port, Flow, Scope, Address6
	AddrInet6Short                   // af_inet6 of accept and of messages: Port, Address6
	AddrUnix                         // af_unix: Path
	AddrOther                        // af_other: Digest
)

// An Addr is a socket address. The numbers are those written: a TSEM kernel
// gives the port as the two network bytes read as a number of the host (443 is
// 47873 on a little-endian one), except in accept, where it is the port; the
// IPv4 address always as four such bytes (127.0.0.1 is 16777343), and Flow as
// it is stored.
type Addr struct {
	Family   AddrFamily
	Port     uint16
	Address  uint32
	Flow     uint32
	Scope    uint32
	Address6 [16]byte
	Path     []byte // of an AF_UNIX socket; empty for abstract ones
	Digest   Digest // of the bytes behind the family
}
