// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// newName finds the directory in which the path of argument i makes a name,
// and checks that the name is free and may be made. Slashes may follow the
// name only where it becomes a directory.
func (d *Deriver) newName(c *Call, dirfd int32, i int8, buffer int, slash bool, dir *proc.Object) ([]byte, error) {
	path, err := d.path(c, i, buffer)
	if err != nil {
		return nil, err
	}
	last, err := d.lens.Parent(c.Task, dirfd, path, dir)
	if err != nil {
		return nil, err
	}
	if !ordinary(last.Name) {
		return nil, unix.EEXIST
	}
	o := &d.objects[3]
	switch err := d.lens.Child(c.Task, dir, last.Name, o); {
	case err == nil:
		o.Close()
		return nil, unix.EEXIST
	case err != unix.ENOENT:
		return nil, err
	case last.Slash && !slash:
		return nil, unix.ENOENT
	case !d.mayChange(c, dir):
		return nil, unix.EACCES
	}
	return last.Name, nil
}

// mkdir is mkdir and mkdirat.
func mkdir(d *Deriver, c *Call) error {
	dir := &d.objects[0]
	name, err := d.newName(c, c.dirfd(c.Row.dir), c.Row.path, 0, true, dir)
	if err != nil {
		return err
	}
	mode := uint32(c.Args[c.Row.mode]) & 0o1777
	if !dir.Mount.DefaultACL {
		d.lens.Refresh(c.Task)
		mode &^= c.Task.Status.Umask
	}
	d.emitCreate(c, tsem.InodeMkdir, dir, name, mode, d.shared.Created.Begin(c.Task, dir, name))
	return nil
}

// mknod is mknod and mknodat: a regular file is made like one that is opened,
// the rest are nodes.
func mknod(d *Deriver, c *Call) error {
	mode := uint32(c.Args[c.Row.mode])
	dev := uint32(c.Args[c.Row.mode+1])
	kind := mode & unix.S_IFMT
	switch kind {
	case 0:
		kind = unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFCHR, unix.S_IFBLK:
		const whiteout = 0
		if c.Task.Status.COE.CapEff&(1<<unix.CAP_MKNOD) == 0 && (kind != unix.S_IFCHR || dev != whiteout) {
			return unix.EPERM
		}
	case unix.S_IFDIR:
		return unix.EPERM
	default:
		return unix.EINVAL
	}
	dir := &d.objects[0]
	name, err := d.newName(c, c.dirfd(c.Row.dir), c.Row.path, 0, false, dir)
	if err != nil {
		return err
	}
	mode = kind | mode&0o7777
	if !dir.Mount.DefaultACL {
		d.lens.Refresh(c.Task)
		mode &^= c.Task.Status.Umask
	}
	if kind == unix.S_IFREG {
		d.emitCreate(c, tsem.InodeCreate, dir, name, mode, d.shared.Created.Begin(c.Task, dir, name))
		return nil
	}
	cell := &tsem.MknodCell{Dir: d.inode(c, dir), Dentry: d.entry(c, dir, name), Mode: mode}
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		cell.Dev = tsem.Dev{Major: dev >> 8 & 0xfff, Minor: dev&0xff | dev>>12&0xfff00}
	}
	d.emit(tsem.InodeMknod, cell)
	return nil
}

// symlink is symlink and symlinkat: the target comes first.
func symlink(d *Deriver, c *Call) error {
	target, err := d.path(c, c.Row.path2, 1)
	if err != nil {
		return err
	}
	if len(target) == 0 {
		return unix.ENOENT
	}
	dir := &d.objects[0]
	name, err := d.newName(c, c.dirfd(c.Row.dir), c.Row.path, 0, false, dir)
	if err != nil {
		return err
	}
	d.emit(tsem.InodeSymlink, &tsem.SymlinkCell{Dir: d.inode(c, dir), Dentry: d.entry(c, dir, name), OldName: target})
	return nil
}

