// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package circle finds out whether those who read a pipe wait, in the end, for
// those who write to it: a workload that reads what is recorded of it, and that
// cannot go on until it is recorded.
//
// It looks at a moment. What it calls a circle may be none a moment later, but
// what stays one will not be opened from within. When it cannot tell it says no:
// a reader that is slow, that waits for something outside, or that cannot be
// looked at, is left alone.
package circle

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// A Pipe is one, by its device and inode number.
type Pipe struct{ Dev, Ino uint64 }

// Readers returns the processes that read a pipe if all of them are members,
// the processes of a workload whose system calls wait for room, and none can go
// on before they do; else nil. own tells which processes are ours: they may have
// the pipe open, but do not read it. Processes that may not be looked at are
// taken not to have it.
func Readers(p Pipe, members []int, own func(pid int) bool) []int {
	l := look{members: make(map[int]*process, len(members)), outside: make(map[Pipe]bool)}
	for _, pid := range members {
		if m := inspect(pid); m != nil {
			l.members[pid] = m
		}
	}
	var readers []int
	for pid := range l.members {
		if opens(pid, p) {
			readers = append(readers, pid)
		}
	}
	if len(readers) == 0 || !l.surround(p, own) {
		return nil
	}
	for _, pid := range readers {
		if !l.stuck(pid, 0) && !l.still() {
			return nil
		}
	}
	slices.Sort(readers)
	return readers
}

// look is what is known of the processes of a moment.
type look struct {
	members map[int]*process
	outside map[Pipe]bool // pipes that processes have open which are no members
}

// process is a member, and what its threads do.
type process struct {
	parent   int
	held     bool   // a thread waits for us
	runs     bool   // a thread does
	sleeps   bool   // a thread waits for a time, or for something that is not looked at
	children bool   // a thread waits for children
	pipes    []Pipe // that threads wait for
}

// surround looks at all other processes, and is false if one of them reads p.
func (l *look) surround(p Pipe, own func(pid int) bool) bool {
	for _, pid := range numbers("/proc") {
		if l.members[pid] != nil || own(pid) {
			continue
		}
		dir := kernel.ProcPath(pid, "fd")
		for _, fd := range numbers(dir) {
			var st unix.Stat_t
			if unix.Stat(dir+"/"+strconv.Itoa(fd), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
				continue
			}
			q := Pipe{uint64(st.Dev), st.Ino}
			if q == p && mayRead(pid, fd) {
				return false
			}
			l.outside[q] = true
		}
	}
	return true
}

// stuck tells whether a member waits for us, or for children that do. A process
// of which one thread is held is taken to be: timers of a runtime do not count.
func (l *look) stuck(pid, depth int) bool {
	m := l.members[pid]
	switch {
	case m == nil || m.runs || depth > len(l.members):
		return false
	case m.held:
		return true
	case m.sleeps || !m.children || len(m.pipes) > 0:
		return false
	}
	for child, c := range l.members {
		if c.parent == pid && !l.stuck(child, depth+1) {
			return false
		}
	}
	return true
}

// still tells whether no member can go on by itself: each is held, or waits for
// children or at pipes that nobody else has.
func (l *look) still() bool {
	for _, m := range l.members {
		if m.runs || m.sleeps && !m.held {
			return false
		}
		for _, q := range m.pipes {
			if l.outside[q] {
				return false
			}
		}
	}
	return true
}

// inspect looks at the threads of a process. It is nil if there are none.
func inspect(pid int) *process {
	buf := make([]byte, 1024)
	stat, err := kernel.ReadProc(pid, "stat", buf)
	if err != nil {
		return nil
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return nil
	}
	m := &process{}
	m.parent, _ = strconv.Atoi(string(fields[1]))
	task := kernel.ProcPath(pid, "task")
	for _, tid := range numbers(task) {
		m.add(pid, tid, buf)
	}
	return m
}

// add notes what a thread does.
func (m *process) add(pid, tid int, buf []byte) {
	thread := "task/" + strconv.Itoa(tid) + "/"
	wchan, err := kernel.ReadProc(pid, thread+"wchan", buf)
	if err == nil && bytes.Contains(wchan, []byte("seccomp")) {
		m.held = true
		return
	}
	call, err := kernel.ReadProc(pid, thread+"syscall", buf)
	words := strings.Fields(string(call))
	if err != nil || len(words) > 0 && words[0] == "running" {
		m.runs = true // or it has gone
		return
	}
	nr := -1 // a page fault, or it has stopped
	var args [6]uint64
	if len(words) > len(args) {
		nr, _ = strconv.Atoi(words[0])
		for i := range args {
			args[i], _ = strconv.ParseUint(strings.TrimPrefix(words[1+i], "0x"), 16, 64)
		}
	}
	switch nr {
	case unix.SYS_WAIT4, unix.SYS_WAITID:
		m.children = true
	case unix.SYS_FUTEX:
		// Another thread of it wakes this one, if not the time.
		if args[3] != 0 {
			m.sleeps = true
		}
	case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV:
		var st unix.Stat_t
		if unix.Stat(kernel.ProcPath(pid, "fd/"+strconv.FormatUint(args[0], 10)), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			m.pipes = append(m.pipes, Pipe{uint64(st.Dev), st.Ino})
		} else {
			m.sleeps = true
		}
	default:
		m.sleeps = true
	}
}

// opens tells whether a process can read p.
func opens(pid int, p Pipe) bool {
	dir := kernel.ProcPath(pid, "fd")
	for _, fd := range numbers(dir) {
		var st unix.Stat_t
		if unix.Stat(dir+"/"+strconv.Itoa(fd), &st) == nil && (Pipe{uint64(st.Dev), st.Ino}) == p && mayRead(pid, fd) {
			return true
		}
	}
	return false
}

// mayRead tells whether a descriptor is for reading, too.
func mayRead(pid, fd int) bool {
	info, err := kernel.ReadProc(pid, "fdinfo/"+strconv.Itoa(fd), make([]byte, 1024))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(info, []byte("flags:"))
	line, _, _ := bytes.Cut(rest, []byte{'\n'})
	flags, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 64)
	return err == nil && flags&unix.O_ACCMODE != unix.O_WRONLY
}

// numbers lists the entries of a folder of procfs that are numbers.
func numbers(dir string) (all []int) {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			all = append(all, n)
		}
	}
	return all
}
