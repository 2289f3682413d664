// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
)

// A cpio writes the "newc" archive of an initial memory file system: for each
// file a header of hexadecimal fields, its name, its bytes, each up to a
// multiple of four.
type cpio struct {
	to    io.Writer
	inode int
	err   error
}

const (
	modeFolder = 0o40755
	modeFile   = 0o100755
)

func (c *cpio) add(name string, mode int, text []byte) {
	c.inode++
	c.write(fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(text), 0, 0, 0, 0, len(name)+1, 0, name), 110+len(name)+1)
	c.write(string(text), len(text))
}

func (c *cpio) write(text string, size int) {
	if c.err == nil {
		_, c.err = io.WriteString(c.to, text+"\x00\x00\x00"[:(4-size%4)%4])
	}
}

// close ends the archive.
func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil)
	return c.err
}
