// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// Row is all there is to know of one system call. Argument positions count
// from 0; none means that the call has no such argument.
type Row struct {
	Name   string
	Events []tsem.Type // what the call can turn out to be, the main one first
	Trap   Trap        // when the call is of interest
	derive func(*Deriver, *Call) error

	dir, path   int8 // a directory descriptor, and the path that begins there
	dir2, path2 int8 // the second pair
	fd          int8 // the descriptor the call is about, instead of a path
	flags       int8
	mode        int8 // the mode, or the first of the new values

	fixed   int32 // flags, or the like, of a call that has none as an argument
	packed  bool  // the arguments are in memory, at the address in the first
	pages   bool  // the offset counts pages
	narrow  bool  // ids are of 16 bits
	split   bool  // 64-bit values: two registers, or two words in memory
	micro   bool  // times in microseconds
	seconds bool  // times in seconds
}

// fixedArg is fixed as an argument position.
func (r *Row) fixedArg() int8 { return int8(r.fixed) }

// Trap says which calls of a row are of interest, in terms that a filter can
// decide on the registers alone.
type Trap uint8

const (
	TrapAlways Trap = iota
	TrapMapped      // argument 4 is a descriptor, or argument 2 asks for PROT_EXEC
	TrapName        // argument 0 is PR_SET_NAME
)

const none = -1

// at is a row in which only the given positions exist.
func at(r Row, positions ...int8) Row {
	for i, p := range []*int8{&r.dir, &r.path, &r.dir2, &r.path2, &r.fd, &r.flags, &r.mode} {
		*p = none
		if i < len(positions) {
			*p = positions[i]
		}
	}
	return r
}

