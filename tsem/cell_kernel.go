// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// ModuleRequestCell is the cell of kernel_module_request.
type ModuleRequestCell struct {
	Name []byte
}

func (c *ModuleRequestCell) appendTo(b []byte, _ Type) []byte {
	b = appendText(append(b, `{"kmod_name": "`...), "kmod_name", c.Name)
	return append(b, '}')
}

func (c *ModuleRequestCell) read(p *Parser, _ Type) {
	*c = ModuleRequestCell{}
	for at := p.begin(); p.more(&at); {
		p.text("kmod_name", &c.Name)
	}
}

// LoadDataCell is the cell of kernel_load_data.
type LoadDataCell struct {
	ID       int32 // enum kernel_load_data_id
	Contents int32 // 1 if the contents will be checked
}

func (c *LoadDataCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"id": "`...), int64(c.ID))
	b = appendInt(append(b, `", "contents": "`...), int64(c.Contents))
	return append(b, `"}`...)
}

func (c *LoadDataCell) read(p *Parser, _ Type) {
	*c = LoadDataCell{}
	for at := p.begin(); p.more(&at); {
		p.i32("id", &c.ID)
		p.i32("contents", &c.Contents)
	}
}

// KeyAllocCell is the cell of key_alloc.
type KeyAllocCell struct {
	Cred  Creds
	Flags uint64
}

func (c *KeyAllocCell) appendTo(b []byte, _ Type) []byte {
	b = c.Cred.appendTo(append(b, `{"cred": `...))
	b = appendUint(append(b, `, "flags": "`...), c.Flags)
	return append(b, `"}`...)
}

func (c *KeyAllocCell) read(p *Parser, _ Type) {
	*c = KeyAllocCell{}
	for at := p.begin(); p.more(&at); {
		p.creds("cred", &c.Cred)
		p.u64("flags", &c.Flags)
	}
}

// KeyPermissionCell is the cell of key_permission.
type KeyPermissionCell struct {
	Possessed uint32
	UID       uint32
	GID       uint32
	Flags     uint64
	Cred      Creds
	Perm      uint32 // the permission mask of the key
}

func (c *KeyPermissionCell) appendTo(b []byte, _ Type) []byte {
	b = appendUint(append(b, `{"key_ref": {"possessed": "`...), uint64(c.Possessed))
	b = appendUint(append(b, `", "uid": "`...), uint64(c.UID))
	b = appendUint(append(b, `", "gid": "`...), uint64(c.GID))
	b = appendUint(append(b, `", "flags": "`...), c.Flags)
	b = c.Cred.appendTo(append(b, `"}, "cred": `...))
	b = appendUint(append(b, `, "perm": "`...), uint64(c.Perm))
	return append(b, `"}`...)
}

func (c *KeyPermissionCell) read(p *Parser, _ Type) {
	*c = KeyPermissionCell{}
	for at := p.begin(); p.more(&at); {
		if p.is("key_ref") {
			for at := p.begin(); p.more(&at); {
				p.u32("possessed", &c.Possessed)
				p.u32("uid", &c.UID)
				p.u32("gid", &c.GID)
				p.u64("flags", &c.Flags)
			}
			p.advance()
		}
		p.creds("cred", &c.Cred)
		p.u32("perm", &c.Perm)
	}
}

// BPFCell is the cell of bpf.
type BPFCell struct {
	Cmd  int32
	Size uint32
}

func (c *BPFCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"cmd": "`...), int64(c.Cmd))
	b = appendUint(append(b, `", "attr": {"size": "`...), uint64(c.Size))
	return append(b, `"}}`...)
}

func (c *BPFCell) read(p *Parser, _ Type) {
	*c = BPFCell{}
	for at := p.begin(); p.more(&at); {
		p.i32("cmd", &c.Cmd)
		if p.is("attr") {
			for at := p.begin(); p.more(&at); {
				p.u32("size", &c.Size)
			}
			p.advance()
		}
	}
}

