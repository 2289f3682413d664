// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// validFlags are the open flags the kernel keeps; open and openat ignore the
// others, openat2 refuses them.
const validFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC |
	unix.O_APPEND | unix.O_NONBLOCK | unix.O_SYNC | unix.O_DSYNC | unix.O_ASYNC | unix.O_DIRECT | largeFile |
	unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | unix.O_TMPFILE

// tmpfileBit is O_TMPFILE without O_DIRECTORY, which it includes.
const tmpfileBit = unix.O_TMPFILE &^ unix.O_DIRECTORY

// open is open, openat and creat.
func open(d *Deriver, c *Call) error {
	path, err := d.path(c, c.Row.path, 0)
	if err != nil {
		return err
	}
	flags := uint32(unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC)
	if c.Row.flags >= 0 {
		flags = uint32(c.Args[c.Row.flags]) & validFlags
	}
	if !c.Compat {
		flags |= largeFile
	}
	return d.openPath(c, c.dirfd(c.Row.dir), path, flags, uint32(c.Args[c.Row.mode])&0o7777, 0)
}

// validResolve are the restrictions that openat2 knows.
const validResolve = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
	unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | proc.ResolveCached

// openat2 takes its flags from a structure that may grow: what this side does
// not know of it must be zero.
func openat2(d *Deriver, c *Call) error {
	const size, most = 24, 4096
	if c.Args[3] < size {
		return unix.EINVAL
	}
	if c.Args[3] > most {
		return unix.E2BIG
	}
	how := make([]byte, c.Args[3])
	if err := d.lens.Read(c.Task, c.Args[2], how); err != nil {
		return unreadable(err)
	}
	flags := binary.NativeEndian.Uint64(how)
	mode := binary.NativeEndian.Uint64(how[8:])
	resolve := binary.NativeEndian.Uint64(how[16:])
	const both = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	switch {
	case len(bytes.Trim(how[size:], "\x00")) > 0:
		return unix.E2BIG
	case flags&^validFlags != 0, mode&^0o7777 != 0, mode != 0 && flags&(unix.O_CREAT|tmpfileBit) == 0:
		return unix.EINVAL
	case resolve&^validResolve != 0, resolve&both == both:
		return unix.EINVAL
	case resolve&proc.ResolveCached != 0 && flags&(unix.O_TRUNC|unix.O_CREAT|tmpfileBit) != 0:
		return unix.EAGAIN
	}
	flags |= largeFile
	path, err := d.path(c, c.Row.path, 0)
	if err != nil {
		return err
	}
	return d.openPath(c, c.dirfd(c.Row.dir), path, uint32(flags), uint32(mode), resolve)
}

// openPath derives the opening of a path. Flags are in the form of f_flags,
// resolve is the restrictions of openat2.
func (d *Deriver) openPath(c *Call, dirfd int32, path []byte, flags, mode uint32, resolve uint64) error {
	if flags&unix.O_PATH != 0 {
		// Such a descriptor opens nothing. What links of procfs on the way
		// there lead to is asked all the same.
		return d.lens.LookupWithin(c.Task, dirfd, path, resolve, flags&unix.O_NOFOLLOW == 0, &d.objects[0])
	}
	if flags&(unix.O_SYNC&^unix.O_DSYNC) != 0 {
		flags |= unix.O_DSYNC // the one includes the other
	}
	flags &^= unix.O_CLOEXEC
	if flags&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY {
		return unix.EINVAL // since Linux 6.4; before, some file systems made a file
	}
	if flags&tmpfileBit != 0 {
		return d.openUnnamed(c, dirfd, path, flags, mode, resolve)
	}
	exclusive := flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL
	o := &d.objects[0]
	follow := flags&unix.O_NOFOLLOW == 0 && !exclusive
	err := d.lens.LookupWithin(c.Task, dirfd, path, resolve, follow, o)
	switch {
	case err == unix.ENOENT && flags&unix.O_CREAT != 0:
		return d.create(c, dirfd, path, flags, mode, resolve, follow)
	case err != nil:
		return err
	case exclusive:
		return unix.EEXIST
	}
	return d.openExisting(c, o, flags)
}

