// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// compatRows is the calls that only 32-bit programs make, or make in another
// way than 64-bit ones. Their names are those of the i386 table.
func compatRows() []Row {
	setattrTypes := types(tsem.InodeSetattr)
	getattrTypes := types(tsem.InodeGetattr)
	rows := []Row{
		at(Row{Name: "oldstat", Events: getattrTypes, derive: getattr}, none, 0),
		at(Row{Name: "oldlstat", Events: getattrTypes, derive: getattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0),
		at(Row{Name: "oldfstat", Events: getattrTypes, derive: getattr}, none, none, none, none, 0),
		at(Row{Name: "stat64", Events: getattrTypes, derive: getattr}, none, 0),
		at(Row{Name: "lstat64", Events: getattrTypes, derive: getattr, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0),
		at(Row{Name: "fstat64", Events: getattrTypes, derive: getattr}, none, none, none, none, 0),
		at(Row{Name: "fstatat64", Events: getattrTypes, derive: getattr}, 0, 1, none, none, none, 3),

		at(Row{Name: "chown", Events: setattrTypes, derive: chown, narrow: true}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lchown", Events: setattrTypes, derive: chown, narrow: true, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fchown", Events: setattrTypes, derive: chown, narrow: true}, none, none, none, none, 0, none, 1),
		at(Row{Name: "chown32", Events: setattrTypes, derive: chown}, none, 0, none, none, none, none, 1),
		at(Row{Name: "lchown32", Events: setattrTypes, derive: chown, fixed: unix.AT_SYMLINK_NOFOLLOW}, none, 0, none, none, none, none, 1),
		at(Row{Name: "fchown32", Events: setattrTypes, derive: chown}, none, none, none, none, 0, none, 1),
		at(Row{Name: "truncate64", Events: setattrTypes, derive: truncate, split: true}, none, 0, none, none, none, none, 1),
		at(Row{Name: "ftruncate64", Events: setattrTypes, derive: truncate, split: true}, none, none, none, none, 0, none, 1),
		at(Row{Name: "utimensat_time64", Events: setattrTypes, derive: utimes, split: true}, 0, 1, none, none, none, 3, 2),

		at(Row{Name: "mmap", Events: types(tsem.MmapFile), derive: mmap, packed: true}),
		at(Row{Name: "mmap2", Events: types(tsem.MmapFile), When: mapped(), derive: mmap, pages: true}),
		at(Row{Name: "fcntl64", Events: types(tsem.FileFcntl, tsem.FileLock), derive: fcntl}),

		at(Row{Name: "socketcall", stands: socketCallNames, derive: socketcall}),
		at(Row{Name: "ipc", stands: ipcNames, derive: ipc}),
	}
	for _, name := range []string{
		"setuid32", "setgid32", "setreuid32", "setregid32", "setresuid32", "setresgid32",
		"setfsuid32", "setfsgid32", "setgroups32",
	} {
		rows = append(rows, at(Row{Name: name, plain: true, derive: credentials}))
	}
	for i := range rows {
		rows[i].on = compat
	}
	return rows
}
