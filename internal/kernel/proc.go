// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// ProcPath is the path of a file of task tid in /proc.
func ProcPath(tid int, name string) string {
	var b [64]byte
	return string(AppendProcPath(b[:0], tid, name))
}

// AppendProcPath appends that path, without a NUL byte, to b.
func AppendProcPath(b []byte, tid int, name string) []byte {
	b = append(b, "/proc/"...)
	b = strconv.AppendInt(b, int64(tid), 10)
	b = append(b, '/')
	return append(b, name...)
}

// ReadProc reads the file name of task tid from /proc into buf, and returns
// what it read: at most len(buf) bytes. The files it is for come whole where
// there is room, so less than that is the end.
func ReadProc(tid int, name string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(ProcPath(tid, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.Read(fd, buf)
	for err == unix.EINTR {
		n, err = unix.Read(fd, buf)
	}
	unix.Close(fd)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// ReadStatus reads all of the file status of task tid, into buf or, where that
// has not the room, elsewhere: each of 65,536 groups can take eleven bytes.
func ReadStatus(tid int, buf []byte) ([]byte, error) {
	fd, err := unix.Open(ProcPath(tid, "status"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return ReadWhole(fd, buf)
}

// ReadWhole is ReadStatus for a file that is open.
func ReadWhole(fd int, buf []byte) ([]byte, error) {
	for {
		n, err := unix.Pread(fd, buf, 0)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n < len(buf):
			return buf[:n], nil
		default:
			buf = make([]byte, 16*len(buf))
		}
	}
}
