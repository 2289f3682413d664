// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// Bits of ia_valid, from include/linux/fs.h: which attributes a change is of.
const (
	attrMode     = 1 << 0
	attrUID      = 1 << 1
	attrGID      = 1 << 2
	attrSize     = 1 << 3
	attrAtime    = 1 << 4
	attrMtime    = 1 << 5
	attrCtime    = 1 << 6
	attrAtimeSet = 1 << 7
	attrMtimeSet = 1 << 8
	attrForce    = 1 << 9
	attrKillSUID = 1 << 11
	attrKillSGID = 1 << 12
	attrFile     = 1 << 13
	attrKillPriv = 1 << 14
	attrOpen     = 1 << 15
	attrTimesSet = 1 << 16
	attrTouch    = 1 << 17
)

// setattr emits the change of attributes of o, with what the kernel adds to it
// on the way to the hook: the removal of set-id bits and file capabilities.
func (d *Deriver) setattr(c *Call, o *proc.Object, cell tsem.SetattrCell) {
	if cell.Valid&attrSize != 0 {
		if kill := d.killsOnWrite(c, o); kill != 0 {
			cell.Valid |= kill | attrForce
		}
	}
	if cell.Valid&attrKillPriv != 0 && !d.lens.HasCapabilities(o) {
		cell.Valid &^= attrKillPriv
	}
	mode := uint32(o.Stat.Mode)
	if cell.Valid&attrKillSUID != 0 && mode&unix.S_ISUID != 0 {
		cell.Valid |= attrMode
		cell.Mode = mode &^ unix.S_ISUID
	}
	if cell.Valid&attrKillSGID != 0 && mode&unix.S_ISGID != 0 {
		if cell.Valid&attrMode == 0 {
			cell.Valid |= attrMode
			cell.Mode = mode
		}
		cell.Mode &^= unix.S_ISGID
	}
	if private(o) {
		return
	}
	cell.Dentry = d.dentry(c, o, byTask)
	d.emit(tsem.InodeSetattr, d.cells.setattr.put(cell))
}

// killsOnWrite tells what a change of the content takes away from a file that
// carries privileges, unless the task may keep them.
func (d *Deriver) killsOnWrite(c *Call, o *proc.Object) (kill uint32) {
	if !o.IsRegular() {
		return 0
	}
	mode := uint32(o.Stat.Mode)
	if c.Task.Status.COE.CapEff&(1<<unix.CAP_FSETID) == 0 {
		if mode&unix.S_ISUID != 0 {
			kill |= attrKillSUID
		}
		if d.dropsSGID(c, o) {
			kill |= attrKillSGID
		}
	}
	if d.lens.HasCapabilities(o) {
		kill |= attrKillPriv
	}
	return kill
}

// dropsSGID tells whether the set-group-id bit of o would be removed.
func (d *Deriver) dropsSGID(c *Call, o *proc.Object) bool {
	mode := o.Stat.Mode
	return mode&unix.S_ISGID != 0 && (mode&0o010 != 0 || !d.inGroup(c, o.Stat.Gid))
}

// subject finds what a call on attributes is about: a path, or a descriptor
// that is open for more than its path.
func (d *Deriver) subject(c *Call, flags int32, follow bool, o *proc.Object) error {
	if c.Row.fd >= 0 {
		if err := d.lens.Descriptor(c.Task, c.arg(c.Row.fd), o); err != nil {
			return err
		}
		return d.usable(c, c.arg(c.Row.fd))
	}
	return d.target(c, c.Row.dir, c.Row.path, flags, follow, o)
}

// usable refuses descriptors that were opened with O_PATH.
func (d *Deriver) usable(c *Call, fd int32) error {
	info, err := d.lens.FDInfo(c.Task, fd)
	if err != nil {
		return unix.EBADF
	}
	if info.Flags&unix.O_PATH != 0 {
		return unix.EBADF
	}
	return nil
}

// change tells whether the attributes of o can be changed at all: its mount
// is not read-only, and it is neither immutable nor append-only.
func (d *Deriver) changeable(o *proc.Object) error {
	if o.ReadOnly() {
		return unix.EROFS
	}
	if frozen(o) {
		return unix.EPERM
	}
	return nil
}

