// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BPFRing is the memory of a BPF ring buffer map, as the kernel shares it.
type BPFRing struct {
	Consumed *uint64 // position up to which the kernel may overwrite
	Produced *uint64 // position up to which there is something
	Data     []byte  // twice the ring, one behind the other
	maps     [2][]byte
}

// MapBPFRing maps the ring buffer map fd of size bytes.
func MapBPFRing(fd, size int) (*BPFRing, error) {
	page := os.Getpagesize()
	if size <= 0 || size%page != 0 {
		return nil, fmt.Errorf("a ring of %d bytes is no whole number of pages", size)
	}
	ours, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	theirs, err := unix.Mmap(fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(ours)
		return nil, os.NewSyscallError("mmap", err)
	}
	return &BPFRing{
		Consumed: (*uint64)(unsafe.Pointer(unsafe.SliceData(ours))),
		Produced: (*uint64)(unsafe.Pointer(unsafe.SliceData(theirs))),
		Data:     theirs[page:],
		maps:     [2][]byte{ours, theirs},
	}, nil
}

// Word is the number of 32 bits at an offset in the data, which is a multiple
// of 8. The kernel may be changing it.
func (r *BPFRing) Word(at uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.Data[at]))
}

// Close gives the memory back.
func (r *BPFRing) Close() {
	for _, m := range r.maps {
		unix.Munmap(m)
	}
}
