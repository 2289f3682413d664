// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Of struct perf_event_attr: where its members are, and bits of the word of
// flags.
const (
	perfAttrSmall  = 64   // bytes of the first version
	perfAttrLarge  = 4096 // more is refused
	perfAttrFlags  = 40
	perfNoKernel   = 1 << 5
	perfSigtrap    = 1 << 37
	perfKnownFlags = unix.PERF_FLAG_FD_NO_GROUP | unix.PERF_FLAG_FD_OUTPUT | unix.PERF_FLAG_PID_CGROUP | unix.PERF_FLAG_FD_CLOEXEC
)

// perfEventOpen is perf_event_open on another task: who may not watch the whole
// system must be allowed to look into it.
func perfEventOpen(d *Deriver, c *Call) error {
	pid, flags := c.arg(1), c.Args[4]
	switch {
	case flags&^perfKnownFlags != 0:
		return unix.EINVAL
	case pid == -1 || pid == 0 || flags&unix.PERF_FLAG_PID_CGROUP != 0:
		return nil // of a CPU, of oneself, of a control group
	}
	attr := make([]byte, perfAttrSmall)
	if err := d.lens.Read(c.Task, c.Args[0], attr); err != nil {
		return unreadable(err)
	}
	kind, size := binary.NativeEndian.Uint32(attr), binary.NativeEndian.Uint32(attr[4:])
	bits := binary.NativeEndian.Uint64(attr[perfAttrFlags:])
	if size != 0 && size < perfAttrSmall || size > perfAttrLarge {
		return unix.E2BIG
	}
	all := d.lens.Capable(c.Task, unix.CAP_PERFMON) || d.lens.Capable(c.Task, unix.CAP_SYS_ADMIN)
	if !all && (!perfUnit(kind) || bits&perfNoKernel == 0 && perfParanoid() > 1) {
		return unix.EACCES
	}
	it, err := d.number(c, pid)
	if err != nil {
		return err
	}
	mode := uint32(accessRead | accessByItself)
	if bits&perfSigtrap != 0 {
		all = all && d.lens.CapableTo(c.Task, it.TID, unix.CAP_KILL)
		mode = accessAttach | accessByItself
	}
	if all {
		return d.reach(&it, nil)
	}
	return d.reach(&it, d.access(c, &it, mode))
}

func perfParanoid() int {
	b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		return 2
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// perfUnit tells whether this machine has something that counts events of a
// type, for everybody: tracepoints are for those who may watch all.
func perfUnit(kind uint32) bool {
	const units = "/sys/bus/event_source/devices"
	switch kind {
	case unix.PERF_TYPE_SOFTWARE, unix.PERF_TYPE_BREAKPOINT:
		return true
	case unix.PERF_TYPE_TRACEPOINT:
		return perfParanoid() < 0
	case unix.PERF_TYPE_HARDWARE, unix.PERF_TYPE_HW_CACHE, unix.PERF_TYPE_RAW:
		found, _ := filepath.Glob(units + "/cpu*")
		return len(found) > 0
	}
	found, _ := filepath.Glob(units + "/*/type")
	for _, file := range found {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(int(kind)) {
			return true
		}
	}
	return false
}
