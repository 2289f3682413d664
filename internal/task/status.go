// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// Status is what /proc/TID/status tells of a task, ids as in the reader's user
// namespace.
type Status struct {
	TGID, PPID int
	COE        tsem.COE
	Groups     []uint32
	Umask      uint32
	Comm       [16]byte // at most 15 bytes
	CommLen    int
	Depth      int // of its pid namespace, 1 for that of /proc; 0 if the kernel does not tell
}

var errStatus = errors.New("not in the form of /proc/PID/status")

// ReadStatus reads the status of task tid. s keeps its storage.
func (s *Status) ReadStatus(tid int, buf []byte) error {
	b, err := kernel.ReadStatus(tid, buf)
	if err != nil {
		return err
	}
	return s.parse(b)
}

func (s *Status) parse(b []byte) error {
	s.Groups = s.Groups[:0]
	seen := 0
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		i := bytes.IndexByte(line, ':')
		if i < 0 || i+1 >= len(line) {
			continue
		}
		value := line[i+2:]
		if i+2 > len(line) {
			value = nil
		}
		switch string(line[:i]) {
		case "Name":
			s.CommLen = copy(s.Comm[:15], unescape(value))
			seen |= 1
		case "Umask":
			s.Umask = uint32(number(value, 8))
		case "Tgid":
			s.TGID = int(number(value, 10))
			seen |= 2
		case "PPid":
			s.PPID = int(number(value, 10))
			seen |= 4
		case "Uid":
			f := four(value)
			s.COE.UID, s.COE.EUID, s.COE.SUID, s.COE.FSUID = f[0], f[1], f[2], f[3]
			seen |= 8
		case "Gid":
			f := four(value)
			s.COE.GID, s.COE.EGID, s.COE.SGID, s.COE.FSGID = f[0], f[1], f[2], f[3]
			seen |= 16
		case "Groups":
			for _, w := range bytes.Fields(value) {
				s.Groups = append(s.Groups, uint32(number(w, 10)))
			}
		case "NSpid":
			s.Depth = len(bytes.Fields(value))
		case "CapEff":
			s.COE.CapEff = number(value, 16)
			seen |= 32
		}
	}
	if seen != 63 {
		return errStatus
	}
	return nil
}

// number reads the leading digits of b; the kernel wrote them, so what is not
// a number is 0.
func number(b []byte, base int) uint64 {
	n, _ := strconv.ParseUint(string(bytes.TrimSpace(b)), base, 64)
	return n
}

func four(b []byte) (f [4]uint32) {
	for i, w := range bytes.Fields(b) {
		if i == 4 {
			break
		}
		f[i] = uint32(number(w, 10))
	}
	return f
}

// unescape undoes what the kernel does to a name in status: a line feed is
// written as \n and a backslash as \\.
func unescape(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' && i+1 < len(b) {
			i++
			if c = b[i]; c == 'n' {
				c = '\n'
			}
		}
		out = append(out, c)
	}
	return out
}

// Descendants lists the thread groups below pid, found by their parents in
// /proc, each behind its parent.
func Descendants(pid int) ([]int, error) {
	children, err := childrenByParent()
	if err != nil {
		return nil, err
	}
	var all []int
	for next := children[pid]; len(next) > 0; {
		all = append(all, next...)
		var below []int
		for _, p := range next {
			below = append(below, children[p]...)
		}
		next = below
	}
	return all, nil
}

// childrenByParent maps each process of /proc to its children. A process that
// goes away while it is read is left out.
func childrenByParent() (map[int][]int, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int, len(pids))
	buf := make([]byte, 1024)
	for _, pid := range pids {
		if st, err := readStat(pid, buf); err == nil {
			children[st.ppid] = append(children[st.ppid], pid)
		}
	}
	return children, nil
}

// processes lists the thread group ids in /proc.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list /proc: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// stat is the part of /proc/PID/stat that tells where a process belongs.
type stat struct {
	ppid, pgrp, session int
	start               uint64 // clock ticks since boot
	zombie              bool   // has ended, and nobody has waited for it
}

func readStat(tid int, buf []byte) (st stat, err error) {
	b, err := kernel.ReadProc(tid, "stat", buf)
	if err != nil {
		return st, err
	}
	// The name is in parentheses and may hold any byte: look for the last.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return st, errStatus
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return st, errStatus
	}
	st.zombie = f[0][0] == 'Z'
	st.ppid = int(number(f[1], 10))
	st.pgrp = int(number(f[2], 10))
	st.session = int(number(f[3], 10))
	st.start = number(f[19], 10)
	return st, nil
}
