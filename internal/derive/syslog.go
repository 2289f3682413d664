// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// What may be done with the kernel's log, as far as it matters here.
const (
	syslogOpen    = 1
	syslogReadAll = 3
	syslogSize    = 10
)

// syslog is syslog.
func syslog(d *Deriver, c *Call) error { return d.useLog(c, c.arg(0)) }

// useLog emits a use of the kernel's log, if it is allowed. Reading all of it
// and asking for its size are open to everybody unless kernel.dmesg_restrict
// is set.
func (d *Deriver) useLog(c *Call, kind int32) error {
	free := (kind == syslogReadAll || kind == syslogSize) && !isSet("/proc/sys/kernel/dmesg_restrict")
	if !free && !d.lens.Capable(c.Task, unix.CAP_SYSLOG) {
		return unix.EPERM
	}
	d.emit(tsem.Syslog, &tsem.SyslogCell{Type: kind})
	return nil
}

// openLog emits what opening o does besides, if it is one of the two files that
// the kernel's log is read from.
func (d *Deriver) openLog(c *Call, o *proc.Object, flags uint32) {
	const kmsgMajor, kmsgMinor = 1, 11
	switch {
	case o.Stat.Mode&unix.S_IFMT == unix.S_IFCHR && o.Stat.Rdev_major == kmsgMajor && o.Stat.Rdev_minor == kmsgMinor:
		mode := uint32(unix.R_OK)
		switch flags & unix.O_ACCMODE {
		case unix.O_RDONLY:
		case unix.O_WRONLY:
			return // to write to it is free
		default:
			mode |= unix.W_OK
		}
		if flags&unix.O_DIRECTORY == 0 && !o.Mount.NoDev && d.lens.MayAccess(c.Task, o, mode) {
			d.useLog(c, syslogReadAll)
		}
	case o.IsRegular() && o.Mount.Magic == unix.PROC_SUPER_MAGIC && string(o.RelativePath("").Pathname) == "/kmsg":
		d.useLog(c, syslogOpen)
	}
}
