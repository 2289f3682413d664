// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// opened describes the file behind descriptor fd of t. A descriptor that was
// opened with O_PATH counts as none.
func (d *Deriver) opened(c *Call, t *task.Task, fd int32, o *proc.Object) (tsem.File, error) {
	if err := d.lens.Descriptor(t, fd, o); err != nil {
		return tsem.File{}, err
	}
	info, err := d.lens.FDInfo(t, fd)
	if err != nil || info.Flags&unix.O_PATH != 0 {
		return tsem.File{}, unix.EBADF
	}
	return d.file(c, o, info.Flags), nil
}

// ioctl is ioctl. 32-bit programs have an event type of their own.
func ioctl(d *Deriver, c *Call) error {
	o := &d.objects[0]
	f, err := d.opened(c, c.Task, c.arg(0), o)
	if err != nil {
		return err
	}
	kind := tsem.FileIoctl
	if c.Compat {
		kind = tsem.FileIoctlCompat
	}
	d.emit(kind, d.cells.command.put(tsem.FileCmdCell{File: f, Cmd: uint32(c.Args[1])}))
	switch uint32(c.Args[1]) {
	case ioSetOwner, ioSetGroup:
		who, err := d.word32(c, c.Args[2])
		if err == nil {
			d.shieldOwner(c, int32(who))
		}
		return err
	}
	return d.tun(c, o, uint32(c.Args[1]), c.Args[2])
}

// Commands of fcntl that the packages of the standard library leave out.
const (
	fGetlk64, fSetlk64, fSetlkw64 = 12, 13, 14 // of 32-bit programs
)

// fcntl is fcntl and fcntl64. Commands that set a lock are a second event.
func fcntl(d *Deriver, c *Call) error {
	o := &d.objects[0]
	cmd := uint32(c.Args[1])
	if err := d.lens.Descriptor(c.Task, c.arg(0), o); err != nil {
		return err
	}
	info, err := d.lens.FDInfo(c.Task, c.arg(0))
	if err != nil {
		return unix.EBADF
	}
	if info.Flags&unix.O_PATH != 0 {
		// The few commands that such a descriptor takes reach the hook.
		switch cmd {
		case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_DUPFD_QUERY,
			unix.F_GETFD, unix.F_SETFD, unix.F_GETFL:
		default:
			return unix.EBADF
		}
	}
	f := d.file(c, o, info.Flags)
	d.emit(tsem.FileFcntl, d.cells.command.put(tsem.FileCmdCell{File: f, Cmd: cmd}))
	switch cmd {
	case fSetown:
		d.shieldOwner(c, c.arg(2))
		return nil
	case fSetownEx:
		d.shieldOwnerEx(c, c.Args[2])
		return nil
	case unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
	case fSetlk64, fSetlkw64:
		if !c.Compat {
			return nil
		}
	default:
		return nil
	}
	// struct flock begins with the type of the lock.
	var kind [2]byte
	if err := d.lens.Read(c.Task, c.Args[2], kind[:]); err != nil {
		return err
	}
	lock := binary.NativeEndian.Uint16(kind[:])
	write, read := f.Flags&unix.O_ACCMODE != unix.O_RDONLY, f.Flags&unix.O_ACCMODE != unix.O_WRONLY
	switch {
	case lock == unix.F_RDLCK && !read, lock == unix.F_WRLCK && !write:
		return unix.EBADF
	case lock > unix.F_UNLCK:
		return unix.EINVAL
	}
	d.emit(tsem.FileLock, d.cells.command.put(tsem.FileCmdCell{File: f, Cmd: uint32(lock)}))
	return nil
}

// flock is flock; the event has the kind of lock in terms of fcntl.
func flock(d *Deriver, c *Call) error {
	var lock uint32
	switch uint32(c.Args[1]) &^ unix.LOCK_NB {
	case unix.LOCK_SH:
		lock = unix.F_RDLCK
	case unix.LOCK_EX:
		lock = unix.F_WRLCK
	case unix.LOCK_UN:
		lock = unix.F_UNLCK
	default:
		return unix.EINVAL
	}
	o := &d.objects[0]
	f, err := d.opened(c, c.Task, c.arg(0), o)
	if err != nil {
		return err
	}
	if lock != unix.F_UNLCK && f.Flags&unix.O_ACCMODE == 3 {
		return unix.EBADF // open for neither reading nor writing
	}
	d.emit(tsem.FileLock, d.cells.command.put(tsem.FileCmdCell{File: f, Cmd: lock}))
	return nil
}

// pidfdGetfd is pidfd_getfd: a file of another task is received.
func pidfdGetfd(d *Deriver, c *Call) error {
	if c.Args[2] != 0 {
		return unix.EINVAL
	}
	info, err := d.lens.FDInfo(c.Task, c.arg(0))
	if err != nil || info.PID <= 0 {
		return unix.EBADF
	}
	other, err := task.ReadDetails(info.PID)
	if err != nil {
		return unix.ESRCH
	}
	if err := d.access(c, &other, accessAttach|accessByItself); err != nil {
		return err
	}
	if d.shield(other.TGID); d.out.Refuse != 0 {
		return d.out.Refuse
	}
	var it task.Task
	it.TID, it.TGID = info.PID, info.PID
	o := &d.objects[0]
	if err := d.lens.Descriptor(&it, c.arg(1), o); err != nil {
		return err
	}
	flags, err := d.lens.FDInfo(&it, c.arg(1))
	if err != nil {
		return unix.EBADF
	}
	d.emit(tsem.FileReceive, d.cells.file.put(tsem.FileCell{File: d.file(c, o, flags.Flags)}))
	return nil
}
