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
	World    *proc.World
	Tasks    *task.Registry
	Created  *Created
	Sockets  *Sockets
	IPC      *IPC
	Mounts   *Mounts
	BPF      *BPF
	Queues   *Queues
	Keys     *Keys
	Secure   *Secure
	Programs *Programs
	Yama     *Yama
}

// NewShared makes the common knowledge of one context.
func NewShared(alg *tsem.Algorithm, tasks *task.Registry) (*Shared, error) {
	world, err := proc.NewWorld(alg)
	if err != nil {
		return nil, err
	}
	tasks.OnDeath(func(t *task.Task) {
		if t.Moving.Swap(false) {
			world.Moved()
		}
	})
	return &Shared{
		World: world, Tasks: tasks, Created: newCreated(), Sockets: newSockets(alg.Size, tasks),
		IPC: newIPC(alg.Size), Mounts: newMounts(), BPF: newBPF(), Queues: newQueues(),
		Keys: newKeys(), Secure: newSecure(tasks), Programs: newPrograms(), Yama: newYama(),
	}, nil
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
	dying   []dyingFile
	removed []proc.InodeID // the last ones that were removed, oldest first
}

// dyingFile is a file whose last name may be about to be removed.
type dyingFile struct {
	by *task.Task
	fd int // O_PATH
	id proc.InodeID
}

// maxRemoved is how many files are remembered beyond their removal: those that
// are still open can have events.
const maxRemoved = 4096

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
	fd, err := dir.Dup()
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
	c.bury(t, false)
}

// Removing notes that t is about to remove a name of o.
func (c *Created) Removing(t *task.Task, o *proc.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := o.ID()
	if _, ok := c.origins[id]; !ok || o.Stat.Nlink > 1 && !o.IsDir() {
		return
	}
	if fd, err := o.Dup(); err == nil {
		c.dying = append(c.dying, dyingFile{t, fd, id})
	}
}

// bury forgets, in time, the files that t was about to remove, if it did.
func (c *Created) bury(t *task.Task, look bool) {
	kept := c.dying[:0]
	for _, f := range c.dying {
		if f.by != t && !f.by.Dead() {
			kept = append(kept, f)
			continue
		}
		var st unix.Statx_t
		if look && unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_NLINK, &st) == nil && st.Nlink == 0 {
			c.removed = append(c.removed, f.id)
		}
		unix.Close(f.fd)
	}
	c.dying = kept
	for len(c.removed) > maxRemoved {
		delete(c.origins, c.removed[0])
		c.removed = c.removed[1:]
	}
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
	if len(c.dying) > 0 {
		c.bury(t, true)
	}
}

// settle looks up all pending files; those of done are given up if they do
// not exist.
func (c *Created) settle(done *task.Task) {
	kept := c.pending[:0]
	for _, p := range c.pending {
		var o proc.Object
		const mask = unix.STATX_INO | unix.STATX_BTIME
		gone := p.maker == done || p.maker.Dead()
		err := unix.Statx(p.dir, p.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, &o.Stat)
		if err != nil && !gone {
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
