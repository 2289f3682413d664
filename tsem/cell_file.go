// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

// FileCell is the cell of file_open and file_receive.
type FileCell struct {
	File File
}

func (c *FileCell) appendTo(b []byte, _ Type) []byte {
	b = c.File.appendTo(append(b, `{"file": `...))
	return append(b, '}')
}

func (c *FileCell) read(p *Parser, _ Type) {
	*c = FileCell{}
	for at := p.begin(); p.more(&at); {
		p.file("file", &c.File)
	}
}

// FileCmdCell is the cell of file_ioctl, file_ioctl_compat, file_lock and file_fcntl.
type FileCmdCell struct {
	File File
	Cmd  uint32
}

func (c *FileCmdCell) appendTo(b []byte, _ Type) []byte {
	b = c.File.appendTo(append(b, `{"file": `...))
	b = appendUint(append(b, `, "cmd": "`...), uint64(c.Cmd))
	return append(b, `"}`...)
}

func (c *FileCmdCell) read(p *Parser, _ Type) {
	*c = FileCmdCell{}
	for at := p.begin(); p.more(&at); {
		p.file("file", &c.File)
		p.u32("cmd", &c.Cmd)
	}
}

// MmapCell is the cell of mmap_file.
type MmapCell struct {
	HasFile bool // not an anonymous mapping
	File    File // if HasFile
	Prot    uint32
	Flags   uint32 // MAP_ flags
}

func (c *MmapCell) appendTo(b []byte, _ Type) []byte {
	b = append(b, '{')
	if c.HasFile {
		b = c.File.appendTo(append(b, `"file": `...))
		b = append(b, `, `...)
	}
	b = appendUint(append(b, `"prot": "`...), uint64(c.Prot))
	b = appendUint(append(b, `", "flags": "`...), uint64(c.Flags))
	return append(b, `"}`...)
}

func (c *MmapCell) read(p *Parser, _ Type) {
	*c = MmapCell{}
	for at := p.begin(); p.more(&at); {
		if p.is("file") {
			c.HasFile = true
			p.file("file", &c.File)
		}
		p.u32("prot", &c.Prot)
		p.u32("flags", &c.Flags)
	}
}

// ReadFileCell is the cell of kernel_read_file.
type ReadFileCell struct {
	File     File
	ID       int32 // enum kernel_read_file_id
	Contents int32 // 1 if the contents will be checked
}

func (c *ReadFileCell) appendTo(b []byte, _ Type) []byte {
	b = c.File.appendTo(append(b, `{"file": `...))
	b = appendInt(append(b, `, "id": "`...), int64(c.ID))
	b = appendInt(append(b, `", "contents": "`...), int64(c.Contents))
	return append(b, `"}`...)
}

func (c *ReadFileCell) read(p *Parser, _ Type) {
	*c = ReadFileCell{}
	for at := p.begin(); p.more(&at); {
		p.file("file", &c.File)
		p.i32("id", &c.ID)
		p.i32("contents", &c.Contents)
	}
}
