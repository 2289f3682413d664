// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

const (
	xattrNameMax  = 255
	xattrValueMax = 64 << 10
)

// xattrTarget finds the file and, unless i is none, reads the attribute's name
// in argument i.
func (d *Deriver) xattrTarget(c *Call, i int8, o *proc.Object) (name []byte, err error) {
	flags := c.Row.fixed
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
		if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
			return nil, unix.EINVAL
		}
	}
	if i >= 0 {
		name, err = d.lens.String(c.Task, d.paths[1][:0], c.Args[i], xattrNameMax+1)
		d.paths[1] = name
		if err != nil {
			return nil, unreadable(err)
		}
		if len(name) == 0 {
			return nil, unix.ERANGE
		}
	}
	return name, d.subject(c, flags, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o)
}

// mayXattr is the kernel's xattr_permission, for reading or writing.
func (d *Deriver) mayXattr(c *Call, o *proc.Object, name []byte, write bool) error {
	if write {
		if o.ReadOnly() {
			return unix.EROFS
		}
		if frozen(o) {
			return unix.EPERM
		}
	}
	mode := uint32(unix.R_OK)
	if write {
		mode = unix.W_OK
	}
	switch prefix, _, _ := bytes.Cut(name, []byte(".")); string(prefix) {
	case "security", "system":
		return nil
	case "trusted":
		if c.Task.Status.COE.CapEff&(1<<unix.CAP_SYS_ADMIN) == 0 {
			return unix.EPERM
		}
		return nil
	case "user":
		if !o.IsRegular() && !o.IsDir() {
			return unix.EPERM
		}
		if write && o.IsDir() && o.Stat.Mode&unix.S_ISVTX != 0 && !d.owns(c, o) {
			return unix.EPERM
		}
	}
	if !d.lens.MayAccess(c.Task, o, mode) {
		return unix.EACCES
	}
	return nil
}

// accessList tells whether name is that of an access list, which has hooks of
// its own since Linux 6.2 that TSEM does not use.
func accessList(name []byte) bool {
	if !atLeast(release{6, 2}) {
		return false
	}
	s := string(name)
	return s == "system.posix_acl_access" || s == "system.posix_acl_default"
}

// setxattr is setxattr, lsetxattr, fsetxattr and setxattrat.
func setxattr(d *Deriver, c *Call) error {
	value, size, flags := c.Args[c.Row.mode+1], c.Args[c.Row.mode+2], uint32(0)
	if c.Row.packed { // setxattrat: a structure of value, size and flags
		var b [16]byte
		if c.Args[c.Row.mode+2] < 16 {
			return unix.EINVAL
		}
		if err := d.lens.Read(c.Task, c.Args[c.Row.mode+1], b[:]); err != nil {
			return unreadable(err)
		}
		value = binary.NativeEndian.Uint64(b[:])
		size = uint64(binary.NativeEndian.Uint32(b[8:]))
		flags = binary.NativeEndian.Uint32(b[12:])
	} else {
		flags = uint32(c.Args[c.Row.mode+3])
	}
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return unix.EINVAL
	}
	o := &d.objects[0]
	name, err := d.xattrTarget(c, c.Row.mode, o)
	if err != nil {
		return err
	}
	if size > xattrValueMax {
		return unix.E2BIG
	}
	content := make([]byte, size)
	if err := d.lens.Read(c.Task, value, content); err != nil {
		return unreadable(err)
	}
	if accessList(name) {
		return nil
	}
	if err := d.mayXattr(c, o, name, true); err != nil {
		return err
	}
	if private(o) {
		return nil
	}
	d.emit(tsem.InodeSetxattr, &tsem.SetxattrCell{
		Dentry: d.dentry(c, o, byTask), Name: name, Value: content, Flags: int32(flags),
	})
	return nil
}

// getxattr is getxattr, lgetxattr, fgetxattr and getxattrat.
func getxattr(d *Deriver, c *Call) error {
	return d.xattr(c, tsem.InodeGetxattr, false)
}

// removexattr is removexattr, lremovexattr, fremovexattr and removexattrat.
func removexattr(d *Deriver, c *Call) error {
	return d.xattr(c, tsem.InodeRemovexattr, true)
}

func (d *Deriver) xattr(c *Call, kind tsem.Type, write bool) error {
	o := &d.objects[0]
	name, err := d.xattrTarget(c, c.Row.mode, o)
	if err != nil {
		return err
	}
	if accessList(name) {
		return nil
	}
	if err := d.mayXattr(c, o, name, write); err != nil {
		return err
	}
	if private(o) {
		return nil
	}
	d.emit(kind, &tsem.XattrCell{Dentry: d.dentry(c, o, byTask), Name: name})
	return nil
}

// listxattr is listxattr, llistxattr, flistxattr and listxattrat.
func listxattr(d *Deriver, c *Call) error {
	o := &d.objects[0]
	if _, err := d.xattrTarget(c, none, o); err != nil {
		return err
	}
	if private(o) {
		return nil
	}
	d.emit(tsem.InodeListxattr, &tsem.DentryCell{Dentry: d.dentry(c, o, byTask)})
	return nil
}
