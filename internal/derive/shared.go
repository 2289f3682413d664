// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Shared is what all derivers of a context know together. It is safe for
// concurrent use.
type Shared struct {
	World   *proc.World
	Tasks   *task.Registry
	Created *Created
	Sockets *Sockets
}

// NewShared makes the common knowledge of one context.
func NewShared(alg *tsem.Algorithm, tasks *task.Registry) (*Shared, error) {
	world, err := proc.NewWorld(alg)
	if err != nil {
		return nil, err
	}
	return &Shared{World: world, Tasks: tasks, Created: newCreated(), Sockets: newSockets(alg.Size)}, nil
}

// Origin tells who made a file, and as which of its creations in the
// directory.
type Origin struct {
	Owner    tsem.Digest
	Instance uint64
}

// Created knows the files and directories that the context has made. A file
// does not exist yet when the call that makes it is seen; it is looked up when
// its maker makes the next call, or when somebody else may have found it.
type Created struct {
	mu      sync.Mutex
	origins map[proc.InodeID]Origin
	counts  map[creation]uint64
	pending []pendingFile
}

type creation struct {
	dir   proc.InodeID
	maker string
}

type pendingFile struct {
	maker *task.Task
	dir   int // O_PATH
	name  string
	key   creation
	Origin
}

func newCreated() *Created {
	return &Created{origins: make(map[proc.InodeID]Origin), counts: make(map[creation]uint64)}
}

// Begin counts a creation of name in dir by t. The count goes up whether or
// not the file is made in the end, as it does in TSEM.
func (c *Created) Begin(t *task.Task, dir *proc.Object, name []byte) Origin {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := creation{dir.ID(), string(t.TaskID)}
	c.counts[key]++
	o := Origin{Owner: t.TaskID, Instance: c.counts[key]}
	fd, err := unix.FcntlInt(uintptr(dir.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		c.pending = append(c.pending, pendingFile{t, fd, string(name), key, o})
	}
	return o
}

// Undo takes back the creations of t that are pending: its call was not made.
func (c *Created) Undo(t *task.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.pending[:0]
	for _, p := range c.pending {
		if p.maker != t {
			kept = append(kept, p)
			continue
		}
		c.counts[p.key]--
		unix.Close(p.dir)
	}
	c.pending = kept
}

// Origin tells who made o, if the context has.
func (c *Created) Origin(o *proc.Object) (Origin, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := o.ID()
	origin, ok := c.origins[id]
	if !ok && len(c.pending) > 0 {
		c.settle(nil)
		origin, ok = c.origins[id]
	}
	return origin, ok
}

// Settle looks up what t has made: it is about to make another call.
func (c *Created) Settle(t *task.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) > 0 {
		c.settle(t)
	}
}

// settle looks up all pending files; those of done are given up if they do
// not exist.
func (c *Created) settle(done *task.Task) {
	kept := c.pending[:0]
	for _, p := range c.pending {
		var o proc.Object
		const mask = unix.STATX_INO | unix.STATX_BTIME
		err := unix.Statx(p.dir, p.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, &o.Stat)
		if err != nil && p.maker != done {
			kept = append(kept, p)
			continue
		}
		if err == nil {
			c.origins[o.ID()] = p.Origin
		}
		unix.Close(p.dir)
	}
	c.pending = kept
}
