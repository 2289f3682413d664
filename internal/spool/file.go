// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A file may be closed by one goroutine while another syncs it: os.File lets
// that one finish first.
type file struct {
	*os.File
	conn syscall.RawConn
}

// with calls back with the descriptor. The error is os.ErrClosed if the file
// is closed.
func (f *file) with(call func(fd int) error) error {
	var err error
	if cerr := f.conn.Control(func(fd uintptr) { err = call(int(fd)) }); cerr != nil {
		return os.ErrClosed // RawConn has an error of its own for that
	}
	return err
}

// writeAll writes parts at an offset: with one call, unless the kernel stops
// in the middle.
func (f *file) writeAll(parts [][]byte, offset int64) error {
	return f.with(func(fd int) error {
		for len(parts) > 0 {
			n, err := unix.Pwritev(fd, parts[:min(len(parts), maxParts)], offset)
			switch {
			case err == unix.EINTR:
				continue
			case err != nil:
				return err
			case n == 0:
				return io.ErrShortWrite
			}
			offset += int64(n)
			for len(parts) > 0 && n >= len(parts[0]) {
				n -= len(parts[0])
				parts = parts[1:]
			}
			if n > 0 {
				parts[0] = parts[0][n:]
			}
		}
		return nil
	})
}

// maxParts is how many the kernel takes in one call.
const maxParts = 1024

// cut sets the length.
func (f *file) cut(size int64) error {
	return f.with(func(fd int) error {
		return retry(func() error { return unix.Ftruncate(fd, size) })
	})
}

// syncData returns when what was written, and the length, is on disk.
func (f *file) syncData() error {
	return f.with(func(fd int) error {
		return retry(func() error { return unix.Fdatasync(fd) })
	})
}
