// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// Version tells one state of the content of one file from others.
type Version version

// Version is the state in which o was described.
func (o *Object) Version() Version { return Version(versionOf(o.ID(), &o.Stat)) }

// Unchanged tells whether o still has the version it was described with, and
// has had it for so long that another would show: what has been read of it may
// be remembered.
func (o *Object) Unchanged() bool {
	fd, err := o.open()
	if err != nil {
		return false
	}
	changed := time.Unix(int64(o.Stat.Ctime.Sec), int64(o.Stat.Ctime.Nsec))
	var st unix.Statx_t
	return time.Since(changed) > settled &&
		kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, statMask, &st) == nil &&
		versionOf(o.ID(), &st) == versionOf(o.ID(), &o.Stat) && sameInode(&st, &o.Stat)
}
