// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// statfs64Size is the size of struct statfs64 of 32-bit programs, which they
// must give.
const statfs64Size = 84

// statfs is statfs and fstatfs, and their forms for 32-bit programs. A
// descriptor that was opened with O_PATH will do.
func statfs(d *Deriver, c *Call) error {
	if c.Row.split && uint32(c.Args[1]) != statfs64Size {
		return unix.EINVAL
	}
	o := &d.objects[0]
	if c.Row.fd >= 0 {
		if err := d.lens.Descriptor(c.Task, c.arg(c.Row.fd), o); err != nil {
			return err
		}
	} else if err := d.target(c, none, c.Row.path, 0, true, o); err != nil {
		return err
	}
	d.emit(tsem.SBStatfs, &tsem.DentryCell{Dentry: d.dentry(c, o, byTask)})
	return nil
}

// ustat is ustat: the file system is named by its device number.
func ustat(d *Deriver, c *Call) error {
	sb, ok := d.lens.Superblock(c.Task, decodeDev(uint32(c.Args[0])))
	if !ok {
		return unix.EINVAL
	}
	d.emit(tsem.SBStatfs, &tsem.DentryCell{Dentry: d.superRoot(c, &sb, nil)})
	return nil
}

// decodeDev reads a device number in the form of system calls.
func decodeDev(dev uint32) tsem.Dev {
	return tsem.Dev{Major: dev >> 8 & 0xfff, Minor: dev&0xff | dev>>12&0xfff00}
}