// Table is the system calls that are of interest, with their names as in the
// kernel. The positions are dir, path, dir2, path2, fd, flags, mode.
func Table() []Row {
	types := func(t ...tsem.Type) []tsem.Type { return t }
	openTypes := types(tsem.FileOpen, tsem.InodeCreate, tsem.InodeSetattr)
	execTypes := types(tsem.FileOpen, tsem.MmapFile)
	setattrTypes := types(tsem.InodeSetattr)
	getattrTypes := types(tsem.InodeGetattr)
	killTypes := types(tsem.TaskKill)
	rows := []Row{
		// Opening.
		at(Row{Name: "open", Events: openTypes, derive: open}, none, 0, none, none, none, 1, 2),
		at(Row{Name: "openat", Events: openTypes, derive: open}, 0, 1, none, none, none, 2, 3),
		at(Row{Name: "creat", Events: openTypes, derive: open}, none, 0, none, none, none, none, 1),
		at(Row{Name: "openat2", Events: openTypes, derive: openat2}, 0, 1),

		// Programs and their mappings.
		at(Row{Name: "execve", Events: execTypes, derive: exec}, none, 0),
		at(Row{Name: "execveat", Events: execTypes, derive: exec}, 0, 1, none, none, none, 4),
		at(Row{Name: "mmap", Events: types(tsem.MmapFile), Trap: TrapMapped, derive: mmap}),

		// Names.
		at(Row{Name: "link", Events: types(tsem.InodeLink), derive: link}, none, 0, none, 1),
		at(Row{Name: "linkat", Events: types(tsem.InodeLink), derive: link}, 0, 1, 2, 3, none, 4),
		at(Row{Name: "unlink", Events: types(tsem.InodeUnlink), derive: unlink}, none, 0),
		at(Row{Name: "unlinkat", Events: types(tsem.InodeUnlink, tsem.InodeRmdir), derive: unlink}, 0, 1, none, none, none, 2),
		at(Row{Name: "symlink", Events: types(tsem.InodeSymlink), derive: symlink}, none, 1, none, 0),
		at(Row{Name: "symlinkat", Events: types(tsem.InodeSymlink), derive: symlink}, 1, 2, none, 0),
		at(Row{Name: "mkdir", Events: types(tsem.InodeMkdir), derive: mkdir}, none, 0, none, none, none, none, 1),
		at(Row{Name: "mkdirat", Events: types(tsem.InodeMkdir), derive: mkdir}, 0, 1, none, none, none, none, 2),
		at(Row{Name: "rmdir", Events: types(tsem.InodeRmdir), derive: rmdir}, none, 0),
		at(Row{Name: "mknod", Events: types(tsem.InodeMknod, tsem.InodeCreate), derive: mknod}, none, 0, none, none, none, none, 1),
		at(Row{Name: "mknodat", Events: types(tsem.InodeMknod, tsem.InodeCreate), derive: mknod}, 0, 1, none, none, none, none, 2),
		at(Row{Name: "rename", Events: types(tsem.InodeRename), derive: rename}, none, 0, none, 1),
		at(Row{Name: "renameat", Events: types(tsem.InodeRename), derive: rename}, 0, 1, 2, 3),
		at(Row{Name: "renameat2", Events: types(tsem.InodeRename), derive: rename}, 0, 1, 2, 3, none, 4),

		// Attributes.
		at(Row{Name: "chmod", Events: setattrTypes, derive: chmod}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fchmod", Events: setattrTypes, derive: chmod}, none, none, none, none, 0, none, 1),
		at(Row{Name: "fchmodat", Events: setattrTypes, derive: chmod}, 0, 1, none, none, none, none, 2),
		at(Row{Name: "fchmodat2", Events: setattrTypes, derive: chmod}, 0, 1, none, none, none, 3, 2),
		at(Row{Name: "chown", Events: setattrTypes, derive: chown}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lchown", Events: setattrTypes, derive: chown, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fchown", Events: setattrTypes, derive: chown}, none, none, none, none, 0, none, 1),
		at(Row{Name: "fchownat", Events: setattrTypes, derive: chown}, 0, 1, none, none, none, 4, 2),
		at(Row{Name: "truncate", Events: setattrTypes, derive: truncate}, none, 0, none, none, none, none, 1),
		at(Row{Name: "ftruncate", Events: setattrTypes, derive: truncate}, none, none, none, none, 0, none, 1),
		at(Row{Name: "utime", Events: setattrTypes, derive: utimes, seconds: true}, none, 0, none, none, none, none, 1),
		at(Row{Name: "utimes", Events: setattrTypes, derive: utimes, micro: true}, none, 0, none, none, none, none, 1),
		at(Row{Name: "futimesat", Events: setattrTypes, derive: utimes, micro: true}, 0, 1, none, none, none, none, 2),
		at(Row{Name: "utimensat", Events: setattrTypes, derive: utimes}, 0, 1, none, none, none, 3, 2),
		at(Row{Name: "stat", Events: getattrTypes, derive: getattr}, none, 0),
		at(Row{Name: "lstat", Events: getattrTypes, derive: getattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0),
		at(Row{Name: "fstat", Events: getattrTypes, derive: getattr}, none, none, none, none, 0),
		at(Row{Name: "newfstatat", Events: getattrTypes, derive: getattr}, 0, 1, none, none, none, 3),
		at(Row{Name: "statx", Events: getattrTypes, derive: getattr}, 0, 1, none, none, none, 2),

		// Sockets.
		at(Row{Name: "socket", Events: types(tsem.SocketCreate), derive: socket}),
		at(Row{Name: "connect", Events: types(tsem.SocketConnect), derive: connect}),
		at(Row{Name: "bind", Events: types(tsem.SocketBind, tsem.InodeMknod), derive: bind}),
		at(Row{Name: "listen", Events: types(tsem.SocketListen), derive: listen}),
		at(Row{Name: "accept", Events: types(tsem.SocketAccept), derive: accept}),
		at(Row{Name: "accept4", Events: types(tsem.SocketAccept), derive: accept}, none, none, none, none, none, 3),

		// Signals.
		at(Row{Name: "kill", Events: killTypes, derive: kill}),
		at(Row{Name: "tkill", Events: killTypes, derive: tkill}),
		at(Row{Name: "tgkill", Events: killTypes, derive: tgkill}),
		at(Row{Name: "rt_sigqueueinfo", Events: killTypes, derive: sigqueue}),
		at(Row{Name: "rt_tgsigqueueinfo", Events: killTypes, derive: sigqueue, fixed: 1}),
		at(Row{Name: "pidfd_send_signal", Events: killTypes, derive: pidfdSignal}),

		// Who is who.
		at(Row{Name: "clone", derive: clone, fixed: 1}),
		at(Row{Name: "clone3", derive: clone3}),
		at(Row{Name: "fork", derive: clone}),
		at(Row{Name: "vfork", derive: vfork}),
		at(Row{Name: "exit", derive: exit}),
		at(Row{Name: "exit_group", derive: exit}),
		at(Row{Name: "prctl", Trap: TrapName, derive: prctl}),

		// What is not seen otherwise.
		at(Row{Name: "io_uring_setup", derive: uring}),
	}
	for _, name := range []string{
		"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
		"setfsuid", "setfsgid", "setgroups", "capset",
	} {
		rows = append(rows, at(Row{Name: name, derive: credentials}))
	}
	for _, name := range []string{
		"chroot", "pivot_root", "setns", "unshare",
		"mount", "umount2", "move_mount", "mount_setattr",
	} {
		rows = append(rows, at(Row{Name: name, derive: moves}))
	}
	return rows
}
