// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// Commands of bpf that lead to a descriptor of a map or a program.
const (
	bpfMapCreate   = 0
	bpfProgLoad    = 5
	bpfObjectGet   = 7
	bpfProgByID    = 13
	bpfMapByID     = 14
	bpfReadOnly    = 1 << 3
	bpfWriteOnly   = 1 << 4
	bpfAttributes  = 120 // the bytes that are looked at
	bpfCgroupSock  = 9
	bpfReuseport   = 21
	bpfPageOfAttrs = 4096
	bpfByToken     = 1 << 16 // rights come with a descriptor
)

// bpf is bpf: the call itself, and later the map or the program.
func bpf(d *Deriver, c *Call) error {
	cmd, size := c.arg(0), uint32(c.Args[2])
	if size > bpfPageOfAttrs {
		return unix.E2BIG
	}
	attr := make([]byte, max(size, bpfAttributes))
	if err := d.lens.Read(c.Task, c.Args[1], attr[:size]); err != nil {
		return unreadable(err)
	}
	// What a kernel does not know yet must be zero, and does not count.
	if known := kernel.BPFAttributes(); size > known {
		if len(bytes.Trim(attr[known:size], "\x00")) > 0 {
			return unix.E2BIG
		}
		size = known
	}
	d.emit(tsem.BPF, &tsem.BPFCell{Cmd: cmd, Size: size})
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(attr[at:]) }
	p := pendingBPF{maker: c.Task}
	switch cmd {
	case bpfMapCreate:
		p.fmode = bpfMode(word(16))
	case bpfMapByID:
		p.fmode = bpfMode(word(8))
	case bpfObjectGet:
		p.fmode = bpfMode(word(12))
	case bpfProgByID:
	case bpfProgLoad:
		p.loaded, p.attach = true, int32(word(68))
		if p.attach == 0 {
			switch word(0) { // those that the kernel replaces
			case bpfCgroupSock:
				p.attach = unix.BPF_CGROUP_INET_SOCK_CREATE
			case bpfReuseport:
				p.attach = unix.BPF_SK_REUSEPORT_SELECT
			}
		}
	default:
		return nil
	}
	if d.bpfAllowed(c, cmd, attr) {
		d.shared.BPF.begin(p)
		d.out.Makes = true
	}
	return nil
}

// bpfAllowed tells whether the caller may get a descriptor at all.
func (d *Deriver) bpfAllowed(c *Call, cmd int32, attr []byte) bool {
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(attr[at:]) }
	if d.lens.Capable(c.Task, unix.CAP_SYS_ADMIN) {
		return true
	}
	switch cmd {
	case bpfMapCreate, bpfProgLoad:
		token := word(16) // the flags of a map
		if cmd == bpfProgLoad {
			token = word(44)
		}
		return token&bpfByToken != 0 || d.lens.Capable(c.Task, unix.CAP_BPF) || !bpfForRootOnly()
	case bpfProgByID, bpfMapByID:
		return false
	}
	return true
}

// bpfForRootOnly is the setting kernel.unprivileged_bpf_disabled.
func bpfForRootOnly() bool {
	b, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled")
	return err == nil && len(b) > 0 && b[0] != '0'
}

// bpfMode is the FMODE_ bits that flags of a map ask for.
func bpfMode(flags uint32) uint32 {
	switch flags & (bpfReadOnly | bpfWriteOnly) {
	case bpfReadOnly:
		return 1
	case bpfWriteOnly:
		return 2
	}
	return 3
}
