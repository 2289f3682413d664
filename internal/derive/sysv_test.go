// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// ipcMaker is a caller in an IPC namespace of its own, which the deriver has to
// enter, and a fresh object's description.
func ipcMaker(t *testing.T) (*caller, tsem.Perm) {
	c := newCaller(t)
	c.needRoot()
	var err error
	c.within(func() { err = unix.Unshare(unix.CLONE_NEWIPC) })
	if err != nil {
		t.Skipf("no IPC namespace can be made: %v", err)
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	return c, tsem.Perm{UID: uid, GID: gid, CUID: uid, CGID: gid, Mode: 0o640, Owner: c.task.TaskID}
}

// asked is the check of an object's mode, which comes before most hooks.
func asked(p tsem.Perm, flag uint32) Event {
	return Event{tsem.IPCPermission, &tsem.IPCPermissionCell{Perm: p, Flag: flag}}
}

// ipcEvent is a hook with one value.
func ipcEvent(kind tsem.Type, p tsem.Perm, value int32) Event {
	return Event{kind, &tsem.IPCCell{Perm: p, Value: value}}
}

const (
	testKey   = 0x5e5e
	makeFlags = 0o1000 | 0o640
)

func TestSharedMemory(t *testing.T) {
	c, p := ipcMaker(t)
	got, id := c.do(unix.SYS_SHMGET, "shmget", testKey, 8192, makeFlags)
	c.want(got) // making one has no hook that counts
	c.want(c.derive("shmget", testKey, 8192, 0o600), asked(p, 0o600), ipcEvent(tsem.ShmAssociate, p, 0o600))
	c.want(c.derive("shmget", testKey, 8193, 0o600))         // too small
	c.want(c.derive("shmget", testKey, 1, makeFlags|0o2000)) // it exists
	c.want(c.derive("shmget", testKey+1, 8192, 0o600))       // there is none
	c.want(c.derive("shmat", uint64(id+1), 0, 0))            // nor with that id
	c.want(c.derive("shmat", uint64(id), 0, shmRemap))       // to no address
	c.want(c.derive("shmat", uint64(id), 1, 0))              // to half of one
	c.want(c.derive("shmctl", uint64(id), 99, 0))            // unknown
	c.want(c.derive("shmctl", uint64(id), ipcInfo, 0))       // about no object
	c.want(c.derive("shmctl", uint64(id), ipcSet, 0))        // nothing to set
	c.want(c.derive("shmat", uint64(id), 0, 0), asked(p, 0o666), ipcEvent(tsem.ShmShmat, p, 0))
	c.want(c.derive("shmat", uint64(id), 0x10001, shmRound|shmReadOnly|shmExec),
		asked(p, 0o555), ipcEvent(tsem.ShmShmat, p, shmRound|shmReadOnly|shmExec))
	buf := c.bytes(make([]byte, 256))
	c.want(c.derive("shmctl", uint64(id), ipcStat, buf), asked(p, 0o444), ipcEvent(tsem.ShmShmctl, p, ipcStat))
	c.want(c.derive("shmctl", uint64(id&0x7fff), shmStat, buf), asked(p, 0o444), ipcEvent(tsem.ShmShmctl, p, shmStat))
	c.want(c.derive("shmctl", uint64(id&0x7fff), shmStatAny, buf), ipcEvent(tsem.ShmShmctl, p, shmStatAny))
	c.want(c.derive("shmctl", uint64(id), shmLock, 0), ipcEvent(tsem.ShmShmctl, p, shmLock))
	c.want(c.derive("shmctl", uint64(id), ipcSet, buf), ipcEvent(tsem.ShmShmctl, p, ipcSet))
	got, _ = c.do(unix.SYS_SHMCTL, "shmctl", uint64(id), ipcRemove, 0)
	c.want(got, ipcEvent(tsem.ShmShmctl, p, ipcRemove))
	c.want(c.derive("shmctl", uint64(id), ipcRemove, 0))
}

// Who is neither owner nor in the group gets what is left of the mode.
func TestIPCPermission(t *testing.T) {
	c, p := ipcMaker(t)
	_, id := c.do(unix.SYS_SHMGET, "shmget", 0, 4096, makeFlags)
	c.derive("shmget", 0, 4096, makeFlags) // settles
	coe := &c.task.Status.COE
	coe.EUID, coe.FSGID, coe.CapEff = 12345, p.GID, 0
	c.want(c.derive("shmat", uint64(id), 0, shmReadOnly), asked(p, 0o444), ipcEvent(tsem.ShmShmat, p, shmReadOnly))
	c.want(c.derive("shmat", uint64(id), 0, 0))
	coe.FSGID, c.task.Status.Groups = 12345, nil
	c.want(c.derive("shmat", uint64(id), 0, shmReadOnly))
	c.want(c.derive("shmctl", uint64(id), ipcRemove, 0))
}

func TestSemaphores(t *testing.T) {
	c, p := ipcMaker(t)
	got, id := c.do(unix.SYS_SEMGET, "semget", 0, 3, makeFlags) // without a key
	c.want(got)
	set := uint64(id)
	op := func(number uint16, change int16) uint64 {
		b := make([]byte, 6)
		binary.NativeEndian.PutUint16(b, number)
		binary.NativeEndian.PutUint16(b[2:], uint16(change))
		return c.bytes(b)
	}
	change := func(alter int32) Event { return Event{tsem.SemSemop, &tsem.SemopCell{Perm: p, NSops: 1, Alter: alter}} }
	c.want(c.derive("semop", set, op(2, 1), 1), asked(p, 0o222), change(1))
	c.want(c.derive("semop", set, op(0, 0), 1), asked(p, 0o444), change(0))
	c.want(c.derive("semop", set, op(3, 1), 1)) // there is none
	c.want(c.derive("semop", set, op(0, 1), 0))
	c.want(c.derive("semop", set, op(0, 1), 1<<20))
	c.want(c.derive("semop", set, 1, 1))
	long := c.bytes(make([]byte, 16))
	c.want(c.derive("semtimedop", set, op(1, -1), 1, long), asked(p, 0o222), change(1))
	c.want(c.derive("semtimedop", set, op(1, -1), 1, 1))
	c.want(c.derive("semctl", set, 0, semGetValue, 0), asked(p, 0o444), ipcEvent(tsem.SemSemctl, p, semGetValue))
	c.want(c.derive("semctl", set, 0, semSetAll, 0), asked(p, 0o222), ipcEvent(tsem.SemSemctl, p, semSetAll))
	c.want(c.derive("semctl", set, 2, semSetValue, 5), asked(p, 0o222), ipcEvent(tsem.SemSemctl, p, semSetValue))
	c.want(c.derive("semctl", set, 3, semSetValue, 5))
	c.want(c.derive("semctl", set, 0, semSetValue, 1<<16))
	c.want(c.derive("semctl", set, 0, ipcRemove, 0), ipcEvent(tsem.SemSemctl, p, ipcRemove))

	_, keyed := c.do(unix.SYS_SEMGET, "semget", testKey, 3, makeFlags)
	c.want(c.derive("semget", testKey, 2, 0o400), asked(p, 0o400), ipcEvent(tsem.SemAssociate, p, 0o400))
	c.want(c.derive("semget", testKey, 4, 0o400))
	c.want(c.derive("semctl", uint64(keyed), 0, ipcStat, long), asked(p, 0o444), ipcEvent(tsem.SemSemctl, p, ipcStat))
}

func TestMessageQueue(t *testing.T) {
	c, p := ipcMaker(t)
	got, id := c.do(unix.SYS_MSGGET, "msgget", testKey, makeFlags)
	c.want(got)
	queue := uint64(id)
	c.want(c.derive("msgget", testKey, 0o200), asked(p, 0o200), ipcEvent(tsem.MsgQueueAssociate, p, 0o200))
	message := func(kind int64) uint64 {
		return c.bytes(binary.NativeEndian.AppendUint64(nil, uint64(kind))[:8:8])
	}
	for _, kind := range []int64{7, 3, 5} {
		got, _ := c.do(unix.SYS_MSGSND, "msgsnd", queue, message(kind), 0, msgNoWait)
		c.want(got, asked(p, 0o222), ipcEvent(tsem.MsgQueueMsgsnd, p, msgNoWait))
	}
	c.want(c.derive("msgsnd", queue, message(0), 0, 0))
	c.want(c.derive("msgsnd", queue, message(1), 1<<40, 0))
	c.want(c.derive("msgsnd", queue, 1, 0, 0))

	took := func(kind int64, mode int32) Event {
		return Event{tsem.MsgQueueMsgrcv, &tsem.MsgrcvCell{Perm: p, Target: c.task.TaskID, Type: kind, Mode: mode}}
	}
	read := asked(p, 0o444)
	room := message(0)
	minus := func(n int64) uint64 { return uint64(-n) }
	c.want(c.derive("msgrcv", queue, room, 0, 0, msgNoWait), read, took(0, searchAny))
	c.want(c.derive("msgrcv", queue, room, 0, 3, msgNoWait), read, took(3, searchEqual))
	c.want(c.derive("msgrcv", queue, room, 0, 4, msgNoWait), read)
	c.want(c.derive("msgrcv", queue, room, 0, 7, msgNoWait|msgExcept), read, took(7, searchNotEqual))
	c.want(c.derive("msgrcv", queue, room, 0, minus(9), msgNoWait), read, took(9, searchLessEqual), took(6, searchLessEqual))
	c.want(c.derive("msgrcv", queue, room, 0, 1, msgNoWait|msgCopy), read, took(1, searchNumber), took(1, searchNumber))
	c.want(c.derive("msgrcv", queue, room, 0, 1, msgCopy))

	c.want(c.derive("msgctl", queue, ipcStat, room), read, ipcEvent(tsem.MsgQueueMsgctl, p, ipcStat))
	got, _ = c.do(unix.SYS_MSGCTL, "msgctl", queue, ipcRemove, 0)
	c.want(got, ipcEvent(tsem.MsgQueueMsgctl, p, ipcRemove))
	c.want(c.derive("msgrcv", queue, room, 0, 0, msgNoWait))
}

// A message for somebody who waits is an event of the sender.
func TestMessageForWaiting(t *testing.T) {
	c, p := ipcMaker(t)
	_, id := c.do(unix.SYS_MSGGET, "msgget", 0, makeFlags)
	queue := uint64(id)
	message := c.bytes(binary.NativeEndian.AppendUint64(nil, 9))
	c.want(c.derive("msgrcv", queue, message, 0, 9, 0), asked(p, 0o444))
	// The one who waits makes no call; the sender is another.
	c.task = &task.Task{TID: c.task.TID, TGID: c.task.TGID, Status: c.task.Status}
	c.want(c.derive("msgsnd", queue, message, 0, 0), asked(p, 0o222), ipcEvent(tsem.MsgQueueMsgsnd, p, 0),
		Event{tsem.MsgQueueMsgrcv, &tsem.MsgrcvCell{Perm: p, Target: c.d.opts.Algorithm.Zero(), Type: 9, Mode: searchEqual}})
	c.want(c.derive("msgsnd", queue, message, 0, 0), asked(p, 0o222), ipcEvent(tsem.MsgQueueMsgsnd, p, 0))
}
