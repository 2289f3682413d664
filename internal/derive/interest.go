// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"slices"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Interest says which events are wanted.
type Interest struct {
	Model *model.Model
	IO    bool // transfers on sockets, too
}

// Test is a condition on the low word of one argument.
type Test struct {
	Arg   uint8
	Op    Op
	Value uint32
}

// Op is how a Test compares.
type Op uint8

const (
	HasAny Op = iota // one of the bits of Value is set
	Is
	IsNot
)

// When says which calls are of interest, in terms that a filter can decide on
// the registers alone: those for which all tests of one of the alternatives
// hold. Without alternatives all are.
type When [][]Test

// always is every call.
var always When

const noDescriptor = 0xffffffff

// mapped is mappings of a descriptor, and those that can be executed; code is
// what is both.
func mapped() When {
	return When{{{4, IsNot, noDescriptor}}, {{2, HasAny, unix.PROT_EXEC}}}
}

func code() When {
	return When{{{2, HasAny, unix.PROT_EXEC}, {4, IsNot, noDescriptor}}}
}

// writes is openings that can change something, or make a file; flags is where
// their flags are.
func writes(flags int8) When {
	return When{{{uint8(flags), HasAny, unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC}}}
}

// owns is settings of who gets the signals of a descriptor.
func owns(one, other uint32) When { return When{{{1, Is, one}}, {{1, Is, other}}} }

// standing tells which calls of a row are stopped even if their events are not
// wanted, for what they change is: who is who, what was made by whom, and where
// it is found. Others are stopped so that they can be refused.
func standing(row *Row) (When, bool) {
	switch row.Name {
	case "open", "openat":
		return writes(row.flags), true
	case "fcntl", "fcntl64":
		return owns(fSetown, fSetownEx), true
	case "ioctl":
		return owns(ioSetOwner, ioSetGroup), true
	case "socketcall", "ipc":
		return nil, false
	}
	return always, len(row.Events) == 0 || slices.Contains(lasting, row.Name)
}

// lasting is the calls that are always stopped.
var lasting = []string{
	// Programs, names and credentials of tasks.
	"execve", "execveat", "prctl", "capset",
	// What the context makes, and when it is gone.
	"creat", "openat2", "mkdir", "mkdirat", "mknod", "mknodat",
	"unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2",
	// Where paths lead.
	"mount", "umount", "umount2", "pivot_root", "move_mount", "fsconfig",
	// What could be done to those that watch.
	"kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "pidfd_getfd",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "get_robust_list",
	"move_pages", "migrate_pages", "perf_event_open",
	"setpriority", "ioprio_set", "prlimit64",
	"sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity",
}

// when tells which calls of a row are of interest.
func (i Interest) when(row *Row) (When, bool) {
	if row.io && !i.IO {
		return nil, false
	}
	for _, t := range row.types() {
		if !i.leadsTo(row, t) {
			continue
		}
		if condition, _ := i.Model.Of(t); t == tsem.MmapFile && condition&model.Executable != 0 && row.When != nil {
			return code(), true
		}
		return row.When, true
	}
	return standing(row)
}

// leadsTo tells whether a call of a row can be an event of type t that is
// wanted.
func (i Interest) leadsTo(row *Row, t tsem.Type) bool {
	condition, kept := i.Model.Of(t)
	return kept && (t != tsem.FileOpen || condition&model.Executed == 0 || row.executes)
}

// Wants tells whether a call of a row can be an event that is wanted.
func (i Interest) Wants(row *Row) bool {
	return slices.ContainsFunc(row.types(), func(t tsem.Type) bool { return i.leadsTo(row, t) })
}

// types is what a call of the row can turn out to be, also if it stands for
// others.
func (r *Row) types() []tsem.Type {
	if r.stands == nil {
		return r.Events
	}
	var all []tsem.Type
	named := byName()
	for _, name := range r.stands() {
		if other := named[name]; other != nil {
			all = append(all, other.Events...)
		}
	}
	return all
}

// byRoot tells whether a task has the rights of root, in our user namespace.
func byRoot(t *task.Task) bool { return t.Status.COE.EUID == 0 }

// Places are where a call has its arguments, and how it has them. A position is
// negative where there is no such argument.
type Places struct {
	Dir, Path   int8 // a directory descriptor, and the path that begins there
	Dir2, Path2 int8 // the second pair
	FD          int8 // the descriptor that the call is about, instead of a path
	Flags       int8
	Mode        int8  // the mode, or the first of the new values
	Fixed       int32 // flags, or the like, of a call that has none as an argument

	Packed bool // the arguments are in memory, at the address in the first
	Narrow bool // ids are of 16 bits
	Split  bool // 64-bit values are two registers, or two words in memory
	Coarse bool // times have no nanoseconds
}

// Places tells where a call of the row has its arguments.
func (r *Row) Places() Places {
	return Places{
		Dir: r.dir, Path: r.path, Dir2: r.dir2, Path2: r.path2, FD: r.fd, Flags: r.flags, Mode: r.mode, Fixed: r.fixed,
		Packed: r.packed, Narrow: r.narrow, Split: r.split, Coarse: r.micro || r.seconds,
	}
}

// Calls gives all rows of a machine, by number: those of its own programs, and of
// 32-bit ones, nil where there are none.
func Calls(goarch string) (own, compatible map[int32]*Row, err error) {
	arches, err := Arches(goarch, Interest{Model: model.Default(), IO: true})
	if err != nil {
		return nil, nil, err
	}
	for _, a := range arches {
		if a.Compat {
			compatible = a.Rows
		} else {
			own = a.Rows
		}
	}
	return own, compatible, nil
}