// openExisting derives the opening of a file that is there. Only regular
// files have events.
func (d *Deriver) openExisting(c *Call, o *proc.Object, flags uint32) error {
	if !o.IsRegular() || flags&unix.O_DIRECTORY != 0 {
		d.openLog(c, o, flags)
		d.procSearch(c, o)
		return unix.ENOTDIR
	}
	if flags&unix.O_CREAT != 0 && !d.mayOpenInSticky(c, o) {
		return unix.EACCES
	}
	var mode uint32
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		mode = unix.R_OK
	case unix.O_WRONLY:
		mode = unix.W_OK
	default:
		mode = unix.R_OK | unix.W_OK
	}
	if flags&unix.O_TRUNC != 0 {
		mode |= unix.W_OK
	}
	if !d.lens.MayAccess(c.Task, o, mode) {
		return unix.EACCES
	}
	if o.Stat.Attributes&unix.STATX_ATTR_APPEND != 0 &&
		(flags&unix.O_TRUNC != 0 || mode&unix.W_OK != 0 && flags&unix.O_APPEND == 0) {
		return unix.EPERM
	}
	if flags&unix.O_NOATIME != 0 && !d.owns(c, o) {
		return unix.EPERM
	}
	writes := flags&unix.O_ACCMODE == unix.O_WRONLY || flags&unix.O_ACCMODE == unix.O_RDWR
	busy := mode&unix.W_OK != 0 && d.runs(o)
	if busy && writes {
		return unix.ETXTBSY
	}
	d.procSearch(c, o)
	if d.keepsOpen(c, uint32(o.Stat.Mode), flags) {
		d.emitOpen(c, d.file(c, o, flags))
	}
	d.openLog(c, o, flags)
	d.procAccess(c, o, flags)
	d.shieldProc(c, o, flags)
	if flags&unix.O_TRUNC != 0 && !busy {
		d.setattr(c, o, tsem.SetattrCell{Valid: attrSize | attrMtime | attrCtime | attrOpen | attrFile})
	}
	return nil
}

// keepsOpen tells whether the opening of a file is wanted, for which it then is
// worth to be hashed.
func (d *Deriver) keepsOpen(c *Call, mode, flags uint32) bool {
	return d.opts.Model.Keeps(tsem.FileOpen, model.Facts{Root: byRoot(c.Task), Mode: mode, Flags: flags})
}

func (d *Deriver) emitOpen(c *Call, f tsem.File) {
	if d.keepsOpen(c, f.Inode.Mode, f.Flags) {
		d.emit(tsem.FileOpen, d.cells.file.put(tsem.FileCell{File: f}))
	}
}

// runs tells whether somebody runs the program o, which the kernel does not let
// anybody write to until then. (Linux 6.11 and 6.12 did for a few weeks.) Files
// that nobody may execute are not looked for.
func (d *Deriver) runs(o *proc.Object) bool {
	return o.Stat.Mode&0o111 != 0 && task.Runs(&o.Stat)
}

// owns tells whether the task counts as the owner of o.
func (d *Deriver) owns(c *Call, o *proc.Object) bool {
	coe := &c.Task.Status.COE
	return coe.FSUID == o.Stat.Uid || coe.CapEff&(1<<unix.CAP_FOWNER) != 0
}

// mayOpenInSticky is the rule of fs.protected_regular: in a sticky directory
// that others can write to, O_CREAT must not open what somebody else made.
func (d *Deriver) mayOpenInSticky(c *Call, o *proc.Object) bool {
	level := d.shared.World.ProtectedRegular()
	if level == 0 || c.Task.Status.COE.FSUID == o.Stat.Uid {
		return true
	}
	dir := &d.objects[3]
	if _, err := d.lens.Parent(c.Task, unix.AT_FDCWD, o.Path, dir); err != nil {
		return true
	}
	defer dir.Close()
	mode := dir.Stat.Mode
	if mode&unix.S_ISVTX == 0 || dir.Stat.Uid == o.Stat.Uid {
		return true
	}
	return mode&0o002 == 0 && (level < 2 || mode&0o020 == 0)
}

// create derives the making and opening of a file that is not there.
func (d *Deriver) create(c *Call, dirfd int32, path []byte, flags, mode uint32, resolve uint64, follow bool) error {
	dir, o := &d.objects[1], &d.objects[0]
	for range maxDangling {
		last, err := d.lens.ParentWithin(c.Task, dirfd, path, resolve, dir)
		if err != nil {
			return err
		}
		if last.Slash || !ordinary(last.Name) {
			return unix.EISDIR
		}
		err = d.lens.Child(c.Task, dir, last.Name, o)
		if err == unix.ENOENT {
			return d.createIn(c, dir, last.Name, flags, mode)
		}
		if err != nil {
			return err
		}
		if !o.IsSymlink() || !follow {
			return d.openExisting(c, o, flags) // made by somebody else meanwhile
		}
		// A link that leads nowhere: the file is made where it points to.
		target, err := d.lens.Readlink(o, nil)
		if err != nil {
			return err
		}
		if len(target) == 0 || target[0] != '/' {
			prefix := path[:len(path)-len(last.Name)]
			target = append(append([]byte(nil), prefix...), target...)
		}
		path = target
		o.Close()
		dir.Close()
	}
	return unix.ELOOP
}

// maxDangling is how many links in a row may lead to a file that is not there.
const maxDangling = 40

// ordinary tells whether a name can be that of a new file.
func ordinary(name []byte) bool {
	s := string(name)
	return s != "" && s != "." && s != ".."
}