// link is link and linkat.
func link(d *Deriver, c *Call) error {
	old, dir := &d.objects[0], &d.objects[1]
	flags := int32(0)
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	if err := d.target(c, c.Row.dir, c.Row.path, flags, flags&unix.AT_SYMLINK_FOLLOW != 0, old); err != nil {
		return err
	}
	name, err := d.newName(c, c.dirfd(c.Row.dir2), c.Row.path2, 1, false, dir)
	if err != nil {
		return err
	}
	switch {
	case old.Stat.Mnt_id != dir.Stat.Mnt_id:
		return unix.EXDEV
	case old.IsDir(), frozen(old), !d.mayLink(c, old):
		return unix.EPERM
	}
	d.emit(tsem.InodeLink, &tsem.LinkCell{
		Old: d.dentry(c, old, byTask),
		Dir: d.inode(c, dir),
		New: d.entry(c, dir, name),
	})
	return nil
}

// frozen tells whether the inode is immutable or may only be appended to.
func frozen(o *proc.Object) bool {
	return o.Stat.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0
}

// mayLink is the rule of fs.protected_hardlinks: who does not own a file may
// link it only if it is plain and open to him.
func (d *Deriver) mayLink(c *Call, o *proc.Object) bool {
	if !d.shared.World.ProtectedHardlinks() || d.owns(c, o) {
		return true
	}
	mode := o.Stat.Mode
	return o.IsRegular() && mode&unix.S_ISUID == 0 && mode&(unix.S_ISGID|0o010) != unix.S_ISGID|0o010 &&
		d.lens.MayAccess(c.Task, o, unix.R_OK|unix.W_OK)
}

// victim finds the name that a call removes or renames, and checks that it may
// be taken out of its directory.
func (d *Deriver) victim(c *Call, dir, o *proc.Object, last proc.Last) error {
	if err := d.lens.Child(c.Task, dir, last.Name, o); err != nil {
		return err
	}
	return d.mayDelete(c, dir, o)
}

// mayDelete is the kernel's rule of the same name, apart from the kinds.
func (d *Deriver) mayDelete(c *Call, dir, o *proc.Object) error {
	switch {
	case !d.mayChange(c, dir):
		return unix.EACCES
	case dir.Stat.Attributes&unix.STATX_ATTR_APPEND != 0, frozen(o):
		return unix.EPERM
	case dir.Stat.Mode&unix.S_ISVTX != 0 && !d.owns(c, o) && c.Task.Status.COE.FSUID != dir.Stat.Uid:
		return unix.EPERM
	}
	return nil
}

// unlink is unlink, and unlinkat without AT_REMOVEDIR.
func unlink(d *Deriver, c *Call) error {
	if c.Row.flags >= 0 {
		switch c.arg(c.Row.flags) {
		case 0:
		case unix.AT_REMOVEDIR:
			return rmdir(d, c)
		default:
			return unix.EINVAL
		}
	}
	path, err := d.path(c, c.Row.path, 0)
	if err != nil {
		return err
	}
	dir, o := &d.objects[0], &d.objects[1]
	last, err := d.lens.Parent(c.Task, c.dirfd(c.Row.dir), path, dir)
	if err != nil {
		return err
	}
	if !ordinary(last.Name) {
		return unix.EISDIR
	}
	if err := d.victim(c, dir, o, last); err != nil {
		return err
	}
	switch {
	case last.Slash:
		return unix.ENOTDIR
	case o.IsDir():
		return unix.EISDIR
	case o.Stat.Mnt_id != dir.Stat.Mnt_id:
		return unix.EBUSY
	}
	d.shared.Created.Removing(c.Task, o)
	d.emit(tsem.InodeUnlink, d.cells.remove.put(tsem.RemoveCell{Dir: d.inode(c, dir), Dentry: d.dentry(c, o, byMaker)}))
	return nil
}

// rmdir is rmdir, and unlinkat with AT_REMOVEDIR.
func rmdir(d *Deriver, c *Call) error {
	path, err := d.path(c, c.Row.path, 0)
	if err != nil {
		return err
	}
	dir, o := &d.objects[0], &d.objects[1]
	last, err := d.lens.Parent(c.Task, c.dirfd(c.Row.dir), path, dir)
	if err != nil {
		return err
	}
	if !ordinary(last.Name) {
		return unix.EINVAL
	}
	if err := d.victim(c, dir, o, last); err != nil {
		return err
	}
	switch {
	case !o.IsDir():
		return unix.ENOTDIR
	case o.Stat.Mnt_id != dir.Stat.Mnt_id:
		return unix.EBUSY
	}
	d.shared.Created.Removing(c.Task, o)
	d.emit(tsem.InodeRmdir, d.cells.remove.put(tsem.RemoveCell{Dir: d.inode(c, dir), Dentry: d.dentry(c, o, byMaker)}))
	return nil
}

