// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/model"
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

// holds tells whether a call with such arguments is of interest.
func holds(when derive.When, args [6]uint64) bool {
	for _, alternative := range when {
		all := true
		for _, test := range alternative {
			arg := uint32(args[test.Arg])
			switch test.Op {
			case derive.HasAny:
				all = all && arg&test.Value != 0
			case derive.Is:
				all = all && arg == test.Value
			case derive.IsNot:
				all = all && arg != test.Value
			}
		}
		if all {
			return true
		}
	}
	return len(when) == 0
}

// someArgs are registers that tests of arguments tell apart.
var someArgs = [][6]uint64{
	{},
	{unix.PR_SET_NAME, 0, unix.PROT_EXEC, 0, 7},
	{0, 4096, unix.PROT_READ | unix.PROT_EXEC, 0, 0xffffffff},
	{0, 4096, unix.PROT_READ, 0, ^uint64(0)},
	{3, unix.F_SETOWN, 3}, {3, 15}, {3, 0x8901}, {3, 0x8902}, {3, unix.F_GETFL},
	{0, unix.O_RDONLY | unix.O_CLOEXEC, unix.O_RDONLY | unix.O_CLOEXEC},
	{0, unix.O_CREAT, unix.O_CREAT}, {0, unix.O_WRONLY, unix.O_RDWR}, {0, unix.O_TRUNC, unix.O_TRUNC},
	{^uint64(0), 0xffffffff00000000 | unix.F_SETOWN, 0xffffffff00000000 | unix.O_CREAT, 0, 0xffffffff00000003},
}

// For every number of every architecture, every model, with and without
// transfers, the verdict is the table's; and what a container runtime is told
// says the same.
func TestFilterFollowsTheTable(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		for _, m := range model.All() {
			for _, io := range []bool{false, true} {
				arches, err := derive.Arches(goarch, derive.Interest{Model: m, IO: io})
				if err != nil {
					t.Fatal(err)
				}
				prog, err := Filter(arches)
				if err != nil {
					t.Fatal(err)
				}
				stopped := 0
				for _, a := range arches {
					for nr := int32(-2); nr < 600; nr++ {
						for _, args := range someArgs {
							want := uint32(unix.SECCOMP_RET_ALLOW)
							row := a.Rows[nr]
							if row != nil && holds(row.When, args) {
								want = unix.SECCOMP_RET_USER_NOTIF
								stopped++
							}
							if nr < 0 && a.Audit == unix.AUDIT_ARCH_X86_64 {
								want = enosys // looks like a number of x32
							}
							if got := interpret(t, prog, a.Audit, nr, args); got != want {
								t.Errorf("%s, %s, transfers %v, %x: call %d%v: got %x, want %x", goarch, m.Name, io, a.Audit, nr, args, got, want)
							}
							if row != nil && told(row.When, args) != holds(row.When, args) {
								t.Errorf("a runtime is told otherwise of %s%v", row.Name, args)
							}
						}
					}
				}
				if stopped == 0 {
					t.Errorf("%s stops nothing", m.Name)
				}
				if got := interpret(t, prog, unix.AUDIT_ARCH_PPC64LE, 1, [6]uint64{}); got != enosys {
					t.Errorf("%s: a foreign architecture gets %x", goarch, got)
				}
			}
		}
	}
}

// told does what a runtime does with the conditions of a trap: it compares
// whole registers.
func told(when derive.When, args [6]uint64) bool {
	return slices.ContainsFunc(conditions(when), func(all []TrapArg) bool {
		return !slices.ContainsFunc(all, func(a TrapArg) bool {
			arg := args[a.Index]
			if a.Op == "SCMP_CMP_NE" {
				// Sign extension makes a difference here, and only means too much.
				return uint32(arg) == uint32(a.Value)
			}
			return a.Op != "SCMP_CMP_MASKED_EQ" || arg&a.Mask != a.Value
		})
	})
}

// Every model stops what tells who is who, and what could be done to those that
// watch; none but those that keep it stops what is frequent.
func TestFilterOfModels(t *testing.T) {
	frequent := map[string]string{
		"openat":     "files tsem-integrity", // a program is opened by its exec alone
		"newfstatat": "files",
		"fcntl":      "files",
		"connect":    "network",
		"mmap":       "exec files tsem-integrity",
	}
	for _, m := range model.All()[1:] {
		arches, err := derive.Arches("amd64", derive.Interest{Model: m})
		if err != nil {
			t.Fatal(err)
		}
		rows := make(map[string]*derive.Row)
		for _, row := range arches[0].Rows {
			rows[row.Name] = row
		}
		for _, name := range []string{"execve", "execveat", "setuid", "capset", "unshare", "mount", "kill", "ptrace", "mkdir", "unlink", "io_uring_setup"} {
			if row := rows[name]; row == nil || len(row.When) > 0 {
				t.Errorf("%s does not always stop %s", m.Name, name)
			}
		}
		create := [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY}
		if row := rows["openat"]; row == nil || !holds(row.When, create) {
			t.Errorf("%s does not stop the making of files", m.Name)
		}
		for name, models := range frequent {
			row := rows[name]
			args := [6]uint64{3, unix.F_GETFL, unix.O_RDONLY, 0, 3}
			if name == "mmap" {
				args[2] = unix.PROT_EXEC
			}
			if got, want := row != nil && holds(row.When, args), slices.Contains(strings.Fields(models), m.Name); got != want {
				t.Errorf("%s stops %s: %v", m.Name, name, got)
			}
		}
	}
}

func TestFilterRefusesX32(t *testing.T) {
	arches, err := derive.Arches("amd64", derive.Interest{Model: model.Default()})
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
	arches, err := derive.Arches("amd64", derive.Interest{Model: model.Default()})
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
	traps, err := Traps(derive.Interest{Model: model.Default()})
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
