// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

// largeFile is O_LARGEFILE, which 64-bit calls set by themselves.
const largeFile = 0x8000

// Where a kernel image has its magic number, by the boot protocol.
const (
	kernelMagicAt = 0x202
	kernelMagic   = "HdrS"
)
