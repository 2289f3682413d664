// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/kernel"
	"quixote-export/internal/model"
)

// Probe tells whether this host can offer the source, without installing
// anything: nil, or one line that says what is missing.
func Probe() error {
	if _, err := derive.Arches(runtime.GOARCH, derive.Interest{Model: model.Default()}); err != nil {
		return err
	}
	if err := kernel.NotificationsSupported(); err != nil {
		return fmt.Errorf("the kernel has no seccomp user notifications (Linux 5.9 or later is needed): %w", err)
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err != nil {
		return fmt.Errorf("the system call openat2 is refused (Linux 5.6 or later is needed, and no filter around us): %w", err)
	}
	return unix.Close(fd)
}

// Limits tells in one line what the source cannot do for the calling user,
// "" if nothing.
func Limits() string {
	if maySetFilter() {
		return ""
	}
	return "without root: no_new_privs is set, so set-id bits and file capabilities of programs have no effect, and what other users' or protected programs open is recorded without its path"
}
