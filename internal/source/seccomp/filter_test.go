// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
)

// interpret runs a filter over one call, as the kernel does: only the
// instructions that a filter here is made of.
func interpret(t *testing.T, prog []unix.SockFilter, arch uint32, nr int32, args [6]uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data, uint32(nr))
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc, steps := 0, 0; pc < len(prog); pc, steps = pc+1, steps+1 {
		if steps > len(prog) {
			t.Fatal("the filter goes round")
		}
		in := prog[pc]
		taken := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			taken = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			taken = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			taken = acc&in.K != 0
		default:
			t.Fatalf("instruction %d has the code %x", pc, in.Code)
		}
		if taken {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter ends without a verdict")
	return 0
}

const enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// For every number of every architecture, with and without transfers, the
// verdict is the table's.
func TestFilterFollowsTheTable(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		for _, io := range []bool{false, true} {
			arches, err := derive.Arches(goarch, io)
			if err != nil {
				t.Fatal(err)
			}
			prog, err := Filter(arches)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range arches {
				for nr := int32(-2); nr < 600; nr++ {
					want := uint32(unix.SECCOMP_RET_ALLOW)
					row := a.Rows[nr]
					if row != nil {
						want = unix.SECCOMP_RET_USER_NOTIF
					}
					if nr < 0 && a.Audit == unix.AUDIT_ARCH_X86_64 {
						want = enosys // looks like a number of x32
					}
					args := [6]uint64{unix.PR_SET_NAME, 0, unix.PROT_EXEC, 0, 7}
					if got := interpret(t, prog, a.Audit, nr, args); got != want {
						t.Errorf("%s, transfers %v, %x: call %d: got %x, want %x", goarch, io, a.Audit, nr, got, want)
					}
				}
			}
			if got := interpret(t, prog, unix.AUDIT_ARCH_PPC64LE, 1, [6]uint64{}); got != enosys {
				t.Errorf("%s: a foreign architecture gets %x", goarch, got)
			}
		}
	}
}

func TestFilterRefusesX32(t *testing.T) {
	arches, err := derive.Arches("amd64", false)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := Filter(arches)
	if err != nil {
		t.Fatal(err)
	}
	for _, nr := range []int32{x32, x32 + 2, x32 + 520} {
		if got := interpret(t, prog, unix.AUDIT_ARCH_X86_64, nr, [6]uint64{}); got != enosys {
			t.Errorf("x32 call %x gets %x", nr, got)
		}
	}
}

// Of mappings only those of files and those that can be executed are stopped.
func TestFilterOfMappings(t *testing.T) {
	arches, err := derive.Arches("amd64", false)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := Filter(arches)
	if err != nil {
		t.Fatal(err)
	}
	const mmap = 9
	none := uint64(0xffffffff)
	for _, test := range []struct {
		name     string
		prot, fd uint64
		want     uint32
	}{
		{"anonymous", unix.PROT_READ | unix.PROT_WRITE, none, unix.SECCOMP_RET_ALLOW},
		{"anonymous, sign extended", unix.PROT_READ, ^uint64(0), unix.SECCOMP_RET_ALLOW},
		{"anonymous, executable", unix.PROT_READ | unix.PROT_EXEC, none, unix.SECCOMP_RET_USER_NOTIF},
		{"file", unix.PROT_READ, 3, unix.SECCOMP_RET_USER_NOTIF},
		{"file, executable", unix.PROT_EXEC, 3, unix.SECCOMP_RET_USER_NOTIF},
	} {
		args := [6]uint64{0, 4096, test.prot, 0, test.fd, 0}
		if got := interpret(t, prog, unix.AUDIT_ARCH_X86_64, mmap, args); got != test.want {
			t.Errorf("%s: got %x, want %x", test.name, got, test.want)
		}
	}
}

// The traps of a container are those of the filter.
func TestTraps(t *testing.T) {
	traps, err := Traps(false)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]int)
	for _, trap := range traps {
		names[trap.Name]++
	}
	for _, name := range []string{"openat", "execve", "unlinkat"} {
		if names[name] != 1 {
			t.Errorf("%s is there %d times", name, names[name])
		}
	}
	if names["write"] != 0 {
		t.Error("write is trapped though transfers are not wanted")
	}
}
