// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadNow is pread64(2) of a file that never makes its reader wait: the
// scheduler is not told, which would cost more than some reads do.
func ReadNow(fd int, b []byte, offset int64) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), uintptr(offset), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
