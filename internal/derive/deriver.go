// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package derive tells which security events a system call is: what the hooks
// of the kernel will see when it is executed.
//
// A call is only an attempt. So each derivation does what the kernel does
// before it comes to the hook (resolve the path, check that the object exists
// and that ordinary permissions allow the act) and yields nothing where the
// kernel would turn back. What happens behind the hook is not foreseen: an
// event tells that the hook was reached, not that the call succeeded.
//
// The calls are the rows of one table (table.go). A derivation returns an
// error to say that the hook is not reached; the error is the one the caller
// will see, as far as it is known.
package derive

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Event is one derived event; the cell belongs to the deriver until its next
// derivation.
type Event struct {
	Type tsem.Type
	Cell tsem.Cell
}

// Call is one system call of a task that waits for it.
type Call struct {
	Task   *task.Task
	Row    *Row
	Args   [6]uint64
	Compat bool // made with the 32-bit numbers
}

// Outcome is what a call turned out to be.
type Outcome struct {
	Events []Event
	Exec   *task.Exec // an exec to watch, or nil
	Refuse unix.Errno // the call must fail with this instead of being executed
	// Instead, if set, does in the kernel's place what the call asks for, and
	// calls answer once with its result. killable tells that only a fatal
	// signal takes the task out of the call.
	Instead func(killable bool, answer func(unix.Errno))
	URing   bool // the task sets up an io_uring
	Makes   bool // the call may make a descriptor, which only then shows its events
	Unseen  bool // the call has events, but what it names cannot be looked at
}

// Options say how events are to be written.
type Options struct {
	Algorithm *tsem.Algorithm
	// Model says which events are wanted.
	Model *model.Model
	// Current gives ids as in the task's own user namespace instead of ours.
	Current bool
	// AllowURing lets io_uring through, whose work cannot be seen.
	AllowURing bool
	// Abspath adds the absolute path where the path is relative to its file
	// system.
	Abspath bool
	// Own tells whether a process, by its number in our pid namespace, is one
	// of those that watch the workload. The workload may do nothing to them.
	Own func(tgid int) bool
	// Slow, if set, is called before and now and then during what takes long,
	// but gets on.
	Slow func()
}

// Deriver derives for one thread at a time; it reuses its storage.
type Deriver struct {
	lens    *proc.Lens
	shared  *Shared
	opts    Options
	hasher  *tsem.Hasher
	named   map[string]*Row // what multiplexed calls can be
	row     *Row            // of the call that is being derived
	out     Outcome
	objects [4]proc.Object
	cells   cells
	paths   [2][]byte
	passed  []passedLink
	begun   []pendingBPF // what the last call derived has shown to be made
}

// New makes the deriver of the calling thread, which must stay locked.
func New(shared *Shared, opts Options) (*Deriver, error) {
	lens, err := shared.World.NewLens()
	if err != nil {
		return nil, err
	}
	d := &Deriver{lens: lens, shared: shared, opts: opts, hasher: tsem.NewHasher(opts.Algorithm), named: byName()}
	lens.Followed = d.followed
	return d, nil
}

// Meet takes note of what the last call of t may have changed of it, now that t
// makes another.
func (d *Deriver) Meet(t *task.Task) {
	if t.Moving.Swap(false) {
		d.shared.World.Moved()
	}
	if t.StatusStale {
		d.lens.Refresh(t)
	}
}

// Settle looks for what the last call of t has made.
func (d *Deriver) Settle(t *task.Task) {
	d.shared.Created.Settle(t)
	d.shared.Sockets.Settle(d.lens, t)
	d.shared.IPC.Settle(d.lens, t)
	d.shared.Mounts.Settle(t)
}

// Undo takes back what deriving the last call of t has noted: the call was
// not made, or is made anew.
func (d *Deriver) Undo(t *task.Task) {
	d.shared.Created.Undo(t)
	d.shared.Sockets.Undo(t)
	d.shared.IPC.Undo(t)
	d.shared.Mounts.Undo(t)
	d.shared.BPF.Undo(t, d.begun)
}

// COE is the credentials of t in ids of the wanted user namespace.
func (d *Deriver) COE(t *task.Task) tsem.COE {
	coe := t.Status.COE
	if !d.opts.Current {
		return coe
	}
	for _, id := range []*uint32{&coe.UID, &coe.EUID, &coe.SUID, &coe.FSUID} {
		*id = d.lens.UID(t, *id)
	}
	for _, id := range []*uint32{&coe.GID, &coe.EGID, &coe.SGID, &coe.FSGID} {
		*id = d.lens.GID(t, *id)
	}
	return coe
}

// Derive tells what events c is. The outcome is the deriver's until the next
// call.
func (d *Deriver) Derive(c *Call) *Outcome {
	d.out = Outcome{Events: d.out.Events[:0]}
	d.row = c.Row
	d.passed = d.passed[:0]
	d.cells.free()
	d.late(c)
	if c.Row.derive != nil && atLeast(c.Row.since) {
		err := c.Row.derive(d, c)
		if err == errUnreadable {
			d.blank(c, wordUnreadable)
		}
		d.out.Unseen = err == proc.ErrElsewhere && d.wants(c.Row)
	}
	for i := range d.objects {
		d.objects[i].Close()
	}
	return &d.out
}

