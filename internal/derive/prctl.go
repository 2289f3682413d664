// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// prctl is prctl. The hook comes first of all, whatever is asked for; but the
// security modules capability and Yama stand before ours, and what they answer
// with anything but 0 goes no further.
func prctl(d *Deriver, c *Call) error {
	option := c.arg(0)
	if option == unix.PR_SET_NAME {
		c.Task.StatusStale = true
	}
	if answer := d.capabilityAnswers(c, option); answer != 0 {
		return unix.EPERM
	}
	if option == unix.PR_SET_PTRACER && !d.shared.Yama.prctl(d, c) {
		return unix.EINVAL
	}
	cell := &tsem.PrctlCell{Option: option, Arg2: c.Args[1], Arg3: c.Args[2], Arg4: c.Args[3], Arg5: c.Args[4]}
	if option == unix.PR_SET_NAME || option == unix.PR_GET_NAME {
		cell.Arg2 = 0
	}
	d.emit(tsem.TaskPrctl, cell)
	return nil
}

const (
	capLast        = 40 // CAP_CHECKPOINT_RESTORE
	secureAllBits  = 0x55 | 0x300
	secureAllLocks = secureAllBits << 1

	secureNoRaise = 1 << 6 // SECBIT_NO_CAP_AMBIENT_RAISE
)

// capabilityAnswers is the kernel's cap_task_prctl: 0 if it has nothing to say
// or the request succeeds with 0. It notes the securebits that are set.
func (d *Deriver) capabilityAnswers(c *Call, option int32) int {
	const refused = -1
	arg2 := c.Args[1]
	switch option {
	case unix.PR_CAPBSET_READ, unix.PR_CAPBSET_DROP, unix.PR_CAP_AMBIENT:
	case unix.PR_GET_SECUREBITS:
		return int(d.shared.Secure.Of(c.Task.TID))
	case unix.PR_GET_KEEPCAPS:
		return int(d.shared.Secure.Of(c.Task.TID) & keepCaps)
	case unix.PR_SET_KEEPCAPS:
		bits := d.shared.Secure.Of(c.Task.TID)
		if arg2 > 1 || bits&(keepCaps<<1) != 0 {
			return refused
		}
		d.shared.Secure.Set(c.Task.TID, bits&^keepCaps|uint32(arg2)*keepCaps)
		return 0
	case unix.PR_SET_SECUREBITS:
		bits := uint64(d.shared.Secure.Of(c.Task.TID))
		locked := bits & secureAllLocks
		if locked>>1&(bits^arg2) != 0 || locked&^arg2 != 0 || arg2&^(secureAllBits|secureAllLocks) != 0 ||
			c.Task.Status.COE.CapEff&(1<<unix.CAP_SETPCAP) == 0 {
			return refused
		}
		d.shared.Secure.Set(c.Task.TID, uint32(arg2))
		return 0
	default:
		return 0
	}
	own, err := task.ReadDetails(c.Task.TID)
	if err != nil {
		return refused
	}
	return d.capabilitySets(c, option, &own)
}

// capabilitySets answers questions about the bounding and the ambient set.
func (d *Deriver) capabilitySets(c *Call, option int32, own *task.Details) int {
	const refused = -1
	has := func(set, n uint64) int { return int(set >> n & 1) }
	arg2, arg3 := c.Args[1], c.Args[2]
	switch option {
	case unix.PR_CAPBSET_READ:
		if arg2 > capLast {
			return refused
		}
		return has(own.Bounding, arg2)
	case unix.PR_CAPBSET_DROP:
		if c.Task.Status.COE.CapEff&(1<<unix.CAP_SETPCAP) == 0 || arg2 > capLast {
			return refused
		}
		return 0
	}
	if c.Args[3] != 0 || c.Args[4] != 0 {
		return refused
	}
	if arg2 == unix.PR_CAP_AMBIENT_CLEAR_ALL {
		if arg3 != 0 {
			return refused
		}
		return 0
	}
	if arg3 > capLast {
		return refused
	}
	switch arg2 {
	case unix.PR_CAP_AMBIENT_IS_SET:
		return has(own.Ambient, arg3)
	case unix.PR_CAP_AMBIENT_LOWER:
		return 0
	case unix.PR_CAP_AMBIENT_RAISE:
		if has(own.Permitted, arg3) == 0 || has(own.Inheritable, arg3) == 0 ||
			d.shared.Secure.Of(c.Task.TID)&secureNoRaise != 0 {
			return refused
		}
		return 0
	}
	return refused
}
