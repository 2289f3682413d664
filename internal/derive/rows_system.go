// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

// systemRows is the calls about the system as a whole: mounts, namespaces, IPC,
// keys, BPF, modules, quotas, clocks.
func systemRows() []Row {
	rows := []Row{
		// What is not seen otherwise.
		at(Row{Name: "io_uring_setup", derive: uring}),
	}
	for _, name := range []string{
		"chroot", "pivot_root", "setns", "unshare",
		"mount", "umount2", "move_mount", "mount_setattr",
	} {
		rows = append(rows, at(Row{Name: name, derive: moves}))
	}
	return rows
}
