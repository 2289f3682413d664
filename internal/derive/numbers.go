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
// goarch, its own first, with the calls that i is about.
func Arches(goarch string, i Interest) ([]Arch, error) {
	switch goarch {
	case "amd64":
		return []Arch{
			arch(unix.AUDIT_ARCH_X86_64, native, i, func(n numbers) int32 { return n.amd64 }),
			arch(unix.AUDIT_ARCH_I386, compat, i, func(n numbers) int32 { return n.i386 }),
		}, nil
	case "arm64":
		return []Arch{
			arch(unix.AUDIT_ARCH_AARCH64, native, i, func(n numbers) int32 { return n.arm64 }),
		}, nil
	}
	return nil, fmt.Errorf("system calls of the architecture %s are not known here", goarch)
}

func arch(audit uint32, kind set, i Interest, number func(numbers) int32) Arch {
	a := Arch{Audit: audit, Compat: kind == compat, Rows: make(map[int32]*Row)}
	table := Table()
	for n := range table {
		row := &table[n]
		if row.on != everywhere && row.on != kind {
			continue
		}
		when, ok := i.when(row)
		if !ok {
			continue
		}
		row.When = when
		n, ok := callNumbers[row.Name]
		if nr := number(n); ok && nr >= 0 {
			a.Rows[nr] = row
		}
	}
	return a
}
