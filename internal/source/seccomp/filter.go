// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
)

// Offsets in struct seccomp_data.
const (
	offNR   = 0
	offArch = 4
	offArgs = 16 // eight bytes each, the low word first on the machines we run on
)

// x32 marks the numbers of the x32 ABI, which share the architecture of the
// 64-bit ones.
const x32 = 0x40000000

// Filter builds the program that stops the calls of interest for us: those of
// the number sets in arches, the machine's own first. Numbers of another ABI
// cannot be told apart by the tables and fail as if the kernel had none.
func Filter(arches []derive.Arch) ([]unix.SockFilter, error) {
	var p program
	p.load(offArch)
	for i, a := range arches {
		body := archProgram(a, i == 0)
		// Jumps reach 255 instructions, a body may be longer: skip it with a
		// jump that always reaches.
		p.jump(unix.BPF_JEQ, a.Audit, 1, 0)
		p.always(len(body))
		p = append(p, body...)
	}
	p.give(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	if len(p) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("the filter has %d instructions, the kernel takes %d", len(p), unix.BPF_MAXINSNS)
	}
	return p, nil
}

// archProgram decides one number set. It ends in a verdict on every way.
func archProgram(a derive.Arch, native bool) program {
	var p program
	p.load(offNR)
	if native && a.Audit == unix.AUDIT_ARCH_X86_64 {
		p.jump(unix.BPF_JGE, x32, 0, 1)
		p.give(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	}
	numbers := make([]int32, 0, len(a.Rows))
	for nr := range a.Rows {
		numbers = append(numbers, nr)
	}
	slices.Sort(numbers)
	return append(p, search(numbers, a)...)
}

// search is a binary search for the number in the accumulator.
func search(numbers []int32, a derive.Arch) program {
	var p program
	if len(numbers) <= 4 {
		for _, nr := range numbers {
			verdict := stop(a.Rows[nr].When)
			p.jump(unix.BPF_JEQ, uint32(nr), 0, uint8(len(verdict)))
			p = append(p, verdict...)
		}
		p.give(unix.SECCOMP_RET_ALLOW)
		return p
	}
	middle := len(numbers) / 2
	low, high := search(numbers[:middle], a), search(numbers[middle:], a)
	p.jump(unix.BPF_JGE, uint32(numbers[middle]), 0, 1)
	p.always(len(low))
	p = append(p, low...)
	return append(p, high...)
}

// stop decides a call that was found. It ends in a verdict.
func stop(when derive.When) program {
	var p program
	for _, alternative := range when {
		var q program
		// Behind the tests comes the verdict, and what follows it is reached from
		// each of them.
		left := 2*len(alternative) + 1
		for _, t := range alternative {
			q.load(offArgs + 8*uint32(t.Arg))
			left -= 2
			switch t.Op {
			case derive.HasAny:
				q.jump(unix.BPF_JSET, t.Value, 0, uint8(left))
			case derive.Is:
				q.jump(unix.BPF_JEQ, t.Value, 0, uint8(left))
			case derive.IsNot:
				q.jump(unix.BPF_JEQ, t.Value, uint8(left), 0)
			}
		}
		q.give(unix.SECCOMP_RET_USER_NOTIF)
		p = append(p, q...)
	}
	if len(when) > 0 {
		p.give(unix.SECCOMP_RET_ALLOW)
	} else {
		p.give(unix.SECCOMP_RET_USER_NOTIF)
	}
	return p
}

// program is classic BPF under construction.
type program []unix.SockFilter

func (p *program) load(offset uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// jump compares the accumulator with k and skips yes or no instructions.
func (p *program) jump(op uint16, k uint32, yes, no uint8) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: yes, Jf: no, K: k})
}

func (p *program) always(n int) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)})
}

func (p *program) give(verdict uint32) {
	*p = append(*p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict})
}
