// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open is openat2(2) with a path of bytes; path must end in a NUL byte.
func Open(dir int, path []byte, how *unix.OpenHow) (int, error) {
	fd, _, errno := unix.Syscall6(unix.SYS_OPENAT2, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(how)), unix.SizeofOpenHow, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// Stat is statx(2) with a path of bytes; path must end in a NUL byte.
func Stat(dir int, path []byte, flags int, mask uint32, st *unix.Statx_t) error {
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		uintptr(flags), uintptr(mask), uintptr(unsafe.Pointer(st)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Readlink is readlinkat(2) with a path of bytes; path must end in a NUL byte.
func Readlink(dir int, path, b []byte) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// MayAccess asks whether the calling thread may use a file in the ways of mode:
// R_OK, W_OK, X_OK. path must end in a NUL byte; with AT_EMPTY_PATH it may be
// empty and dir a descriptor of the file, also one opened with O_PATH.
func MayAccess(dir int, path []byte, flags int, mode uint32) error {
	_, _, errno := unix.Syscall6(unix.SYS_FACCESSAT2, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		uintptr(mode), uintptr(unix.AT_EACCESS|flags), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// FilesystemUUID is ioctl FS_IOC_GETFSUUID (Linux 6.9). fd must be open for
// more than its path.
func FilesystemUUID(fd int) (uuid [16]byte, err error) {
	const fsIocGetFSUUID = 0x80111500
	var arg struct {
		len  uint8
		uuid [16]uint8
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocGetFSUUID, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return uuid, errno
	}
	return arg.uuid, nil
}

// HasXattr tells whether the file system of path keeps the attribute name:
// nil or ENODATA from the kernel mean that it does.
func HasXattr(path, name string) bool {
	_, err := unix.Getxattr(path, name, nil)
	return err == nil || err == unix.ENODATA
}
