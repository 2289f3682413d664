// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// socketCalls is what the first argument of socketcall asks for, and how many
// words of arguments that has.
var socketCalls = [...]struct {
	name  string
	words int
}{
	1: {"socket", 3}, 2: {"bind", 3}, 3: {"connect", 3}, 4: {"listen", 2}, 5: {"accept", 3},
	6: {"getsockname", 3}, 7: {"getpeername", 3}, 8: {"socketpair", 4},
	9: {"sendto", 4}, 10: {"recvfrom", 4}, 11: {"sendto", 6}, 12: {"recvfrom", 6},
	13: {"shutdown", 2}, 14: {"setsockopt", 5}, 15: {"getsockopt", 5},
	16: {"sendmsg", 3}, 17: {"recvmsg", 3}, 18: {"accept4", 4}, 19: {"recvmmsg", 5}, 20: {"sendmmsg", 4},
}

func socketCallNames() []string {
	var names []string
	for _, call := range socketCalls {
		names = append(names, call.name)
	}
	return names
}

func ipcNames() []string {
	return []string{
		"semop", "semget", "semctl", "semtimedop", "msgsnd", "msgrcv", "msgget", "msgctl", "shmat", "shmget", "shmctl",
	}
}

// socketcall is one call for all that sockets do: the arguments are in memory.
// send and recv are sendto and recvfrom without an address.
func socketcall(d *Deriver, c *Call) error {
	n := uint32(c.Args[0])
	if n == 0 || int(n) >= len(socketCalls) {
		return unix.EINVAL
	}
	call := socketCalls[n]
	var b [24]byte
	if err := d.lens.Read(c.Task, c.Args[1], b[:4*call.words]); err != nil {
		return unreadable(err)
	}
	var args [6]uint64
	for i := range call.words {
		args[i] = uint64(binary.NativeEndian.Uint32(b[4*i:]))
	}
	return d.as(c, call.name, args)
}

// ipc is one call for all of System V IPC.
func ipc(d *Deriver, c *Call) error {
	const (
		semop, semget, semctl, semtimedop = 1, 2, 3, 4
		msgsnd, msgrcv, msgget, msgctl    = 11, 12, 13, 14
		shmat, shmdt, shmget, shmctl      = 21, 22, 23, 24
		callBits                          = 0xffff
		newForm                           = 0x100 // IPC_64, a mark on commands
	)
	call, version := uint32(c.Args[0])&callBits, uint32(c.Args[0])>>16
	first, second, third, ptr, fifth := c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5]
	word := func(addr uint64) uint64 {
		var b [4]byte
		if d.lens.Read(c.Task, addr, b[:]) != nil {
			return 0
		}
		return uint64(binary.NativeEndian.Uint32(b[:]))
	}
	switch call {
	case semop:
		return d.as(c, "semop", [6]uint64{first, ptr, second})
	case semtimedop:
		return d.as(c, "semtimedop", [6]uint64{first, ptr, second, fifth})
	case semget:
		return d.as(c, "semget", [6]uint64{first, second, third})
	case semctl:
		return d.as(c, "semctl", [6]uint64{first, second, third &^ newForm, word(ptr)})
	case msgsnd:
		return d.as(c, "msgsnd", [6]uint64{first, ptr, second, third})
	case msgrcv:
		if version == 0 { // the pointer leads to the buffer and the type
			return d.as(c, "msgrcv", [6]uint64{first, word(ptr), second, word(ptr + 4), third})
		}
		return d.as(c, "msgrcv", [6]uint64{first, ptr, second, fifth, third})
	case msgget:
		return d.as(c, "msgget", [6]uint64{first, second})
	case msgctl:
		return d.as(c, "msgctl", [6]uint64{first, second &^ newForm, ptr})
	case shmat:
		return d.as(c, "shmat", [6]uint64{first, ptr, second})
	case shmget:
		return d.as(c, "shmget", [6]uint64{first, second, third})
	case shmctl:
		return d.as(c, "shmctl", [6]uint64{first, second &^ newForm, ptr})
	case shmdt:
		return nil
	}
	return unix.ENOSYS
}

// as derives a call that came in the form of another.
func (d *Deriver) as(c *Call, name string, args [6]uint64) error {
	row := d.named[name]
	if row == nil || row.derive == nil {
		return nil
	}
	c.Row, c.Args = row, args
	return row.derive(d, c)
}

// byName finds the rows that multiplexed calls lead to.
func byName() map[string]*Row {
	named := make(map[string]*Row)
	table := Table()
	for i := range table {
		if row := &table[i]; row.on != native && !row.io {
			named[row.Name] = row
		}
	}
	return named
}
