// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"testing"

	"quixote-export/internal/model"
)

func TestEveryCallHasANumberSomewhere(t *testing.T) {
	for _, row := range Table() {
		n, ok := callNumbers[row.Name]
		if !ok {
			t.Errorf("%s is in no table of numbers", row.Name)
		}
		if n.amd64 < 0 && n.i386 < 0 && n.arm64 < 0 {
			t.Errorf("%s has no number on any architecture", row.Name)
		}
		if row.derive == nil {
			t.Errorf("%s has no derivation", row.Name)
		}
	}
}

// Each set of numbers has one row a number, and the calls that every program
// makes are in all of them.
func TestArches(t *testing.T) {
	common := []string{"openat", "execve", "mkdirat", "unlinkat", "statx", "connect", "kill", "prctl"}
	for _, goarch := range []string{"amd64", "arm64"} {
		arches, err := Arches(goarch, Interest{model.Default(), true})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range arches {
			names := make(map[string]bool)
			for nr, row := range a.Rows {
				if names[row.Name] {
					t.Errorf("%s %x: %s stands twice", goarch, a.Audit, row.Name)
				}
				names[row.Name] = true
				if nr < 0 {
					t.Errorf("%s %x: %s has the number %d", goarch, a.Audit, row.Name, nr)
				}
			}
			for _, name := range common {
				if !names[name] {
					t.Errorf("%s %x: %s is missing", goarch, a.Audit, name)
				}
			}
		}
	}
	if _, err := Arches("riscv64", Interest{model.Default(), false}); err == nil {
		t.Error("an architecture without numbers was accepted")
	}
}

// Known numbers, from the kernel's own tables: arch/x86/entry/syscalls and
// include/uapi/asm-generic/unistd.h.
func TestNumbers(t *testing.T) {
	for name, want := range map[string]numbers{
		"open":       {2, 5, -1},
		"openat":     {257, 295, 56},
		"execve":     {59, 11, 221},
		"newfstatat": {262, -1, 79},
		"fstatat64":  {-1, 300, -1},
		"mmap":       {9, 90, 222},
		"mmap2":      {-1, 192, -1},
		"clone3":     {435, 435, 435},
		"renameat2":  {316, 353, 276},
		"accept4":    {288, 364, 242},
		"fchmodat2":  {452, 452, 452},
	} {
		if got := callNumbers[name]; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// A row that waits for transfers is not in the set without them.
func TestTransfersAreOptional(t *testing.T) {
	for _, io := range []bool{false, true} {
		arches, err := Arches("amd64", Interest{model.Default(), io})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := arches[0].Rows[callNumbers["write"].amd64]; ok != io {
			t.Errorf("with io %v: write is of interest: %v", io, ok)
		}
	}
}
