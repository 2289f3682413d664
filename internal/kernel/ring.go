// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapRing maps a file of one page of words and then size bytes of data, which
// must be a whole number of pages. The data is mapped twice, one behind the
// other, so that a run which begins anywhere in the first half lies in one
// piece. The mapping is shared and lasts as long as the process.
func MapRing(fd, size int) (words []uint64, data []byte, err error) {
	page := os.Getpagesize()
	if size <= 0 || size%page != 0 {
		return nil, nil, fmt.Errorf("a ring of %d bytes is no whole number of pages", size)
	}
	// One reservation, which the three mappings are then put into.
	whole, err := unix.MmapPtr(-1, 0, nil, uintptr(page+2*size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	at := func(offset int) unsafe.Pointer { return unsafe.Add(whole, offset) }
	for _, m := range []struct{ at, length, offset int }{
		{0, page + size, 0},
		{page + size, size, page},
	} {
		_, err := unix.MmapPtr(fd, int64(m.offset), at(m.at), uintptr(m.length),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
		if err != nil {
			unix.MunmapPtr(whole, uintptr(page+2*size))
			return nil, nil, os.NewSyscallError("mmap", err)
		}
	}
	words = unsafe.Slice((*uint64)(whole), page/8)
	return words, unsafe.Slice((*byte)(at(page)), 2*size), nil
}

// SameStart tells whether two slices begin at the same byte of memory.
func SameStart(a, b []byte) bool { return unsafe.SliceData(a) == unsafe.SliceData(b) }
