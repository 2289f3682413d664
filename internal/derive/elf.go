// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
)

// elfImage is what the kernel's loader takes from an ELF file.
type elfImage struct {
	fixed       bool     // ET_EXEC: it names its addresses
	interpreter []byte   // path of the ELF interpreter, or nil
	segments    []uint32 // PROT_ bits of each segment that is mapped from the file
}

var errNotELF = errors.New("not an ELF program")

// maxHeaders bounds what is read of the program headers, as the kernel does.
const maxHeaders = 64 << 10

// parseELF reads the headers of the program whose beginning is head. debug/elf
// would read much more of the file than the kernel's loader does, and refuse
// what that takes.
func parseELF(head []byte, o *proc.Object) (image elfImage, err error) {
	if len(head) < 52 || string(head[:4]) != elf.ELFMAG {
		return image, errNotELF
	}
	var order binary.ByteOrder = binary.LittleEndian
	wide := head[elf.EI_CLASS] == byte(elf.ELFCLASS64)
	if head[elf.EI_DATA] != byte(elf.ELFDATA2LSB) || wide && len(head) < 64 {
		return image, errNotELF
	}
	kind := elf.Type(order.Uint16(head[16:]))
	if kind != elf.ET_EXEC && kind != elf.ET_DYN {
		return image, errNotELF
	}
	image.fixed = kind == elf.ET_EXEC
	var offset uint64
	var size, count int
	if wide {
		offset = order.Uint64(head[32:])
		size, count = int(order.Uint16(head[54:])), int(order.Uint16(head[56:]))
	} else {
		offset = uint64(order.Uint32(head[28:]))
		size, count = int(order.Uint16(head[42:])), int(order.Uint16(head[44:]))
	}
	want := 32
	if wide {
		want = 56
	}
	if size != want || count == 0 || size*count > maxHeaders {
		return image, errNotELF
	}
	headers := make([]byte, size*count)
	if err := o.ReadAt(headers, offset); err != nil {
		return image, err
	}
	for ; len(headers) >= size; headers = headers[size:] {
		image.add(programHeader(headers, wide, order), o)
	}
	return image, nil
}

func programHeader(b []byte, wide bool, order binary.ByteOrder) (h elf.ProgHeader) {
	h.Type = elf.ProgType(order.Uint32(b))
	if wide {
		h.Flags = elf.ProgFlag(order.Uint32(b[4:]))
		h.Off, h.Filesz = order.Uint64(b[8:]), order.Uint64(b[32:])
		return h
	}
	h.Off, h.Filesz = uint64(order.Uint32(b[4:])), uint64(order.Uint32(b[16:]))
	h.Flags = elf.ProgFlag(order.Uint32(b[24:]))
	return h
}

func (image *elfImage) add(h elf.ProgHeader, o *proc.Object) {
	switch h.Type {
	case elf.PT_LOAD:
		if h.Filesz == 0 {
			return // zeros only: nothing is mapped from the file
		}
		var prot uint32
		if h.Flags&elf.PF_R != 0 {
			prot |= unix.PROT_READ
		}
		if h.Flags&elf.PF_W != 0 {
			prot |= unix.PROT_WRITE
		}
		if h.Flags&elf.PF_X != 0 {
			prot |= unix.PROT_EXEC
		}
		image.segments = append(image.segments, prot)
	case elf.PT_INTERP:
		if image.interpreter != nil || h.Filesz < 2 || h.Filesz > proc.PathMax {
			return
		}
		name := make([]byte, h.Filesz)
		if o.ReadAt(name, h.Off) == nil {
			name, _, _ = bytes.Cut(name, []byte{0})
			image.interpreter = name
		}
	}
}
