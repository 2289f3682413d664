// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// Commands of quotactl, from linux/quota.h and linux/dqblk_xfs.h.
const (
	quotaSync     = 0x800001
	quotaOn       = 0x800002
	quotaGetFmt   = 0x800004
	quotaGetInfo  = 0x800005
	quotaGet      = 0x800007
	quotaXGet     = 0x5803
	quotaXStat    = 0x5805
	quotaXSync    = 0x5807
	quotaXStatV   = 0x5808
	quotaTypes    = 3
	quotaForUser  = 0
	quotaForGroup = 1
)

// quotaKeepers are the file systems with quotas, and how many types of quota
// they know: those of users, groups, projects.
var quotaKeepers = map[string]uint32{
	"ext2": 2, "ext3": 3, "ext4": 3, "xfs": 3, "f2fs": 3, "jfs": 2, "gfs2": 2, "ocfs2": 2, "reiserfs": 2, "bcachefs": 3,
}

// quotactl is quotactl: the file system is named by its device.
func quotactl(d *Deriver, c *Call) error {
	cmd, kind := uint32(c.Args[0])>>8, uint32(c.Args[0])&0xff
	if kind >= quotaTypes {
		return unix.EINVAL
	}
	if c.Args[1] == 0 {
		if cmd != quotaSync {
			return unix.ENODEV
		}
		// All file systems: TSEM has no words for none.
		none := []byte("(null)")
		d.emit(tsem.Quotactl, &tsem.QuotactlCell{
			Cmds: quotaSync, Type: int32(kind), FSType: none,
			Dentry: tsem.Dentry{Path: tsem.Path{Type: d.lens.PathType(c.Task), Pathname: none}},
		})
		return nil
	}
	name, err := d.path(c, 1, 0)
	if err != nil {
		return err
	}
	o := &d.objects[0]
	if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, name, true, o); err != nil {
		return err
	}
	if o.Stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return unix.ENOTBLK
	}
	if o.Mount.NoDev {
		return unix.EACCES
	}
	sb, ok := d.lens.Superblock(c.Task, tsem.Dev{Major: o.Stat.Rdev_major, Minor: o.Stat.Rdev_minor})
	if !ok {
		return unix.ENODEV
	}
	if err := d.quota(c, &sb, cmd, kind, nil); err != nil || cmd != quotaOn {
		return err
	}
	return d.turnOnQuota(c, &sb)
}

// quotactlFD is quotactl_fd: the file system is named by a descriptor.
func quotactlFD(d *Deriver, c *Call) error {
	cmd, kind := uint32(c.Args[1])>>8, uint32(c.Args[1])&0xff
	o := &d.objects[0]
	if err := d.lens.Descriptor(c.Task, c.arg(0), o); err != nil {
		return err
	}
	if kind >= quotaTypes {
		return unix.EINVAL
	}
	if quotaWrites(cmd) && o.ReadOnly() {
		return unix.EROFS
	}
	sb, ok := d.lens.Superblock(c.Task, o.Mount.Dev)
	if !ok {
		return unix.EINVAL
	}
	return d.quota(c, &sb, cmd, kind, o)
}

// quotaWrites is the kernel's list of commands that change the file system.
func quotaWrites(cmd uint32) bool {
	switch cmd {
	case quotaGetFmt, quotaGetInfo, quotaSync, quotaXStat, quotaXStatV, quotaXGet, quotaXSync, quotaGet:
		return false
	}
	return true
}

// quota emits the command on the file system sb, if it has quotas and the
// caller may. o is an object on it, or nil.
func (d *Deriver) quota(c *Call, sb *proc.Superblock, cmd, kind uint32, o *proc.Object) error {
	types, ok := quotaKeepers[sb.FSType]
	if sb.FSType == "tmpfs" && slices.ContainsFunc(sb.Options, isQuotaOption) {
		types, ok = 2, true
	}
	switch {
	case !ok:
		return unix.ENOSYS
	case kind >= types:
		return unix.EINVAL
	case !d.mayQuota(c, cmd, kind, uint32(c.Args[2])):
		return unix.EPERM
	}
	d.emit(tsem.Quotactl, &tsem.QuotactlCell{
		Cmds: int32(cmd), Type: int32(kind), ID: c.arg(2),
		Dentry: d.superRoot(c, sb, o), FSType: []byte(sb.FSType), Flags: int32(sb.Flags()),
	})
	return nil
}

// mayQuota is the kernel's check_quotactl_permission.
func (d *Deriver) mayQuota(c *Call, cmd, kind, id uint32) bool {
	coe := &c.Task.Status.COE
	switch cmd {
	case quotaGetFmt, quotaSync, quotaGetInfo, quotaXStat, quotaXStatV, quotaXSync:
		return true
	case quotaGet, quotaXGet:
		// Everybody may look at his own.
		own := kind == quotaForUser && id == d.lens.UID(c.Task, coe.EUID) ||
			kind == quotaForGroup && d.egroup(c, id)
		if own {
			return true
		}
	}
	return d.lens.Capable(c.Task, unix.CAP_SYS_ADMIN)
}

// egroup tells whether id, as the task numbers groups, is one it acts with.
func (d *Deriver) egroup(c *Call, id uint32) bool {
	st := &c.Task.Status
	return id == d.lens.GID(c.Task, st.COE.EGID) ||
		slices.ContainsFunc(st.Groups, func(g uint32) bool { return d.lens.GID(c.Task, g) == id })
}

// turnOnQuota emits the use of a file for quotas. Only file systems of the ext
// family without hidden quota files, mounted for quotas, come so far.
func (d *Deriver) turnOnQuota(c *Call, sb *proc.Superblock) error {
	switch sb.FSType {
	case "ext2", "ext3", "ext4":
	default:
		return unix.EINVAL
	}
	if !slices.ContainsFunc(sb.Options, isQuotaOption) {
		return unix.EINVAL
	}
	name, err := d.path(c, 3, 0)
	if err != nil {
		return err
	}
	o := &d.objects[1]
	if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, name, true, o); err != nil {
		return err
	}
	if o.Mount.Dev != sb.Dev {
		return unix.EXDEV
	}
	d.emit(tsem.QuotaOn, &tsem.DentryCell{Dentry: d.dentry(c, o, byTask)})
	return nil
}

// isQuotaOption tells whether a mount option turns quotas on.
func isQuotaOption(option string) bool {
	switch name, file, _ := strings.Cut(option, "="); name {
	case "quota", "usrquota", "grpquota", "prjquota":
		return true
	case "usrjquota", "grpjquota":
		return file != ""
	}
	return false
}
