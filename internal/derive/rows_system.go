// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "quixote-export/tsem"

// systemRows is the calls about the system as a whole: mounts, namespaces, IPC,
// keys, BPF, modules, quotas, clocks.
func systemRows() []Row {
	statfsTypes := types(tsem.SBStatfs)
	rows := []Row{
		// Mounts.
		at(Row{Name: "mount", Events: types(tsem.SBMount, tsem.SBRemount), derive: mount}),
		at(Row{Name: "umount", Events: types(tsem.SBUmount), derive: umount}),
		at(Row{Name: "umount2", Events: types(tsem.SBUmount), derive: umount}, none, none, none, none, none, 1),
		at(Row{Name: "pivot_root", Events: types(tsem.SBPivotroot), derive: pivotRoot}),
		at(Row{Name: "move_mount", Events: types(tsem.MoveMount), derive: moveMount}),
		at(Row{Name: "open_tree", derive: openTree}),
		at(Row{Name: "open_tree_attr", since: release{6, 15}, derive: openTree}),
		at(Row{Name: "fspick", derive: fspick}),
		at(Row{Name: "fsconfig", Events: types(tsem.SBRemount), derive: fsconfig}),
		at(Row{Name: "statfs", Events: statfsTypes, derive: statfs}, none, 0),
		at(Row{Name: "fstatfs", Events: statfsTypes, derive: statfs}, none, none, none, none, 0),
		at(Row{Name: "statfs64", on: compat, split: true, Events: statfsTypes, derive: statfs}, none, 0),
		at(Row{Name: "fstatfs64", on: compat, split: true, Events: statfsTypes, derive: statfs}, none, none, none, none, 0),
		at(Row{Name: "ustat", Events: statfsTypes, derive: ustat}),

		// System V IPC; the value is a time.
		at(Row{Name: "shmget", Events: types(tsem.ShmAssociate, tsem.IPCPermission), derive: shmget}),
		at(Row{Name: "shmat", Events: types(tsem.ShmShmat, tsem.IPCPermission), derive: shmat}),
		at(Row{Name: "shmctl", Events: types(tsem.ShmShmctl, tsem.IPCPermission), derive: shmctl}),
		at(Row{Name: "semget", Events: types(tsem.SemAssociate, tsem.IPCPermission), derive: semget}),
		at(Row{Name: "semctl", Events: types(tsem.SemSemctl, tsem.IPCPermission), derive: semctl}),
		at(Row{Name: "semop", Events: types(tsem.SemSemop, tsem.IPCPermission), derive: semop}),
		at(Row{Name: "semtimedop", Events: types(tsem.SemSemop, tsem.IPCPermission), derive: semop}, none, none, none, none, none, none, 3),
		at(Row{Name: "semtimedop_time64", on: compat, split: true, Events: types(tsem.SemSemop, tsem.IPCPermission), derive: semop}, none, none, none, none, none, none, 3),
		at(Row{Name: "msgget", Events: types(tsem.MsgQueueAssociate, tsem.IPCPermission), derive: msgget}),
		at(Row{Name: "msgctl", Events: types(tsem.MsgQueueMsgctl, tsem.IPCPermission), derive: msgctl}),
		at(Row{Name: "msgsnd", Events: types(tsem.MsgQueueMsgsnd, tsem.MsgQueueMsgrcv, tsem.IPCPermission), derive: msgsnd}),
		at(Row{Name: "msgrcv", Events: types(tsem.MsgQueueMsgrcv, tsem.IPCPermission), derive: msgrcv}),

		// Keys.
		at(Row{Name: "add_key", Events: types(tsem.KeyAlloc, tsem.KeyPermission), derive: addKey}),
		at(Row{Name: "request_key", Events: types(tsem.KeyPermission, tsem.KeyAlloc), derive: requestKey}),
		at(Row{Name: "keyctl", Events: types(tsem.KeyPermission, tsem.KeyAlloc), derive: keyctl}),

		// Programs and modules for the kernel, and its log.
		at(Row{Name: "bpf", Events: types(tsem.BPF, tsem.BPFMap, tsem.BPFProg), derive: bpf}),
		at(Row{Name: "init_module", Events: types(tsem.KernelLoadData), derive: initModule}),
		at(Row{Name: "finit_module", Events: types(tsem.KernelReadFile), derive: finitModule}),
		at(Row{Name: "kexec_load", Events: types(tsem.KernelLoadData), derive: kexecLoad}),
		at(Row{Name: "kexec_file_load", Events: types(tsem.KernelReadFile), derive: kexecFileLoad}),
		at(Row{Name: "syslog", Events: types(tsem.Syslog), derive: syslog}),

		// Quotas and clocks.
		at(Row{Name: "quotactl", Events: types(tsem.Quotactl, tsem.QuotaOn), derive: quotactl}),
		at(Row{Name: "quotactl_fd", Events: types(tsem.Quotactl), derive: quotactlFD}),
		at(Row{Name: "settimeofday", Events: types(tsem.Settime), derive: settimeofday}),
		at(Row{Name: "clock_settime", Events: types(tsem.Settime), derive: clockSettime}),
		at(Row{Name: "clock_settime64", on: compat, split: true, Events: types(tsem.Settime), derive: clockSettime}),
		at(Row{Name: "stime", on: compat, Events: types(tsem.Settime), derive: stime}),

		// What is not seen otherwise.
		at(Row{Name: "io_uring_setup", plain: true, derive: uring}),
	}
	for _, name := range []string{"chroot", "setns", "unshare", "mount_setattr"} {
		rows = append(rows, at(Row{Name: name, plain: true, derive: moves}))
	}
	return rows
}
