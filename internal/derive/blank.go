// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Words that say in place of a path or a digest why there is none.
const (
	wordUnreadable = "unreadable" // it was refused
	wordStalled    = "stalled"    // it does not answer
)

// blank writes the event of a call whose memory or files cannot be looked at:
// what happened is known, but not to what.
func (d *Deriver) blank(c *Call, word string) {
	if e, ok := blankEvent(d.opts.Model, c.Row, byRoot(c.Task), word); ok {
		d.out.Events = append(d.out.Events, e)
	}
	d.out.Exec = blankExec(d.hasher, c.Row, &c.Task.Identity, word)
}

// Stalled is what is known of a call of a task that does not answer: its event,
// if it has one that can be written without its object and may be wanted, and
// the exec that it may become. root tells whether root makes it.
func Stalled(alg *tsem.Algorithm, m *model.Model, row *Row, root bool, id task.Identity) ([]Event, *task.Exec) {
	var events []Event
	if e, ok := blankEvent(m, row, root, wordStalled); ok {
		events = append(events, e)
	}
	return events, blankExec(tsem.NewHasher(alg), row, &id, wordStalled)
}

// blankExec is an exec of nobody knows what. The task has the identity of a
// program without a path then, which none has that is known.
func blankExec(hasher *tsem.Hasher, row *Row, id *task.Identity, word string) *task.Exec {
	if !strings.HasPrefix(row.Name, "execve") {
		return nil
	}
	program := blankFile(word)
	return &task.Exec{TaskID: hasher.TaskID(nil, id.PTaskID, &program)}
}

func blankFile(word string) tsem.File {
	return tsem.File{Path: tsem.Path{Type: tsem.PathRoot, Missing: word}, DigestMissing: word}
}

func blankEvent(m *model.Model, row *Row, root bool, word string) (Event, bool) {
	if len(row.Events) == 0 {
		return Event{}, false
	}
	missing := tsem.Path{Type: tsem.PathRoot, Missing: word}
	kind := row.Events[0]
	if when, _ := m.Of(kind); !(Interest{m, true}).leadsTo(row, kind) || when&model.ByRoot != 0 && !root {
		return Event{}, false
	}
	cell := tsem.NewCell(kind)
	switch cell := cell.(type) {
	case *tsem.FileCell:
		cell.File = blankFile(word)
	case *tsem.FileCmdCell:
		cell.File = blankFile(word)
	case *tsem.CreateCell:
		cell.Dentry.Path = missing
	case *tsem.RemoveCell:
		cell.Dentry.Path = missing
	case *tsem.LinkCell:
		cell.Old.Path, cell.New.Path = missing, missing
	case *tsem.SymlinkCell:
		cell.Dentry.Path = missing
	case *tsem.MknodCell:
		cell.Dentry.Path = missing
	case *tsem.RenameCell:
		cell.Old.Path, cell.New.Path = missing, missing
	case *tsem.SetattrCell:
		cell.Dentry.Path = missing
	case *tsem.GetattrCell:
		cell.Path.Path = missing
	default:
		return Event{}, false
	}
	return Event{kind, cell}, true
}

// Blind derives a call without touching what may not answer: the memory and the
// files of the caller. Missed tells that events may be missing.
func (d *Deriver) Blind(c *Call) (out *Outcome, missed bool) {
	if c.Row.plain {
		return d.Derive(c), false
	}
	d.out = Outcome{Events: d.out.Events[:0]}
	d.blank(c, wordStalled)
	d.shieldBlind(c)
	return &d.out, d.wants(c.Row)
}

// shieldBlind is shield for what registers alone tell of a call.
func (d *Deriver) shieldBlind(c *Call) {
	var pid int
	var err error
	switch c.Row.Name {
	case "rt_sigqueueinfo", "rt_tgsigqueueinfo", "process_vm_readv", "process_vm_writev",
		"sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity":
		pid, err = d.pid(c, c.arg(0))
	case "prlimit64":
		if c.Args[2] == 0 {
			return
		}
		pid, err = d.pid(c, c.arg(0))
	case "perf_event_open":
		pid, err = d.pid(c, c.arg(1))
	case "pidfd_send_signal", "pidfd_getfd", "process_madvise":
		info, e := d.lens.FDInfo(c.Task, c.arg(0))
		pid, err = info.PID, e
	case "fcntl", "fcntl64":
		if uint32(c.Args[1]) == unix.F_SETOWN {
			d.shieldOwner(c, c.arg(2))
		}
		return
	}
	if err != nil || pid <= 0 {
		return
	}
	if it, err := task.LookAt(pid); err == nil {
		d.shield(it.TGID)
	}
}
