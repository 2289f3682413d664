// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"io"

	"golang.org/x/sys/unix"
)

// Head returns at most n bytes of the beginning of the file, and nil if it
// cannot be read.
func (o *Object) Head(n int) []byte {
	b := make([]byte, n)
	fd, err := o.OpenRead()
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	got, err := unix.Pread(fd, b, 0)
	if err != nil {
		return nil
	}
	return b[:got]
}

// ReadAt fills b from the file, beginning at offset.
func (o *Object) ReadAt(b []byte, offset uint64) error {
	fd, err := o.OpenRead()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, int64(offset))
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		b = b[n:]
		offset += uint64(n)
	}
	return nil
}
