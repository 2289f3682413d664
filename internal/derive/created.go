// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Origin tells who made a file, and as which of its creations in the
// directory.
type Origin struct {
	Owner    tsem.Digest
	Instance uint64
}

// Created knows the files and directories that the context has made. A file
// does not exist yet when the call that makes it is seen; it is looked up when
// its maker makes the next call, or when somebody else may have found it.
//
// File systems are asked without the lock, and each task's call waits for those
// only that it deals with itself: one may be served by the workload, or not at
// all.
type Created struct {
	mu      sync.Mutex
	origins map[proc.InodeID]Origin
	counts  map[creation]uint64
	pending []*pendingFile
	dying   []dyingFile
	removed []proc.InodeID // the last ones that were removed, oldest first
}

// dyingFile is a file whose last name may be about to be removed.
type dyingFile struct {
	by    *task.Task
	fd    int // O_PATH
	id    proc.InodeID
	local bool
}

// maxRemoved is how many files are remembered beyond their removal: those that
// are still open can have events. maxUnsettled is how many are remembered
// before they are found, on file systems that may not answer.
const (
	maxRemoved   = 4096
	maxUnsettled = 1024
)

type creation struct {
	dir   proc.InodeID
	maker string
}

type pendingFile struct {
	maker *task.Task
	dir   int // O_PATH
	name  string
	key   creation
	dev   tsem.Dev // of the file system
	local bool
	Origin

	users int  // who look for it now
	over  bool // no longer pending
}

func newCreated() *Created {
	return &Created{origins: make(map[proc.InodeID]Origin), counts: make(map[creation]uint64)}
}

// Begin counts a creation of name in dir by t. The count goes up whether or
// not the file is made in the end, as it does in TSEM.
func (c *Created) Begin(t *task.Task, dir *proc.Object, name []byte) Origin {
	fd, err := dir.Dup()
	c.mu.Lock()
	defer c.mu.Unlock()
	key := creation{dir.ID(), string(t.TaskID)}
	c.counts[key]++
	o := Origin{Owner: t.TaskID, Instance: c.counts[key]}
	if err == nil {
		c.pending = append(c.pending, &pendingFile{
			maker: t, dir: fd, name: string(name), key: key, dev: dir.Mount.Dev, local: dir.Mount.Local(), Origin: o,
		})
	}
	return o
}

// Undo takes back the creations of t that are pending: its call was not made.
func (c *Created) Undo(t *task.Task) {
	c.mu.Lock()
	for _, p := range slices.Clone(c.pending) {
		if p.maker == t {
			c.counts[p.key]--
			c.settled(p)
		}
	}
	c.mu.Unlock()
	c.bury(t, false)
}

// Removing notes that t is about to remove a name of o.
func (c *Created) Removing(t *task.Task, o *proc.Object) {
	id := o.ID()
	c.mu.Lock()
	_, ours := c.origins[id]
	c.mu.Unlock()
	if !ours || o.Stat.Nlink > 1 && !o.IsDir() {
		return
	}
	fd, err := o.Dup()
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dying = append(c.dying, dyingFile{t, fd, id, o.Mount.Local()})
}

// bury forgets, in time, the files that t was about to remove, if it did.
func (c *Created) bury(t *task.Task, look bool) {
	c.mu.Lock()
	var gone []dyingFile
	c.dying = slices.DeleteFunc(c.dying, func(f dyingFile) bool {
		mine := f.by == t || f.by.Dead()
		if mine {
			gone = append(gone, f)
		}
		return mine
	})
	c.mu.Unlock()
	for _, f := range gone {
		var st unix.Statx_t
		removed := look && (f.by == t || f.local) &&
			unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_NLINK, &st) == nil && st.Nlink == 0
		unix.Close(f.fd)
		if removed {
			c.forget(f.id)
		}
	}
}

// forget notes that a file has been removed.
func (c *Created) forget(id proc.InodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, id)
	for len(c.removed) > maxRemoved {
		delete(c.origins, c.removed[0])
		c.removed = c.removed[1:]
	}
}

// Origin tells who made o, if the context has.
func (c *Created) Origin(o *proc.Object) (Origin, bool) {
	id := o.ID()
	c.mu.Lock()
	origin, ok := c.origins[id]
	look := !ok && len(c.pending) > 0
	c.mu.Unlock()
	if !look {
		return origin, ok
	}
	c.settle(nil, func(p *pendingFile) bool { return p.dev == o.Mount.Dev })
	c.mu.Lock()
	defer c.mu.Unlock()
	origin, ok = c.origins[id]
	return origin, ok
}

// Settle looks up what t has made: it is about to make another call.
func (c *Created) Settle(t *task.Task) {
	c.mu.Lock()
	pending, dying := len(c.pending), len(c.dying)
	for i := 0; pending > maxUnsettled && i < len(c.pending); {
		if p := c.pending[i]; !p.local && p.maker.Dead() {
			c.settled(p)
			pending--
			continue
		}
		i++
	}
	c.mu.Unlock()
	if pending > 0 {
		c.settle(t, func(p *pendingFile) bool { return p.maker == t || p.local && p.maker.Dead() })
	}
	if dying > 0 {
		c.bury(t, true)
	}
}

// settle looks for those pending files that are wanted. Those of done, and of
// the dead, are given up if they do not exist.
func (c *Created) settle(done *task.Task, want func(*pendingFile) bool) {
	var some [8]*pendingFile
	wanted := some[:0]
	c.mu.Lock()
	for _, p := range c.pending {
		if want(p) {
			p.users++
			wanted = append(wanted, p)
		}
	}
	c.mu.Unlock()
	for _, p := range wanted {
		var o proc.Object
		const mask = unix.STATX_INO | unix.STATX_BTIME
		gone := p.maker == done || p.maker.Dead()
		err := unix.Statx(p.dir, p.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, &o.Stat)
		c.mu.Lock()
		if err == nil && !p.over {
			c.origins[o.ID()] = p.Origin
		}
		if err == nil || gone {
			c.settled(p)
		}
		if p.users--; p.over && p.users == 0 {
			unix.Close(p.dir)
		}
		c.mu.Unlock()
	}
}

// settled takes p off the list, if it is on it. The lock is held.
func (c *Created) settled(p *pendingFile) {
	if p.over {
		return
	}
	p.over = true
	c.pending = slices.DeleteFunc(c.pending, func(x *pendingFile) bool { return x == p })
	if p.users == 0 {
		unix.Close(p.dir)
	}
}
