// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Access is what decides what a task may do with files: the ids and the
// capabilities that the kernel consults for it.
type Access struct {
	FSUID, FSGID uint32
	Groups       []uint32
	CapEff       uint64
}

// FileCaps are the capabilities that let a task pass file permissions, the
// same set that the kernel drops when fsuid leaves 0.
const FileCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_MKNOD | 1<<unix.CAP_DAC_OVERRIDE |
	1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_LINUX_IMMUTABLE

// Assume gives the calling thread the file access of another task. Only this
// thread changes, so the caller must have locked it, and must go back with
// Assume(own) before it does anything else. own is what the thread has now.
func Assume(own, a *Access) error {
	if a.FSGID != own.FSGID {
		unix.RawSyscall(unix.SYS_SETFSGID, uintptr(a.FSGID), 0, 0)
	}
	if err := setThreadGroups(a.Groups); err != nil {
		return err
	}
	if a.FSUID != own.FSUID {
		unix.RawSyscall(unix.SYS_SETFSUID, uintptr(a.FSUID), 0, 0)
	}
	return setThreadFileCaps(a.CapEff)
}

func setThreadGroups(groups []uint32) error {
	var p unsafe.Pointer
	if len(groups) > 0 {
		p = unsafe.Pointer(&groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0); errno != 0 {
		return errno
	}
	return nil
}

// setThreadFileCaps makes the effective file capabilities those of eff, as far
// as they are permitted.
func setThreadFileCaps(eff uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return errno
	}
	low := data[0].Effective&^uint32(FileCaps) | uint32(eff&FileCaps)&data[0].Permitted
	if low == data[0].Effective {
		return nil
	}
	data[0].Effective = low
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return errno
	}
	return nil
}
