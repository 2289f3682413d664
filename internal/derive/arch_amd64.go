// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

// largeFile is O_LARGEFILE, which 64-bit calls set by themselves.
const largeFile = 0x8000
