// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// clone is clone, fork and vfork. It has no event; the new task is expected.
func clone(d *Deriver, c *Call) error {
	d.cloning(c, c.Args[0]*uint64(c.Row.fixed))
	return nil
}

// vfork shares the address space until the child executes a program.
func vfork(d *Deriver, c *Call) error {
	d.cloning(c, unix.CLONE_VM|unix.CLONE_VFORK)
	return nil
}

// clone3 has its flags in memory.
func clone3(d *Deriver, c *Call) error {
	var flags [8]byte
	if err := d.lens.Read(c.Task, c.Args[0], flags[:]); err != nil {
		d.cloning(c, 0)
		return nil
	}
	d.cloning(c, binary.NativeEndian.Uint64(flags[:]))
	return nil
}

func (d *Deriver) cloning(c *Call, flags uint64) {
	d.shared.Tasks.Cloning(c.Task, flags&unix.CLONE_PARENT != 0, flags&unix.CLONE_VM != 0)
}

// exit is exit and exit_group.
func exit(d *Deriver, c *Call) error {
	d.shared.Tasks.Leaving(c.Task)
	return nil
}

// credentials is every call that may change the ids or the capabilities of its
// caller.
func credentials(d *Deriver, c *Call) error {
	c.Task.StatusStale = true
	return nil
}

// rename of a task: only PR_SET_NAME is trapped.
func prctl(d *Deriver, c *Call) error {
	c.Task.StatusStale = true
	return nil
}

// moves is every call that may change a root directory or a namespace.
func moves(d *Deriver, c *Call) error {
	c.Task.StatusStale = true
	c.Task.Moving = true
	d.shared.World.Moving()
	return nil
}

// uring refuses io_uring, unless it is allowed: it does its work without any
// call that can be seen.
func uring(d *Deriver, c *Call) error {
	d.out.URing = true
	if !d.opts.AllowURing {
		d.out.Refuse = unix.ENOSYS
	}
	return nil
}
