// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// msgget is msgget.
func msgget(d *Deriver, c *Call) error {
	return d.associate(c, kernel.MessageQueue, tsem.MsgQueueAssociate, c.arg(0), c.arg(1),
		func(*ipcObject) bool { return true })
}

// msgctl is msgctl.
func msgctl(d *Deriver, c *Call) error {
	const stat, statAny = 11, 13
	return d.ctl(c, kernel.MessageQueue, tsem.MsgQueueMsgctl, c.arg(0), c.arg(1), stat, statAny, c.Args[2],
		func(uint64) error { return unix.EINVAL })
}

// Flags of msgrcv, and the ways in which the kernel looks for a message.
const (
	msgNoWait  = 0o4000
	msgNoError = 0o10000
	msgExcept  = 0o20000
	msgCopy    = 0o40000

	searchAny       = 1
	searchEqual     = 2
	searchNotEqual  = 3
	searchLessEqual = 4
	searchNumber    = 5
)

// receiver is a task that waits for a message.
type receiver struct {
	task  *task.Task
	queue ipcID
	kind  int64
	mode  int32
	room  uint64 // for the text
}

// matches is the kernel's testmsg.
func matches(message, wanted int64, mode int32) bool {
	switch mode {
	case searchLessEqual:
		return message <= wanted
	case searchEqual:
		return message == wanted
	case searchNotEqual:
		return message != wanted
	}
	return true
}

// long is argument i as a signed word of the caller.
func (c *Call) long(i int8) int64 {
	if c.Compat {
		return int64(c.arg(i))
	}
	return int64(c.Args[i])
}

// msgsnd is msgsnd. Where somebody waits for the message, handing it over is
// an event of the sender.
func msgsnd(d *Deriver, c *Call) error {
	id, size := c.arg(0), c.long(2)
	word := 8
	if c.Compat {
		word = 4
	}
	var b [8]byte
	if err := d.lens.Read(c.Task, c.Args[1], b[:word]); err != nil {
		return unreadable(err)
	}
	kind := int64(binary.NativeEndian.Uint64(b[:]))
	if c.Compat {
		kind = int64(int32(binary.NativeEndian.Uint32(b[:])))
	}
	if size < 0 || id < 0 || kind < 1 {
		return unix.EINVAL
	}
	return d.lens.InIPC(c.Task, func(ns uint64) error {
		if uint64(size) > proc.IPCLimit("msgmax", 0) {
			return unix.EINVAL
		}
		if err := d.lens.Read(c.Task, c.Args[1]+uint64(word), make([]byte, size)); err != nil {
			return err
		}
		o, err := ipcAt(ns, kernel.MessageQueue, id)
		if err != nil {
			return err
		}
		if !d.ipcPermitted(c, o, ipcWrite) {
			return unix.EACCES
		}
		perm := d.perm(c, o)
		d.emit(tsem.MsgQueueMsgsnd, &tsem.IPCCell{Perm: perm, Value: c.arg(3)})
		for _, r := range d.shared.IPC.handOver(ipcID{ns, kernel.MessageQueue, id}, kind, uint64(size)) {
			cell := &tsem.MsgrcvCell{Perm: perm, Type: r.kind, Mode: r.mode}
			cell.Target, _ = d.identity(r.task.TID)
			d.emit(tsem.MsgQueueMsgrcv, cell)
		}
		return nil
	})
}

// handOver takes those off the list of who waits whom a message wakes: all for
// whom it is too large, and the first for whom it is not.
func (r *IPC) handOver(queue ipcID, kind int64, size uint64) (woken []receiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := false
	r.waiting = slices.DeleteFunc(r.waiting, func(w receiver) bool {
		if taken || w.queue != queue || !matches(kind, w.kind, w.mode) {
			return false
		}
		woken = append(woken, w)
		taken = w.room >= size
		return true
	})
	return woken
}

// await notes that t may have to wait for a message.
func (r *IPC) await(w receiver) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, w)
}

// arrived tells that t waits no longer.
func (r *IPC) arrived(t *task.Task) {
	r.waiting = slices.DeleteFunc(r.waiting, func(w receiver) bool { return w.task == t })
}

// msgrcv is msgrcv. Its second hook is only asked about messages that are
// there: each that matches, until one is taken.
func msgrcv(d *Deriver, c *Call) error {
	id, room, wanted, flags := c.arg(0), c.long(2), c.long(3), c.arg(4)
	if id < 0 || room < 0 || flags&msgCopy != 0 && (flags&msgExcept != 0 || flags&msgNoWait == 0) {
		return unix.EINVAL
	}
	mode := int32(searchEqual)
	switch {
	case flags&msgCopy != 0:
		mode = searchNumber
	case wanted == 0:
		mode = searchAny
	case wanted < 0:
		mode = searchLessEqual
		if wanted == math.MinInt64 {
			wanted++
		}
		wanted = -wanted
	case flags&msgExcept != 0:
		mode = searchNotEqual
	}
	return d.lens.InIPC(c.Task, func(ns uint64) error {
		o, err := ipcAt(ns, kernel.MessageQueue, id)
		if err != nil {
			return err
		}
		if !d.ipcPermitted(c, o, ipcRead) {
			return unix.EACCES
		}
		cell := tsem.MsgrcvCell{Perm: d.perm(c, o), Target: c.Task.TaskID, Type: wanted, Mode: mode}
		if d.receive(o, cell) || flags&msgNoWait != 0 {
			return nil
		}
		w := receiver{c.Task, ipcID{ns, o.kind, id}, wanted, mode, uint64(room)}
		if flags&msgNoError != 0 {
			w.room = math.MaxUint64
		}
		d.shared.IPC.await(w)
		return nil
	})
}

// receive emits an event for each message that the kernel considers, and tells
// whether it takes one.
func (d *Deriver) receive(o *ipcObject, cell tsem.MsgrcvCell) bool {
	buf := make([]byte, 8+proc.IPCLimit("msgmax", 0))
	found := false
	count := int64(0)
	for i := range int(o.Size) {
		kind, err := kernel.PeekMessage(o.ID, i, buf)
		if err == unix.ENOSYS || err == unix.EACCES {
			// The messages cannot be looked at: if any will do, one is there.
			if cell.Mode == searchAny {
				d.emit(tsem.MsgQueueMsgrcv, &cell)
			}
			return true
		}
		if err != nil {
			break
		}
		if !matches(kind, cell.Type, cell.Mode) {
			continue
		}
		asked := cell
		d.emit(tsem.MsgQueueMsgrcv, &asked)
		found = true
		switch {
		case cell.Mode == searchLessEqual && kind != 1:
			cell.Type = kind - 1
		case cell.Mode == searchNumber:
			if count == cell.Type {
				return true
			}
			count++
		default:
			return true
		}
	}
	return found
}
