// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// fileRows is the calls about files, names and attributes.
func fileRows() []Row {
	openTypes := types(tsem.FileOpen, tsem.InodeCreate, tsem.InodeSetattr, tsem.Syslog, tsem.PtraceAccessCheck)
	execTypes := types(tsem.FileOpen, tsem.MmapFile)
	setattrTypes := types(tsem.InodeSetattr)
	getattrTypes := types(tsem.InodeGetattr)
	ioctlTypes := types(tsem.FileIoctl, tsem.FileIoctlCompat, tsem.TunDevCreate, tsem.TunDevOpen, tsem.TunDevAttach, tsem.TunDevAttachQueue)
	return []Row{
		// Opening.
		at(Row{Name: "open", Events: openTypes, derive: open}, none, 0, none, none, none, 1, 2),
		at(Row{Name: "openat", Events: openTypes, derive: open}, 0, 1, none, none, none, 2, 3),
		at(Row{Name: "creat", Events: openTypes, derive: open}, none, 0, none, none, none, none, 1),
		at(Row{Name: "openat2", Events: openTypes, derive: openat2}, 0, 1),

		// Programs and their mappings.
		at(Row{Name: "execve", executes: true, Events: execTypes, derive: exec}, none, 0),
		at(Row{Name: "execveat", executes: true, Events: execTypes, derive: exec}, 0, 1, none, none, none, 4),
		at(Row{Name: "mmap", Events: types(tsem.MmapFile), When: mapped(), derive: mmap, on: native}),

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
		at(Row{Name: "fchmodat2", since: release{6, 6}, Events: setattrTypes, derive: chmod}, 0, 1, none, none, none, 3, 2),
		at(Row{Name: "chown", on: native, Events: setattrTypes, derive: chown}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lchown", on: native, Events: setattrTypes, derive: chown, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fchown", on: native, Events: setattrTypes, derive: chown}, none, none, none, none, 0, none, 1),
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
		at(Row{Name: "statx", Events: getattrTypes, derive: getattr}, 0, 1, none, none, none, 2, 3),

		// Extended attributes; the name is the first of the values.
		at(Row{Name: "setxattr", Events: types(tsem.InodeSetxattr), derive: setxattr}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lsetxattr", Events: types(tsem.InodeSetxattr), derive: setxattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fsetxattr", Events: types(tsem.InodeSetxattr), derive: setxattr}, none, none, none, none, 0, none, 1),
		at(Row{Name: "setxattrat", since: release{6, 13}, Events: types(tsem.InodeSetxattr), derive: setxattr, packed: true}, 0, 1, none, none, none, 2, 3),
		at(Row{Name: "getxattr", Events: types(tsem.InodeGetxattr), derive: getxattr}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lgetxattr", Events: types(tsem.InodeGetxattr), derive: getxattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fgetxattr", Events: types(tsem.InodeGetxattr), derive: getxattr}, none, none, none, none, 0, none, 1),
		at(Row{Name: "getxattrat", since: release{6, 13}, Events: types(tsem.InodeGetxattr), derive: getxattr}, 0, 1, none, none, none, 2, 3),
		at(Row{Name: "listxattr", Events: types(tsem.InodeListxattr), derive: listxattr}, none, 0),
		at(Row{Name: "llistxattr", Events: types(tsem.InodeListxattr), derive: listxattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0),
		at(Row{Name: "flistxattr", Events: types(tsem.InodeListxattr), derive: listxattr}, none, none, none, none, 0),
		at(Row{Name: "listxattrat", since: release{6, 13}, Events: types(tsem.InodeListxattr), derive: listxattr}, 0, 1, none, none, none, 2),
		at(Row{Name: "removexattr", Events: types(tsem.InodeRemovexattr), derive: removexattr}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lremovexattr", Events: types(tsem.InodeRemovexattr), derive: removexattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fremovexattr", Events: types(tsem.InodeRemovexattr), derive: removexattr}, none, none, none, none, 0, none, 1),
		at(Row{Name: "removexattrat", since: release{6, 13}, Events: types(tsem.InodeRemovexattr), derive: removexattr}, 0, 1, none, none, none, 2, 3),

		// Descriptors.
		at(Row{Name: "ioctl", Events: ioctlTypes, derive: ioctl}),
		at(Row{Name: "fcntl", Events: types(tsem.FileFcntl, tsem.FileLock), derive: fcntl}),
		at(Row{Name: "flock", Events: types(tsem.FileLock), derive: flock}),
		at(Row{Name: "pidfd_getfd", Events: types(tsem.FileReceive, tsem.PtraceAccessCheck), derive: pidfdGetfd}),
	}
}
