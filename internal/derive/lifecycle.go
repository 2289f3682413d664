// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "golang.org/x/sys/unix"

// credentials is every call that may change the ids or the capabilities of its
// caller.
func credentials(d *Deriver, c *Call) error {
	c.Task.StatusStale = true
	return nil
}

// moves is every call that may change a root directory or a namespace.
func moves(d *Deriver, c *Call) error {
	c.Task.StatusStale = true
	c.Task.Moving.Store(true)
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
