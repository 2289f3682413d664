// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"os"
	"syscall"

	"github.com/cilium/ebpf/link"
)

// markRelease is the first argument of a process that takes programs off their
// hooks. No flag looks like it.
const markRelease = "\x01release"

// IsRelease tells whether args, those of the process, are those of one that has
// only to end.
func IsRelease(args []string) bool { return len(args) > 1 && args[1] == markRelease }

// descriptor is that of a link.
func descriptor(at link.Link) (int, bool) {
	l, ok := at.(interface{ FD() int })
	if !ok {
		return -1, false
	}
	return l.FD(), true
}

// release takes the programs off their hooks. The kernel needs a fifth of a
// second for each, one after the other, in which nobody should have to wait: a
// process is made that holds them too and ends at once, so that its end takes
// that time. By then there is no task of which they would tell.
func (l *loaded) release() {
	if len(l.links) > 0 {
		if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
			files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
			for _, at := range l.links {
				if fd, ok := descriptor(at); ok {
					files = append(files, uintptr(fd))
				}
			}
			// Without it the closing below takes the time.
			syscall.ForkExec("/proc/self/exe", []string{"quixote-export", markRelease}, &syscall.ProcAttr{
				Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
			})
			null.Close()
		}
	}
	for _, at := range l.links {
		at.Close()
	}
	l.links = nil
}
