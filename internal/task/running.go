// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// Runs tells whether some process has been made to run the file of st, which
// may then not be written to. Processes that may not be looked at do not count.
func Runs(st *unix.Statx_t) bool {
	pids, err := processes()
	if err != nil {
		return false
	}
	for _, pid := range pids {
		var exe unix.Statx_t
		path := append(kernel.AppendProcPath(nil, pid, "exe"), 0)
		// A file system that has to ask somebody else need not.
		if kernel.Stat(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &exe) == nil &&
			exe.Ino == st.Ino && exe.Dev_major == st.Dev_major && exe.Dev_minor == st.Dev_minor {
			return true
		}
	}
	return false
}
