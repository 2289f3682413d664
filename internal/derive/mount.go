// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// location describes o as a PATH object: absolute, and with its maker.
func (d *Deriver) location(c *Call, o *proc.Object) tsem.Path {
	p := o.AbsolutePath(d.lens.PathType(c.Task))
	if origin, ok := d.shared.Created.Origin(o); ok {
		p.Created, p.Owner, p.Instance = true, origin.Owner, origin.Instance
	}
	return p
}

// mayMount is the kernel's rule of that name.
func (d *Deriver) mayMount(c *Call) bool {
	return d.lens.CapableOver(c.Task, "mnt", unix.CAP_SYS_ADMIN)
}

// text reads a string argument of which a null pointer means that there is
// none.
func (d *Deriver) text(c *Call, addr uint64) ([]byte, error) {
	if addr == 0 {
		return nil, nil
	}
	b, err := d.lens.String(c.Task, []byte{}, addr, proc.PathMax)
	return b, unreadable(err)
}

// mount is mount, of every kind. Whether the caller may mount at all is only
// asked behind the hook.
func mount(d *Deriver, c *Call) error {
	err := d.mounting(c)
	moves(d, c)
	return err
}

func (d *Deriver) mounting(c *Call) error {
	flags := c.Args[3]
	fstype, err := d.text(c, c.Args[2])
	if err != nil {
		return err
	}
	source, err := d.text(c, c.Args[0])
	if err != nil {
		return err
	}
	if c.Args[4] != 0 {
		var b [1]byte
		if err := d.lens.Read(c.Task, c.Args[4], b[:]); err != nil {
			return unreadable(err)
		}
	}
	name, err := d.path(c, 1, 0)
	if err != nil {
		return err
	}
	o := &d.objects[0]
	if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, name, true, o); err != nil {
		return err
	}
	if flags&unix.MS_MGC_MSK == unix.MS_MGC_VAL {
		flags &^= unix.MS_MGC_MSK
	}
	if flags&unix.MS_NOUSER != 0 {
		return unix.EINVAL
	}
	d.emit(tsem.SBMount, &tsem.MountCell{DevName: source, Path: d.location(c, o), Type: fstype, Flags: flags})
	if flags&(unix.MS_REMOUNT|unix.MS_BIND) != unix.MS_REMOUNT {
		return nil
	}
	switch {
	case !d.mayMount(c):
		return unix.EPERM
	case !o.IsMountRoot(), !o.Mount.Listed():
		return unix.EINVAL
	}
	cell, err := d.remount(c, o)
	if err == nil {
		d.emit(tsem.SBRemount, cell)
	}
	return err
}

// remount describes the change of the file system that o lies on.
func (d *Deriver) remount(c *Call, o *proc.Object) (*tsem.RemountCell, error) {
	if !d.mayConfigure(c, o) {
		return nil, unix.EPERM
	}
	sb, ok := d.lens.Superblock(c.Task, o.Mount.Dev)
	if !ok {
		return nil, unix.EINVAL
	}
	return &tsem.RemountCell{Dentry: d.superRoot(c, &sb, o), FSType: []byte(sb.FSType), Flags: sb.Flags()}, nil
}

// mayConfigure tells whether the task has power over the whole file system of
// o: over the user namespace in which it was mounted.
func (d *Deriver) mayConfigure(c *Call, o *proc.Object) bool {
	if c.Task.Status.COE.CapEff&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return false
	}
	return d.lens.SameUsers(c.Task) || d.lens.Foreign(c.Task, o.Mount.Dev)
}

// superRoot describes the root directory of the file system of o, which lies
// on it; the inode is left out where no mount shows it.
func (d *Deriver) superRoot(c *Call, sb *proc.Superblock, o *proc.Object) tsem.Dentry {
	if o != nil && o.IsSuperRoot() {
		return d.dentry(c, o, byTask)
	}
	root := &d.objects[3]
	if d.lens.Root(c.Task, sb, root) == nil {
		return d.dentry(c, root, byTask)
	}
	return tsem.Dentry{Path: tsem.Path{
		HasDev: true, Dev: sb.Dev, Type: d.lens.PathType(c.Task), Pathname: []byte("/"),
	}}
}

// umount is umount and umount2.
func umount(d *Deriver, c *Call) error {
	err := d.unmounting(c)
	moves(d, c)
	return err
}

func (d *Deriver) unmounting(c *Call) error {
	flags := c.Row.fixed
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	if flags&^(unix.MNT_FORCE|unix.MNT_DETACH|unix.MNT_EXPIRE|unix.UMOUNT_NOFOLLOW) != 0 {
		return unix.EINVAL
	}
	name, err := d.path(c, 0, 0)
	if err != nil {
		return err
	}
	o := &d.objects[0]
	if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, name, flags&unix.UMOUNT_NOFOLLOW == 0, o); err != nil {
		return err
	}
	switch {
	case !d.mayMount(c):
		return unix.EPERM
	case !o.IsMountRoot(), !o.Mount.Listed(), d.lens.Locked(c.Task, o.Mount):
		return unix.EINVAL
	case flags&unix.MNT_FORCE != 0 && !d.mayConfigure(c, o):
		return unix.EPERM
	}
	d.emit(tsem.SBUmount, &tsem.UmountCell{Mnt: d.dentry(c, o, byTask), Flags: flags})
	return nil
}

// pivotRoot is pivot_root. The hook is asked before most of the conditions.
func pivotRoot(d *Deriver, c *Call) error {
	err := d.pivoting(c)
	moves(d, c)
	return err
}

func (d *Deriver) pivoting(c *Call) error {
	if !d.mayMount(c) {
		return unix.EPERM
	}
	dirs := [2]*proc.Object{&d.objects[0], &d.objects[1]}
	for i, o := range dirs {
		name, err := d.path(c, int8(i), i)
		if err != nil {
			return err
		}
		if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, name, true, o); err != nil {
			return err
		}
		if !o.IsDir() {
			return unix.ENOTDIR
		}
	}
	d.emit(tsem.SBPivotroot, &tsem.PathPairCell{First: d.location(c, dirs[1]), Second: d.location(c, dirs[0])})
	return nil
}
