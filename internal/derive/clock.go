// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// times reads a struct timespec or timeval: two words, of 32 bits each if
// narrow.
func (d *Deriver) times(c *Call, addr uint64, narrow bool) (sec, part int64, err error) {
	var b [16]byte
	if narrow {
		if err := d.lens.Read(c.Task, addr, b[:8]); err != nil {
			return 0, 0, unreadable(err)
		}
		return int64(int32(binary.NativeEndian.Uint32(b[:]))), int64(int32(binary.NativeEndian.Uint32(b[4:]))), nil
	}
	if err := d.lens.Read(c.Task, addr, b[:]); err != nil {
		return 0, 0, unreadable(err)
	}
	part = int64(binary.NativeEndian.Uint64(b[8:]))
	if c.Compat {
		part = int64(int32(part)) // the upper half is padding
	}
	return int64(binary.NativeEndian.Uint64(b[:])), part, nil
}

// lastSecond is the first second that the clock cannot be set to: thirty years
// before its nanoseconds overflow.
const lastSecond = (1<<63-1)/1_000_000_000 - 30*365*24*3600

// setClock emits the setting of the time, of the zone, or of both. The hook of
// the capabilities comes first and asks for one.
func (d *Deriver) setClock(c *Call, cell *tsem.SettimeCell) error {
	if !d.lens.Capable(c.Task, unix.CAP_SYS_TIME) {
		return unix.EPERM
	}
	d.emit(tsem.Settime, cell)
	return nil
}

// settimeofday is settimeofday.
func settimeofday(d *Deriver, c *Call) error {
	cell := &tsem.SettimeCell{}
	if c.Args[0] != 0 {
		sec, micro, err := d.times(c, c.Args[0], c.Compat)
		if err != nil {
			return err
		}
		if micro < 0 || micro >= 1_000_000 || sec < 0 || sec >= lastSecond {
			return unix.EINVAL
		}
		cell.HasTime, cell.Seconds, cell.Nsecs = true, int32(sec), int32(micro*1000)
	}
	if c.Args[1] != 0 {
		west, dst, err := d.times(c, c.Args[1], true)
		if err != nil {
			return err
		}
		cell.HasZone, cell.MinutesWest, cell.DSTTime = true, int32(west), int32(dst)
	}
	return d.setClock(c, cell)
}

// clockSettime is clock_settime: of all clocks the one of real time has the
// hook.
func clockSettime(d *Deriver, c *Call) error {
	if c.arg(0) != unix.CLOCK_REALTIME {
		return unix.EINVAL
	}
	sec, nsec, err := d.times(c, c.Args[1], c.Compat && !c.Row.split)
	if err != nil {
		return err
	}
	if nsec < 0 || nsec >= 1_000_000_000 || sec < 0 || sec >= lastSecond {
		return unix.EINVAL
	}
	return d.setClock(c, &tsem.SettimeCell{HasTime: true, Seconds: int32(sec), Nsecs: int32(nsec)})
}

// stime is stime, which sets full seconds.
func stime(d *Deriver, c *Call) error {
	var b [4]byte
	if err := d.lens.Read(c.Task, c.Args[0], b[:]); err != nil {
		return unreadable(err)
	}
	return d.setClock(c, &tsem.SettimeCell{HasTime: true, Seconds: int32(binary.NativeEndian.Uint32(b[:]))})
}
