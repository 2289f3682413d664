// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "encoding/base64"

// CreateCell is the cell of inode_create and inode_mkdir.
type CreateCell struct {
	Dir    Inode
	Dentry Dentry
	Mode   uint32
}

func (c *CreateCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dir.appendTo(append(b, `{"dir": `...))
	b = c.Dentry.appendTo(append(b, `, "dentry": `...))
	b = appendOctal(append(b, `, "mode": "`...), c.Mode)
	return append(b, `"}`...)
}

func (c *CreateCell) read(p *Parser, _ Type) {
	*c = CreateCell{}
	for at := p.begin(); p.more(&at); {
		p.inode("dir", &c.Dir)
		p.dentry("dentry", &c.Dentry)
		p.u32("mode", &c.Mode)
	}
}

// RemoveCell is the cell of inode_unlink and inode_rmdir.
type RemoveCell struct {
	Dir    Inode
	Dentry Dentry
}

func (c *RemoveCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dir.appendTo(append(b, `{"dir": `...))
	b = c.Dentry.appendTo(append(b, `, "dentry": `...))
	return append(b, '}')
}

func (c *RemoveCell) read(p *Parser, _ Type) {
	*c = RemoveCell{}
	for at := p.begin(); p.more(&at); {
		p.inode("dir", &c.Dir)
		p.dentry("dentry", &c.Dentry)
	}
}

// LinkCell is the cell of inode_link.
type LinkCell struct {
	Old Dentry
	Dir Inode
	New Dentry
}

func (c *LinkCell) appendTo(b []byte, _ Type) []byte {
	b = c.Old.appendTo(append(b, `{"old_dentry": `...))
	b = c.Dir.appendTo(append(b, `, "dir": `...))
	b = c.New.appendTo(append(b, `, "new_dentry": `...))
	return append(b, '}')
}

func (c *LinkCell) read(p *Parser, _ Type) {
	*c = LinkCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("old_dentry", &c.Old)
		p.inode("dir", &c.Dir)
		p.dentry("new_dentry", &c.New)
	}
}

// SymlinkCell is the cell of inode_symlink.
type SymlinkCell struct {
	Dir     Inode
	Dentry  Dentry
	OldName []byte // what the link says
}

func (c *SymlinkCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dir.appendTo(append(b, `{"dir": `...))
	b = c.Dentry.appendTo(append(b, `, "dentry": `...))
	b = appendText(append(b, `, "old_name": "`...), "old_name", c.OldName)
	return append(b, '}')
}

func (c *SymlinkCell) read(p *Parser, _ Type) {
	*c = SymlinkCell{}
	for at := p.begin(); p.more(&at); {
		p.inode("dir", &c.Dir)
		p.dentry("dentry", &c.Dentry)
		p.text("old_name", &c.OldName)
	}
}

// MknodCell is the cell of inode_mknod.
type MknodCell struct {
	Dir    Inode
	Dentry Dentry
	Mode   uint32 // with the file type
	Dev    Dev
}

func (c *MknodCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dir.appendTo(append(b, `{"dir": `...))
	b = c.Dentry.appendTo(append(b, `, "dentry": `...))
	b = appendOctal(append(b, `, "mode": "`...), c.Mode)
	b = c.Dev.appendTo(append(b, `", "dev": `...))
	return append(b, '}')
}

func (c *MknodCell) read(p *Parser, _ Type) {
	*c = MknodCell{}
	for at := p.begin(); p.more(&at); {
		p.inode("dir", &c.Dir)
		p.dentry("dentry", &c.Dentry)
		p.u32("mode", &c.Mode)
		p.dev("dev", &c.Dev)
	}
}

// RenameCell is the cell of inode_rename.
type RenameCell struct {
	OldDir Inode
	Old    Dentry
	NewDir Inode
	New    Dentry
}

