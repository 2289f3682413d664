// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// MountCell is the cell of sb_mount.
type MountCell struct {
	DevName []byte // nil is not written
	Path    Path
	Type    []byte // of the file system; nil is not written
	Flags   uint64
}

func (c *MountCell) appendTo(b []byte, _ Type) []byte {
	b = append(b, '{')
	if c.DevName != nil {
		b = appendText(append(b, `"dev_name": "`...), "dev_name", c.DevName)
		b = append(b, `, `...)
	}
	b = c.Path.appendTo(append(b, `"path": `...))
	if c.Type != nil {
		b = appendText(append(b, `, "type": "`...), "type", c.Type)
	}
	b = appendUint(append(b, `, "flags": "`...), c.Flags)
	return append(b, `"}`...)
}

func (c *MountCell) read(p *Parser, _ Type) {
	*c = MountCell{}
	for at := p.begin(); p.more(&at); {
		p.text("dev_name", &c.DevName)
		p.path("path", &c.Path)
		p.text("type", &c.Type)
		p.u64("flags", &c.Flags)
	}
}

// UmountCell is the cell of sb_umount.
type UmountCell struct {
	Mnt   Dentry // the root of the mount
	Flags int32
}

func (c *UmountCell) appendTo(b []byte, _ Type) []byte {
	b = c.Mnt.appendTo(append(b, `{"mnt": `...))
	b = appendInt(append(b, `, "flags": "`...), int64(c.Flags))
	return append(b, `"}`...)
}

func (c *UmountCell) read(p *Parser, _ Type) {
	*c = UmountCell{}
	for at := p.begin(); p.more(&at); {
		p.dentry("mnt", &c.Mnt)
		p.i32("flags", &c.Flags)
	}
}

// RemountCell is the cell of sb_remount.
type RemountCell struct {
	Dentry Dentry // the root of the file system
	FSType []byte
	Flags  uint64
}

func (c *RemountCell) appendTo(b []byte, _ Type) []byte {
	b = c.Dentry.appendTo(append(b, `{"sb": {"dentry": `...))
	b = appendText(append(b, `, "fstype": "`...), "fstype", c.FSType)
	b = appendUint(append(b, `, "s_flags": "`...), c.Flags)
	return append(b, `"}}`...)
}

func (c *RemountCell) read(p *Parser, _ Type) {
	*c = RemountCell{}
	for at := p.begin(); p.more(&at); {
		if p.is("sb") {
			for at := p.begin(); p.more(&at); {
				p.dentry("dentry", &c.Dentry)
				p.text("fstype", &c.FSType)
				p.u64("s_flags", &c.Flags)
			}
			p.advance()
		}
	}
}

// PathPairCell is the cell of sb_pivotroot (old_path, new_path) and move_mount (from_path,
// to_path).
type PathPairCell struct{ First, Second Path }

func (c *PathPairCell) appendTo(b []byte, t Type) []byte {
	names := &t.Info().names
	b = append(append(b, `{"`...), names[0]...)
	b = c.First.appendTo(append(b, `": `...))
	b = append(append(b, `, "`...), names[1]...)
	b = c.Second.appendTo(append(b, `": `...))
	return append(b, '}')
}

func (c *PathPairCell) read(p *Parser, t Type) {
	names := &t.Info().names
	*c = PathPairCell{}
	for at := p.begin(); p.more(&at); {
		p.path(names[0], &c.First)
		p.path(names[1], &c.Second)
	}
}

// QuotactlCell is the cell of quotactl. Without a file system a TSEM kernel writes the path
// name and the type "(null)".
type QuotactlCell struct {
	Cmds   int32
	Type   int32
	ID     int32
	Dentry Dentry // the root of the file system
	FSType []byte
	Flags  int32
}

func (c *QuotactlCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"cmds": "`...), int64(c.Cmds))
	b = appendInt(append(b, `", "type": "`...), int64(c.Type))
	b = appendInt(append(b, `", "id": "`...), int64(c.ID))
	b = c.Dentry.appendTo(append(b, `", "sb": {"dentry": `...))
	b = appendText(append(b, `, "fstype": "`...), "fstype", c.FSType)
	b = appendInt(append(b, `, "s_flags": "`...), int64(c.Flags))
	return append(b, `"}}`...)
}

func (c *QuotactlCell) read(p *Parser, _ Type) {
	*c = QuotactlCell{}
	for at := p.begin(); p.more(&at); {
		p.i32("cmds", &c.Cmds)
		p.i32("type", &c.Type)
		p.i32("id", &c.ID)
		if p.is("sb") {
			for at := p.begin(); p.more(&at); {
				p.dentry("dentry", &c.Dentry)
				p.text("fstype", &c.FSType)
				p.i32("s_flags", &c.Flags)
			}
			p.advance()
		}
	}
}
