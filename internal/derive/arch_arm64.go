// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

// largeFile is O_LARGEFILE, which 64-bit calls set by themselves.
const largeFile = 0x20000

// Where a kernel image has its magic number, by the image header.
const (
	kernelMagicAt = 56
	kernelMagic   = "ARM\x64"
)