func (d *Deriver) createIn(c *Call, dir *proc.Object, name []byte, flags, mode uint32) error {
	if !d.mayChange(c, dir) {
		return unix.EACCES
	}
	made := d.newInode(c, dir, unix.S_IFREG|mode)
	kind := d.lens.PathType(c.Task)
	origin := d.shared.Created.Begin(c.Task, dir, name)
	d.emitCreate(c, tsem.InodeCreate, dir, name, made.asked, origin)

	f := tsem.File{Flags: flags, Inode: made.inode, Digest: d.opts.Algorithm.Z()}
	whole := proc.Object{Mount: dir.Mount, Path: proc.Join(nil, dir.Path, name), Missing: dir.Missing}
	f.Path = whole.AbsolutePath(kind)
	f.Path.Created, f.Path.Owner, f.Path.Instance = true, origin.Owner, origin.Instance
	d.emitOpen(c, f)
	return nil
}

// openUnnamed is O_TMPFILE: the file never has a name, so no hook tells of its
// making, and the kernel's name for it holds a number that is not known yet.
func (d *Deriver) openUnnamed(c *Call, dirfd int32, path []byte, flags, mode uint32, resolve uint64) error {
	if flags&unix.O_TMPFILE != unix.O_TMPFILE || flags&unix.O_ACCMODE == unix.O_RDONLY || flags&unix.O_CREAT != 0 {
		return unix.EINVAL
	}
	dir := &d.objects[0]
	if err := d.lens.LookupWithin(c.Task, dirfd, path, resolve, flags&unix.O_NOFOLLOW == 0, dir); err != nil {
		return err
	}
	if !dir.IsDir() {
		return unix.ENOTDIR
	}
	if !d.mayChange(c, dir) {
		return unix.EACCES
	}
	made := d.newInode(c, dir, unix.S_IFREG|mode)
	f := tsem.File{Flags: flags, Inode: made.inode, Digest: d.opts.Algorithm.Z()}
	f.Path = dir.AbsolutePath(d.lens.PathType(c.Task))
	f.Path.Pathname, f.Path.Missing = nil, "unnamed"
	d.emitOpen(c, f)
	return nil
}

// newFile is an inode that is about to be made.
type newFile struct {
	asked uint32 // the mode as the hook sees it
	inode tsem.Inode
}

// newInode foretells the inode of a new file of mode in dir: whose it is and
// what the umask, or the directory's default access list, leaves of the mode.
func (d *Deriver) newInode(c *Call, dir *proc.Object, mode uint32) newFile {
	t := c.Task
	d.lens.Refresh(t) // for the umask, which no event shows to have changed
	coe := &t.Status.COE
	n := newFile{asked: mode, inode: d.inode(c, dir)}
	gid := coe.FSGID
	if dir.Stat.Mode&unix.S_ISGID != 0 {
		gid = dir.Stat.Gid
		if mode&unix.S_IFMT == unix.S_IFDIR {
			mode |= unix.S_ISGID
		} else if mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010 && !d.inGroup(c, gid) {
			mode &^= unix.S_ISGID
			n.asked = mode
		}
	}
	n.inode.UID, n.inode.GID = coe.FSUID, gid
	if d.opts.Current {
		n.inode.UID, n.inode.GID = d.lens.UID(t, coe.FSUID), d.lens.GID(t, gid)
	}
	if !dir.Mount.DefaultACL {
		n.asked &^= t.Status.Umask
		n.inode.Mode = mode &^ t.Status.Umask
		return n
	}
	if mask, ok := d.lens.DefaultMode(dir); ok {
		n.inode.Mode = mode & (^uint32(0o777) | mask)
	} else {
		n.inode.Mode = mode &^ t.Status.Umask
	}
	return n
}

func (d *Deriver) inGroup(c *Call, gid uint32) bool {
	st := &c.Task.Status
	if st.COE.FSGID == gid || st.COE.CapEff&(1<<unix.CAP_FSETID) != 0 {
		return true
	}
	for _, g := range st.Groups {
		if g == gid {
			return true
		}
	}
	return false
}

// mayChange tells whether the task may make and remove names in dir, which it
// cannot where dir itself has been removed.
func (d *Deriver) mayChange(c *Call, dir *proc.Object) bool {
	return !dir.Gone && d.lens.MayAccess(c.Task, dir, unix.W_OK|unix.X_OK)
}

func (d *Deriver) emitCreate(c *Call, kind tsem.Type, dir *proc.Object, name []byte, mode uint32, origin Origin) {
	e := d.entry(c, dir, name)
	e.Path.Created, e.Path.Owner, e.Path.Instance = true, origin.Owner, origin.Instance
	d.emit(kind, d.cells.create.put(tsem.CreateCell{Dir: d.inode(c, dir), Dentry: e, Mode: mode}))
}