// chmod is chmod, fchmod, fchmodat and fchmodat2.
func chmod(d *Deriver, c *Call) error {
	flags := int32(0)
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	o := &d.objects[0]
	if err := d.subject(c, flags, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o); err != nil {
		return err
	}
	if err := d.changeable(o); err != nil {
		return err
	}
	if o.IsSymlink() {
		return unix.EOPNOTSUPP
	}
	mode := uint32(c.Args[c.Row.mode])&0o7777 | uint32(o.Stat.Mode)&^0o7777
	d.setattr(c, o, tsem.SetattrCell{Valid: attrMode | attrCtime, Mode: mode})
	return nil
}

// chown is chown, lchown, fchown and fchownat.
func chown(d *Deriver, c *Call) error {
	flags := c.Row.fixed
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	o := &d.objects[0]
	if err := d.subject(c, flags, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o); err != nil {
		return err
	}
	if err := d.changeable(o); err != nil {
		return err
	}
	cell := tsem.SetattrCell{Valid: attrCtime}
	uid, gid := uint32(c.Args[c.Row.mode]), uint32(c.Args[c.Row.mode+1])
	if c.Row.narrow {
		uid, gid = widen16(uid), widen16(gid)
	}
	if uid != unset {
		cell.Valid |= attrUID
		cell.UID = uid
	}
	if gid != unset {
		cell.Valid |= attrGID
		cell.GID = gid
	}
	if !o.IsDir() {
		cell.Valid |= attrKillSUID | attrKillPriv
		if d.dropsSGID(c, o) {
			cell.Valid |= attrKillSGID
		}
	}
	d.setattr(c, o, cell)
	return nil
}

// unset is the id that leaves an owner as it is.
const unset = 0xffffffff

// widen16 makes an id of the old 16-bit calls one of the new.
func widen16(id uint32) uint32 {
	if id &= 0xffff; id == 0xffff {
		return unset
	}
	return id
}

// truncate is truncate and ftruncate.
func truncate(d *Deriver, c *Call) error {
	size := int64(c.Args[c.Row.mode])
	if c.Compat {
		size = int64(int32(c.Args[c.Row.mode]))
		if c.Row.split {
			size = int64(uint64(uint32(c.Args[c.Row.mode])) | c.Args[c.Row.mode+1]<<32)
		}
	}
	if size < 0 {
		return unix.EINVAL
	}
	o := &d.objects[0]
	if err := d.subject(c, 0, true, o); err != nil {
		return err
	}
	cell := tsem.SetattrCell{Valid: attrSize, Size: uint64(size)}
	if c.Row.fd >= 0 {
		info, err := d.lens.FDInfo(c.Task, c.arg(c.Row.fd))
		if err != nil || info.Flags&unix.O_ACCMODE == unix.O_RDONLY {
			return unix.EINVAL
		}
		cell.Valid |= attrMtime | attrCtime | attrFile
	} else if !d.lens.MayAccess(c.Task, o, unix.W_OK) {
		return unix.EACCES
	}
	if !o.IsRegular() {
		return unix.EINVAL
	}
	if frozen(o) {
		return unix.EPERM
	}
	if c.Row.fd < 0 && d.runs(o) {
		return unix.ETXTBSY
	}
	d.setattr(c, o, cell)
	return nil
}

// stamp is what a call wants of one time.
type stamp int

const (
	stampSet  stamp = iota // a given value
	stampNow               // UTIME_NOW
	stampOmit              // UTIME_OMIT
)

// utimes is utime, utimes, futimesat and utimensat.
func utimes(d *Deriver, c *Call) error {
	flags := int32(0)
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	at, mt, err := d.stamps(c)
	if err != nil {
		return err
	}
	if at == stampOmit && mt == stampOmit {
		return nil
	}
	o := &d.objects[0]
	if c.Row.dir >= 0 && c.Args[c.Row.path] == 0 {
		if c.arg(c.Row.dir) == unix.AT_FDCWD {
			return unix.EFAULT
		}
		if err := d.lens.Descriptor(c.Task, c.arg(c.Row.dir), o); err != nil {
			return err
		}
		if err := d.usable(c, c.arg(c.Row.dir)); err != nil {
			return err
		}
	} else if err := d.target(c, c.Row.dir, c.Row.path, flags, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o); err != nil {
		return err
	}
	if o.ReadOnly() {
		return unix.EROFS
	}
	valid := uint32(attrCtime | attrMtime | attrAtime)
	if at == stampNow && mt == stampNow {
		valid |= attrTouch
		if o.Stat.Attributes&unix.STATX_ATTR_IMMUTABLE != 0 {
			return unix.EPERM
		}
		if !d.owns(c, o) && !d.lens.MayAccess(c.Task, o, unix.W_OK) {
			return unix.EACCES
		}
	} else {
		valid |= attrTimesSet
		if at == stampSet {
			valid |= attrAtimeSet
		} else if at == stampOmit {
			valid &^= attrAtime
		}
		if mt == stampSet {
			valid |= attrMtimeSet
		} else if mt == stampOmit {
			valid &^= attrMtime
		}
		if frozen(o) {
			return unix.EPERM
		}
	}
	d.setattr(c, o, tsem.SetattrCell{Valid: valid})
	return nil
}

