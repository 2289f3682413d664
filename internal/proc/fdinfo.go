// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
)

// FDInfo is what /proc/TID/fdinfo tells of an open file.
type FDInfo struct {
	Flags uint32 // f_flags, without O_CLOEXEC
	PID   int    // for a pidfd: the process, in our pid namespace; else 0
}

// FDInfo reads what the kernel tells of descriptor fd of t.
func (l *Lens) FDInfo(t *task.Task, fd int32) (FDInfo, error) {
	var info FDInfo
	b, err := l.fdinfos.read(t.TID, fd, l.scratch[:1024])
	if err != nil {
		return info, err
	}
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		i := bytes.IndexByte(line, ':')
		if i < 0 {
			continue
		}
		value := bytes.TrimSpace(line[i+1:])
		switch string(line[:i]) {
		case "flags":
			v, _ := strconv.ParseUint(string(value), 8, 32)
			info.Flags = uint32(v) &^ unix.O_CLOEXEC
		case "Pid":
			info.PID, _ = strconv.Atoi(string(value))
		}
	}
	return info, nil
}

// fdinfos keeps files of /proc/TID/fdinfo open, to be read again with one call.
// What such a file tells is what its number stands for at the time of reading;
// and it belongs to its task for good: when another gets the task's number,
// reading it fails.
type fdinfos [64]fdinfo

type fdinfo struct {
	tid int
	fd  int32
	own int // our descriptor of it, behind 1; 0: none
}

// read reads the file of descriptor fd of task tid into buf. The files come
// whole where there is room.
func (f *fdinfos) read(tid int, fd int32, buf []byte) ([]byte, error) {
	e := &f[(uint32(tid)*31+uint32(fd))%uint32(len(f))]
	if e.own != 0 && e.tid == tid && e.fd == fd {
		if n, err := unix.Pread(e.own-1, buf, 0); err == nil {
			return buf[:n], nil
		}
	}
	if e.own != 0 {
		unix.Close(e.own - 1)
		e.own = 0
	}
	var path [64]byte
	b := append(strconv.AppendInt(kernel.AppendProcPath(path[:0], tid, "fdinfo/"), int64(fd), 10), 0)
	own, err := kernel.Open(unix.AT_FDCWD, b, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC})
	if err != nil {
		return nil, err
	}
	*e = fdinfo{tid, fd, own + 1}
	n, err := unix.Pread(own, buf, 0)
	for err == unix.EINTR {
		n, err = unix.Pread(own, buf, 0)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