// rename is rename, renameat and renameat2.
func rename(d *Deriver, c *Call) error {
	var flags uint32
	if c.Row.flags >= 0 {
		flags = uint32(c.Args[c.Row.flags])
	}
	const known = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE | unix.RENAME_WHITEOUT
	exchange := flags&unix.RENAME_EXCHANGE != 0
	if flags&^known != 0 || exchange && flags&(unix.RENAME_NOREPLACE|unix.RENAME_WHITEOUT) != 0 {
		return unix.EINVAL
	}
	from, err := d.path(c, c.Row.path, 0)
	if err != nil {
		return err
	}
	to, err := d.path(c, c.Row.path2, 1)
	if err != nil {
		return err
	}
	oldDir, old, newDir, target := &d.objects[0], &d.objects[1], &d.objects[2], &d.objects[3]
	fromLast, err := d.lens.Parent(c.Task, c.dirfd(c.Row.dir), from, oldDir)
	if err != nil {
		return err
	}
	toLast, err := d.lens.Parent(c.Task, c.dirfd(c.Row.dir2), to, newDir)
	if err != nil {
		return err
	}
	switch {
	case oldDir.Stat.Mnt_id != newDir.Stat.Mnt_id:
		return unix.EXDEV
	case !ordinary(fromLast.Name), !ordinary(toLast.Name):
		return unix.EBUSY
	}
	if err := d.lens.Child(c.Task, oldDir, fromLast.Name, old); err != nil {
		return err
	}
	err = d.lens.Child(c.Task, newDir, toLast.Name, target)
	exists := err == nil
	switch {
	case err != nil && err != unix.ENOENT:
		return err
	case exists && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case !exists && exchange:
		return unix.ENOENT
	case !old.IsDir() && (fromLast.Slash || !exchange && toLast.Slash):
		return unix.ENOTDIR
	case exchange && toLast.Slash && !target.IsDir():
		return unix.ENOTDIR
	case exists && old.ID() == target.ID():
		return unix.EEXIST // both are the same file: nothing is done
	case old.IsDir() && (within(newDir.Path, old.Path) || exists && within(oldDir.Path, target.Path)):
		return unix.EINVAL
	case exists && !old.IsDir() && within(oldDir.Path, target.Path):
		return unix.ENOTEMPTY
	}
	if err := d.mayRename(c, oldDir, old, newDir, target, exists, exchange); err != nil {
		return err
	}
	cell := &tsem.RenameCell{
		OldDir: d.inode(c, oldDir), Old: d.dentry(c, old, byTask),
		NewDir: d.inode(c, newDir), New: d.entry(c, newDir, toLast.Name),
	}
	if exists {
		cell.New = d.dentry(c, target, byTask)
		d.shared.Created.Removing(c.Task, target)
	}
	if exchange {
		d.emit(tsem.InodeRename, &tsem.RenameCell{OldDir: cell.NewDir, Old: cell.New, NewDir: cell.OldDir, New: cell.Old})
	}
	d.emit(tsem.InodeRename, cell)
	return nil
}

// mayRename checks what the kernel does between the look-up and the hook.
func (d *Deriver) mayRename(c *Call, oldDir, old, newDir, target *proc.Object, exists, exchange bool) error {
	if err := d.mayDelete(c, oldDir, old); err != nil {
		return err
	}
	if !exists {
		if !d.mayChange(c, newDir) {
			return unix.EACCES
		}
	} else {
		if err := d.mayDelete(c, newDir, target); err != nil {
			return err
		}
		if !exchange && old.IsDir() != target.IsDir() {
			return unix.ENOTDIR
		}
	}
	if newDir.ID() == oldDir.ID() {
		return nil
	}
	// The ".." of a directory that moves is written to.
	if old.IsDir() && !d.lens.MayAccess(c.Task, old, unix.W_OK) {
		return unix.EACCES
	}
	if exchange && target.IsDir() && !d.lens.MayAccess(c.Task, target, unix.W_OK) {
		return unix.EACCES
	}
	return nil
}

// within tells whether path is dir or lies below it.
func within(path, dir []byte) bool {
	n := len(dir)
	if n == 0 || len(path) < n || string(path[:n]) != string(dir) {
		return false
	}
	return len(path) == n || path[n] == '/' || dir[n-1] == '/'
}