// wants tells whether a call of a row can be an event that is wanted.
func (d *Deriver) wants(row *Row) bool { return Interest{d.opts.Model, true}.Wants(row) }

// emit adds an event, if those of its type are wanted. Conditions are the
// caller's matter.
func (d *Deriver) emit(t tsem.Type, cell tsem.Cell) {
	if _, kept := d.opts.Model.Of(t); !kept {
		return
	}
	d.out.Events = append(d.out.Events, Event{t, cell})
}

// arg is argument i as the int the kernel takes it for.
func (c *Call) arg(i int8) int32 { return int32(uint32(c.Args[i])) }

// path reads the path in argument i into one of two buffers.
func (d *Deriver) path(c *Call, i int8, buffer int) ([]byte, error) {
	b, err := d.lens.String(c.Task, d.paths[buffer][:0], c.Args[i], proc.PathMax)
	d.paths[buffer] = b
	return b, unreadable(err)
}

// errUnreadable means that the task's memory is closed to us: what it does is
// recorded without the path.
var errUnreadable = errors.New("the memory of the task cannot be read")

func unreadable(err error) error {
	switch err {
	case unix.EPERM, unix.EACCES:
		return errUnreadable
	}
	return err
}

// dirfd is the directory argument of the call: the working directory where it
// has none.
func (c *Call) dirfd(i int8) int32 {
	if i < 0 {
		return unix.AT_FDCWD
	}
	return c.arg(i)
}

// target looks up what the call's path and flags name: a path, or with
// AT_EMPTY_PATH the descriptor itself.
func (d *Deriver) target(c *Call, dir, path int8, flags int32, follow bool, o *proc.Object) error {
	name, err := d.path(c, path, 0)
	if err != nil {
		return err
	}
	if len(name) == 0 && flags&unix.AT_EMPTY_PATH != 0 {
		if fd := c.dirfd(dir); fd != unix.AT_FDCWD {
			return d.lens.Descriptor(c.Task, fd, o)
		}
		name = append(name, '.')
	}
	return d.lens.Lookup(c.Task, c.dirfd(dir), name, follow, o)
}

// inode describes the inode of o in ids of the wanted user namespace.
func (d *Deriver) inode(c *Call, o *proc.Object) tsem.Inode {
	in := o.Inode()
	if d.opts.Current {
		in.UID = d.lens.UID(c.Task, in.UID)
		in.GID = d.lens.GID(c.Task, in.GID)
	}
	return in
}

// file describes an open file on o: its path from the root, and its digest.
func (d *Deriver) file(c *Call, o *proc.Object, flags uint32) tsem.File {
	f := tsem.File{Flags: flags, Inode: d.inode(c, o)}
	f.Path = o.AbsolutePath(d.lens.PathType(c.Task))
	if origin, ok := d.shared.Created.Origin(o); ok {
		f.Path.Created, f.Path.Owner, f.Path.Instance = true, origin.Owner, origin.Instance
	}
	if f.Path.Created || o.Mount.Pseudo || !o.IsRegular() {
		f.Digest = d.opts.Algorithm.Z()
		return f
	}
	f.Digest, f.DigestMissing = d.shared.World.Digests.Of(o, d.opts.Slow)
	return f
}

// actor says whose identity a DENTRY carries as the owner of a file that was
// made in the context.
type actor int

const (
	byTask   actor = iota // the task that acts now: TSEM's way with most events
	byMaker               // the task that made the file
	absolute              // byTask, with an absolute path: inode_getattr
)

// dentry describes o as a directory entry.
func (d *Deriver) dentry(c *Call, o *proc.Object, who actor) tsem.Dentry {
	e := tsem.Dentry{HasInode: true, Inode: d.inode(c, o)}
	kind := d.lens.PathType(c.Task)
	if who == absolute {
		e.Path = o.AbsolutePath(kind)
	} else {
		e.Path = o.RelativePath(kind)
		d.abspath(&e.Path, o.Path)
	}
	if origin, ok := d.shared.Created.Origin(o); ok {
		e.Path.Created, e.Path.Owner, e.Path.Instance = true, c.Task.TaskID, origin.Instance
		if who == byMaker {
			e.Path.Owner = origin.Owner
		}
	}
	return e
}

// entry describes the name, which does not exist yet, in the directory dir.
func (d *Deriver) entry(c *Call, dir *proc.Object, name []byte) tsem.Dentry {
	p := dir.RelativePath(d.lens.PathType(c.Task))
	p.Pathname = proc.Join(nil, p.Pathname, name)
	if d.opts.Abspath {
		d.abspath(&p, proc.Join(nil, dir.Path, name))
	}
	return tsem.Dentry{Path: p}
}

func (d *Deriver) abspath(p *tsem.Path, full []byte) {
	if d.opts.Abspath && !bytes.Equal(p.Pathname, full) {
		p.Abspath = full
	}
}