// BPFMapCell is the cell of bpf_map.
type BPFMapCell struct {
	MapType int32
	Fmode   uint32 // 1 to read, 2 to write
}

func (c *BPFMapCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"map": {"map_type": "`...), int64(c.MapType))
	b = appendUint(append(b, `"}, "fmode": "`...), uint64(c.Fmode))
	return append(b, `"}`...)
}

func (c *BPFMapCell) read(p *Parser, _ Type) {
	*c = BPFMapCell{}
	for at := p.begin(); p.more(&at); {
		if p.is("map") {
			for at := p.begin(); p.more(&at); {
				p.i32("map_type", &c.MapType)
			}
			p.advance()
		}
		p.u32("fmode", &c.Fmode)
	}
}

// BPFProgCell is the cell of bpf_prog.
type BPFProgCell struct {
	Type       int32
	AttachType int32
}

func (c *BPFProgCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"prog": {"type": "`...), int64(c.Type))
	b = appendInt(append(b, `", "attach_type": "`...), int64(c.AttachType))
	return append(b, `"}}`...)
}

func (c *BPFProgCell) read(p *Parser, _ Type) {
	*c = BPFProgCell{}
	for at := p.begin(); p.more(&at); {
		if p.is("prog") {
			for at := p.begin(); p.more(&at); {
				p.i32("type", &c.Type)
				p.i32("attach_type", &c.AttachType)
			}
			p.advance()
		}
	}
}

// SyslogCell is the cell of syslog.
type SyslogCell struct {
	Type int32
}

func (c *SyslogCell) appendTo(b []byte, _ Type) []byte {
	b = appendInt(append(b, `{"type": "`...), int64(c.Type))
	return append(b, `"}`...)
}

func (c *SyslogCell) read(p *Parser, _ Type) {
	*c = SyslogCell{}
	for at := p.begin(); p.more(&at); {
		p.i32("type", &c.Type)
	}
}

// SettimeCell is the cell of settime.
type SettimeCell struct {
	HasTime bool  // the time is set
	Seconds int32 // a TSEM kernel cuts it to 32 bits
	Nsecs   int32

	HasZone     bool // the time zone is set
	MinutesWest int32
	DSTTime     int32
}

func (c *SettimeCell) appendTo(b []byte, _ Type) []byte {
	b = append(b, '{')
	if c.HasTime {
		b = appendInt(append(b, `"ts": {"seconds": "`...), int64(c.Seconds))
		b = appendInt(append(b, `", "nsecs": "`...), int64(c.Nsecs))
		b = append(b, `"}`...)
	}
	if c.HasTime && c.HasZone {
		b = append(b, `, `...)
	}
	if c.HasZone {
		b = appendInt(append(b, `"tz": {"minuteswest": "`...), int64(c.MinutesWest))
		b = appendInt(append(b, `", "dsttime": "`...), int64(c.DSTTime))
		b = append(b, `"}`...)
	}
	return append(b, '}')
}

func (c *SettimeCell) read(p *Parser, _ Type) {
	*c = SettimeCell{}
	for at := p.begin(); p.more(&at); {
		if p.is("ts") {
			c.HasTime = true
			for at := p.begin(); p.more(&at); {
				p.i32("seconds", &c.Seconds)
				p.i32("nsecs", &c.Nsecs)
			}
			p.advance()
		}
		if p.is("tz") {
			c.HasZone = true
			for at := p.begin(); p.more(&at); {
				p.i32("minuteswest", &c.MinutesWest)
				p.i32("dsttime", &c.DSTTime)
			}
			p.advance()
		}
	}
}

// EmptyCell is the cell of tun_dev_create, tun_dev_open and tun_dev_attach, and
// of the types that are not exported. Members it is read with are ignored.
type EmptyCell struct{}

func (c *EmptyCell) appendTo(b []byte, _ Type) []byte { return append(b, `{}`...) }

func (c *EmptyCell) read(p *Parser, _ Type) {
	for at := p.begin(); p.more(&at); {
	}
}
