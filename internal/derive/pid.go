// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// pid translates a process or thread number as the caller gives it, in its own
// pid namespace, to ours. ESRCH: there is no such task.
func (d *Deriver) pid(c *Call, n int32) (int, error) {
	if n <= 0 {
		return 0, unix.ESRCH
	}
	if d.lens.SamePIDs(c.Task) {
		return int(n), nil
	}
	pid, err := task.FindInNamespace(c.Task.TID, int(n))
	if err != nil {
		return 0, unix.ESRCH
	}
	return pid, nil
}

// identity is the TASK_ID of task pid (in our pid namespace), zero bytes for
// one outside the context, which has none here. foreign tells of the latter.
func (d *Deriver) identity(pid int) (id tsem.Digest, foreign bool) {
	if known, ok := d.shared.Tasks.Lookup(pid); ok {
		return known.TaskID, false
	}
	return d.opts.Algorithm.Zero(), true
}

// number finds the task that the caller knows as number n, thread or leader.
func (d *Deriver) number(c *Call, n int32) (task.Details, error) {
	tid, err := d.pid(c, n)
	if err != nil {
		return task.Details{}, err
	}
	it, err := task.ReadDetails(tid)
	if err != nil {
		return it, unix.ESRCH
	}
	return it, nil
}
