// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// The tun device, and what is asked of it, from linux/if_tun.h.
const (
	tunMajor, tunMinor = 10, 200

	tunSetIff   = 0x400454ca
	tunSetQueue = 0x400454d9

	tunKind        = 0x0003
	tunNAPI        = 0x0010
	tunNAPIFrags   = 0x0020
	tunMultiQueue  = 0x0100
	tunAttachQueue = 0x0200
	tunDetachQueue = 0x0400
	tunExclusive   = 0x8000
	tunIsTun       = 0x0001
	tunIsTap       = 0x0002
)

// tun emits what an ioctl on a tun device does behind the hook for ioctls: the
// making or opening of a network interface, and the tie between it and the
// descriptor, the first argument of c.
func (d *Deriver) tun(c *Call, o *proc.Object, cmd uint32, arg uint64) error {
	if o.Stat.Mode&unix.S_IFMT != unix.S_IFCHR || o.Stat.Rdev_major != tunMajor || o.Stat.Rdev_minor != tunMinor ||
		cmd != tunSetIff && cmd != tunSetQueue {
		return nil
	}
	var request [unix.IFNAMSIZ + 2]byte // struct ifreq
	if err := d.lens.Read(c.Task, arg, request[:]); err != nil {
		return err
	}
	flags := uint32(binary.NativeEndian.Uint16(request[unix.IFNAMSIZ:]))
	tied := d.tunTied(c)
	if cmd == tunSetQueue {
		return d.tunQueue(c, tied, flags)
	}
	if tied {
		return unix.EEXIST
	}
	if flags&tunNAPIFrags != 0 {
		if !d.lens.Capable(c.Task, unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		if flags&tunNAPI == 0 || flags&tunKind != tunIsTap {
			return unix.EINVAL
		}
	}
	name, _, _ := bytes.Cut(request[:unix.IFNAMSIZ-1], []byte{0})
	if d.interfaceExists(c, name) {
		return d.openTun(c, string(name), flags)
	}
	if !d.lens.CapableOver(c.Task, "net", unix.CAP_NET_ADMIN) {
		return unix.EPERM
	}
	d.emit(tsem.TunDevCreate, &tsem.EmptyCell{})
	if flags&(tunIsTun|tunIsTap) == 0 || !validInterface(name) {
		return unix.EINVAL
	}
	d.emit(tsem.TunDevAttach, &tsem.EmptyCell{})
	return nil
}

// Queues knows the descriptors whose queue of a tun device has been set aside,
// which nothing shows.
type Queues struct {
	mu    sync.Mutex
	aside map[descriptor]bool
}

func newQueues() *Queues { return &Queues{aside: make(map[descriptor]bool)} }

// set notes whether the queue of a descriptor is set aside, and tells whether
// it was.
func (q *Queues) set(at descriptor, aside bool) (was bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	was = q.aside[at]
	delete(q.aside, at)
	if aside {
		q.aside[at] = true
	}
	return was
}

// tunQueue emits the return of a queue to its interface.
func (d *Deriver) tunQueue(c *Call, tied bool, flags uint32) error {
	at := descriptor{c.Task.TGID, c.arg(0)}
	switch {
	case flags&tunAttachQueue != 0 && tied && d.shared.Queues.set(at, false):
		d.emit(tsem.TunDevAttachQueue, &tsem.SockCell{Sock: tsem.Sock{Owner: d.opts.Algorithm.Zero()}})
		d.emit(tsem.TunDevAttach, &tsem.EmptyCell{})
	case flags&(tunAttachQueue|tunDetachQueue) == tunDetachQueue && tied:
		d.shared.Queues.set(at, true)
	}
	return nil
}

// tunTied tells whether the descriptor has an interface already.
func (d *Deriver) tunTied(c *Call) bool {
	info, err := kernel.ReadProc(c.Task.TID, "fdinfo/"+strconv.Itoa(int(c.arg(0))), make([]byte, 1024))
	if err != nil {
		return false
	}
	_, rest, ok := bytes.Cut(info, []byte("\niff:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return ok && len(bytes.TrimSpace(line)) > 0
}

// interfaceExists looks for an interface in the network namespace of the task.
func (d *Deriver) interfaceExists(c *Call, name []byte) bool {
	table, err := os.ReadFile(kernel.ProcPath(c.Task.TID, "net/dev"))
	if err != nil || len(name) == 0 {
		return false
	}
	for line := range bytes.Lines(table) {
		known, _, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.Equal(bytes.TrimSpace(known), name) {
			return true
		}
	}
	return false
}

// validInterface tells whether the kernel takes a name; none at all lets it
// choose one.
func validInterface(name []byte) bool {
	s := string(name)
	return s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r\xa0")
}

// openTun emits the opening of an interface that is there. Of what kind it is
// shows only in our own network namespace.
func (d *Deriver) openTun(c *Call, name string, flags uint32) error {
	if flags&tunExclusive != 0 {
		return unix.EBUSY
	}
	var ours, its unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &ours) != nil || unix.Stat(kernel.ProcPath(c.Task.TID, "ns/net"), &its) != nil {
		return unix.EPERM
	}
	permitted := d.lens.CapableOver(c.Task, "net", unix.CAP_NET_ADMIN)
	if ours.Ino == its.Ino {
		has, ok := interfaceValue(name, "tun_flags")
		if !ok || has&tunKind&int64(flags) == 0 || has&tunMultiQueue != int64(flags&tunMultiQueue) {
			return unix.EINVAL
		}
		coe := &c.Task.Status.COE
		if owner, ok := interfaceValue(name, "owner"); ok && owner == int64(coe.EUID) {
			permitted = true
		}
		if group, ok := interfaceValue(name, "group"); ok && group == int64(coe.EGID) {
			permitted = true
		}
	}
	if !permitted {
		return unix.EPERM
	}
	d.emit(tsem.TunDevOpen, &tsem.EmptyCell{})
	d.emit(tsem.TunDevAttach, &tsem.EmptyCell{})
	return nil
}

// interfaceValue reads a number that an interface has in sysfs.
func interfaceValue(name, attribute string) (int64, bool) {
	b, err := os.ReadFile(filepath.Join("/sys/class/net", name, attribute))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 0, 64)
	return n, err == nil
}
