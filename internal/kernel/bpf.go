// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BPFAttributes is the size of union bpf_attr in the running kernel, which
// refuses whatever is set behind it. Where bpf is denied altogether it is that
// of Linux 6.12.
var BPFAttributes = sync.OnceValue(func() uint32 {
	const (
		unknown  = 0x7fffffff // a command that no kernel has
		smallest = 48
		largest  = 1024
		usual    = 152
	)
	var attr [largest]byte
	refused := func(size int) bool {
		attr[size-1] = 1
		_, _, errno := unix.Syscall(unix.SYS_BPF, unknown, uintptr(unsafe.Pointer(&attr[0])), uintptr(size))
		attr[size-1] = 0
		return errno == unix.E2BIG
	}
	if refused(smallest) || !refused(largest) {
		return usual
	}
	low, high := smallest, largest // accepted, refused
	for high-low > 1 {
		if mid := (low + high) / 2; refused(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return uint32(low)
})