func (c *RenameCell) appendTo(b []byte, _ Type) []byte {
	b = c.OldDir.appendTo(append(b, `{"old_dir": `...))
	b = c.Old.appendTo(append(b, `, "old_dentry": `...))
	b = c.NewDir.appendTo(append(b, `, "new_dir": `...))
	b = c.New.appendTo(append(b, `, "new_dentry": `...))
	return append(b, '}')
}

func (c *RenameCell) read(p *Parser, _ Type) {
	*c = RenameCell{}
	for at := p.begin(); p.more(&at); {
		p.inode("old_dir", &c.OldDir)
		p.dentry("old_dentry", &c.Old)
		p.inode("new_dir", &c.NewDir)
		p.dentry("new_dentry", &c.New)
	}
}

// SetattrCell is the cell of inode_setattr. What Valid does not select is 0.
type SetattrCell struct {
	Dentry Dentry
	Valid  uint32 // ATTR_ bits of the kernel
	Mode   uint32
	UID    uint32
	GID    uint32
	Size   uint64
}

func (c *SetattrCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dentry.appendTo(append(b, `{"dentry": `...))
	b = appendUint(append(b, `, "attr": {"valid": "`...), uint64(c.Valid))
	b = appendOctal(append(b, `", "mode": "`...), c.Mode)
	b = appendUint(append(b, `", "uid": "`...), uint64(c.UID))
	b = appendUint(append(b, `", "gid": "`...), uint64(c.GID))
	b = appendUint(append(b, `", "size": "`...), c.Size)
	return append(b, `"}}`...)
}

func (c *SetattrCell) read(p *Parser, _ Type) {
	*c = SetattrCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("dentry", &c.Dentry)
		if p.is("attr") {
			for at := p.begin(); p.more(&at); {
				p.u32("valid", &c.Valid)
				p.u32("mode", &c.Mode)
				p.u32("uid", &c.UID)
				p.u32("gid", &c.GID)
				p.u64("size", &c.Size)
			}
			p.advance()
		}
	}
}

// GetattrCell is the cell of inode_getattr. Its path is absolute.
type GetattrCell struct {
	Path Dentry
}

func (c *GetattrCell) appendTo(b []byte, _ Type) []byte {
	b = c.Path.appendTo(append(b, `{"path": `...))
	return append(b, '}')
}

func (c *GetattrCell) read(p *Parser, _ Type) {
	*c = GetattrCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("path", &c.Path)
	}
}

// DentryCell is the cell of inode_listxattr, inode_killpriv, sb_statfs and quota_on.
type DentryCell struct {
	Dentry Dentry
}

func (c *DentryCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dentry.appendTo(append(b, `{"dentry": `...))
	return append(b, '}')
}

func (c *DentryCell) read(p *Parser, _ Type) {
	*c = DentryCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("dentry", &c.Dentry)
	}
}

// XattrCell is the cell of inode_getxattr and inode_removexattr.
type XattrCell struct {
	Dentry Dentry
	Name   []byte
}

func (c *XattrCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dentry.appendTo(append(b, `{"dentry": `...))
	b = appendText(append(b, `, "name": "`...), "name", c.Name)
	return append(b, '}')
}

func (c *XattrCell) read(p *Parser, _ Type) {
	*c = XattrCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("dentry", &c.Dentry)
		p.text("name", &c.Name)
	}
}

// SetxattrCell is the cell of inode_setxattr.
type SetxattrCell struct {
	Dentry Dentry
	Name   []byte
	Value  []byte // written in base64
	Flags  int32  // XATTR_ flags
}

func (c *SetxattrCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dentry.appendTo(append(b, `{"dentry": `...))
	b = appendText(append(b, `, "name": "`...), "name", c.Name)
	b = base64.StdEncoding.AppendEncode(append(b, `, "value": "`...), c.Value)
	b = appendInt(append(b, `", "flags": "`...), int64(c.Flags))
	return append(b, `"}`...)
}

func (c *SetxattrCell) read(p *Parser, _ Type) {
	*c = SetxattrCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("dentry", &c.Dentry)
		p.text("name", &c.Name)
		p.bytes("value", &c.Value)
		p.i32("flags", &c.Flags)
	}
}
