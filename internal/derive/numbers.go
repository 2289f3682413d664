// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"fmt"

	"golang.org/x/sys/unix"
)

//go:generate go run gen_numbers.go
//go:generate go run gen_coverage.go

// numbers has the number of a system call on each architecture, -1 where the
// architecture lacks it.
type numbers struct{ amd64, i386, arm64 int32 }

// Arch is one set of system call numbers, as seccomp tells them apart.
type Arch struct {
	Audit  uint32 // AUDIT_ARCH_ value
	Compat bool   // the 32-bit numbers of a 64-bit kernel
	Rows   map[int32]*Row
}

// Arches returns the number sets that programs can use on the machine of
// goarch, its own first. With io the transfers on sockets are of interest too.
func Arches(goarch string, io bool) ([]Arch, error) {
	switch goarch {
	case "amd64":
		return []Arch{
			arch(unix.AUDIT_ARCH_X86_64, native, io, func(n numbers) int32 { return n.amd64 }),
			arch(unix.AUDIT_ARCH_I386, compat, io, func(n numbers) int32 { return n.i386 }),
		}, nil
	case "arm64":
		return []Arch{
			arch(unix.AUDIT_ARCH_AARCH64, native, io, func(n numbers) int32 { return n.arm64 }),
		}, nil
	}
	return nil, fmt.Errorf("system calls of the architecture %s are not known here", goarch)
}

func arch(audit uint32, kind set, io bool, number func(numbers) int32) Arch {
	a := Arch{Audit: audit, Compat: kind == compat, Rows: make(map[int32]*Row)}
	table := Table()
	for i := range table {
		row := &table[i]
		if row.on != everywhere && row.on != kind || row.io && !io {
			continue
		}
		n, ok := callNumbers[row.Name]
		if nr := number(n); ok && nr >= 0 {
			a.Rows[nr] = row
		}
	}
	return a
}
