// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"quixote-export/internal/kernel"
)

// note takes one note. It is true if that was that the workload has ended.
func (d *decoder) note(b []byte) (ended bool) {
	if len(b) < 8 {
		return false
	}
	order := binary.NativeEndian
	switch order.Uint16(b) {
	case noteEnd:
		return true
	case noteMade:
		if len(b) >= noteSize {
			d.made.become(order.Uint64(b[8:]), inodeKey{
				dev: order.Uint32(b[16:]), generation: order.Uint32(b[20:]), ino: order.Uint64(b[24:]),
			})
		}
	case noteExec:
		d.exec(b)
	case noteDigest:
		if len(b) >= digestSize {
			d.digests.tell(fileState{
				inodeKey: inodeKey{ino: order.Uint64(b[8:]), dev: order.Uint32(b[40:]), generation: order.Uint32(b[44:])},
				size:     order.Uint64(b[16:]), ctime: int64(order.Uint64(b[24:])), mtime: int64(order.Uint64(b[32:])),
				nlink: order.Uint32(b[48:]), magic: order.Uint32(b[52:]),
			}, b[56:])
		}
	}
	return false
}

// exec gives an exec its identity. It is computed as soon as it can be: the
// program is there to be read as long as it runs.
func (d *decoder) exec(b []byte) {
	c := cursor{b: b}
	d.text = d.text[:0]
	d.head.read(&c)
	ttd := c.u64()
	if d.ids.get(ttd) != nil {
		return // somebody has read the note before us
	}
	d.file(&c, &d.program.File, false)
	if c.short {
		return
	}
	d.ids.add(ttd, d.hasher.TaskID(nil, d.id(d.head.pttd), &d.program.File))
}

// longMap reads from procfs the map of a user namespace that is longer than what
// the programs write of it. For a task that has gone there is none: then its ids
// are told as those without a mapping.
func longMap(pid int, name string) (m []extent) {
	text, err := os.ReadFile(kernel.ProcPath(pid, name))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		var x extent
		if _, err := fmt.Sscan(line, &x.inside, &x.outside, &x.count); err == nil {
			m = append(m, x)
		}
	}
	return m
}