// stamps reads the two times of the call. None given means now.
func (d *Deriver) stamps(c *Call) (at, mt stamp, err error) {
	addr := c.Args[c.Row.mode]
	if addr == 0 {
		return stampNow, stampNow, nil
	}
	word := uint64(8)
	if c.Compat && !c.Row.split {
		word = 4
	}
	if c.Row.seconds { // struct utimbuf: whole seconds
		var b [1]byte
		return stampSet, stampSet, d.lens.Read(c.Task, addr, b[:])
	}
	var b [32]byte
	if err := d.lens.Read(c.Task, addr, b[:4*word]); err != nil {
		return 0, 0, unreadable(err)
	}
	fraction := func(i uint64) int64 {
		if word == 4 {
			return int64(int32(binary.NativeEndian.Uint32(b[i*4:])))
		}
		return int64(binary.NativeEndian.Uint64(b[i*8:]))
	}
	if c.Row.micro {
		for _, n := range []int64{fraction(1), fraction(3)} {
			if n < 0 || n >= 1e6 {
				return 0, 0, unix.EINVAL
			}
		}
		return stampSet, stampSet, nil
	}
	kinds := [2]stamp{}
	for i, n := range []int64{fraction(1), fraction(3)} {
		switch {
		case n == unix.UTIME_NOW:
			kinds[i] = stampNow
		case n == unix.UTIME_OMIT:
			kinds[i] = stampOmit
		case n < 0 || n >= 1e9:
			return 0, 0, unix.EINVAL
		}
	}
	return kinds[0], kinds[1], nil
}

// getattr is stat, lstat, fstat, newfstatat and statx.
func getattr(d *Deriver, c *Call) error {
	flags := c.Row.fixed
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	o := &d.objects[0]
	if c.Row.fd >= 0 {
		if err := d.lens.Descriptor(c.Task, c.arg(c.Row.fd), o); err != nil {
			return err
		}
	} else {
		const syncType = unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC
		const known = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH | syncType
		if flags&^known != 0 || flags&syncType == syncType {
			return unix.EINVAL
		}
		if c.Row.mode >= 0 && c.Args[c.Row.mode]&unix.STATX__RESERVED != 0 { // what statx is asked for
			return unix.EINVAL
		}
		if err := d.statTarget(c, flags, o); err != nil {
			return err
		}
	}
	if private(o) {
		return nil
	}
	d.emit(tsem.InodeGetattr, d.cells.getattr.put(tsem.GetattrCell{Path: d.dentry(c, o, absolute)}))
	return nil
}

// private tells whether the kernel asks no hook about the attributes of o: it is
// an inode for the kernel's own use.
func private(o *proc.Object) bool {
	if o.Mount == nil {
		return false
	}
	switch o.Mount.FSType {
	case "pidfs":
		return true
	case "anon_inodefs":
		// These have an inode of their own, for the sake of the hooks.
		return string(o.Path) != "anon_inode:[userfaultfd]" && string(o.Path) != "anon_inode:[io_uring]"
	}
	return false
}

// statTarget is target, with a missing path allowed where the descriptor is
// meant (Linux 6.11).
func (d *Deriver) statTarget(c *Call, flags int32, o *proc.Object) error {
	if flags&unix.AT_EMPTY_PATH != 0 && c.Args[c.Row.path] == 0 {
		if c.dirfd(c.Row.dir) == unix.AT_FDCWD {
			return d.lens.Lookup(c.Task, unix.AT_FDCWD, []byte("."), true, o)
		}
		return d.lens.Descriptor(c.Task, c.dirfd(c.Row.dir), o)
	}
	return d.target(c, c.Row.dir, c.Row.path, flags, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o)
}
