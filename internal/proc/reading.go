// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// small is the size in bytes up to which a file is read at once.
const small = 1 << 20

// A reading is given up by those who wait for it when it has not got on for
// patience looks, three seconds in all. Of those that are stuck there are at
// most maxStuck: then nobody waits for a file system any more that may not
// answer.
const (
	look     = 100 * time.Millisecond
	patience = 30
	maxStuck = 64
)

// reading is a file that is being hashed, for all who want its digest.
type reading struct {
	pieces  atomic.Uint64 // read so far
	done    chan struct{} // closed when what follows is there
	digest  tsem.Digest
	missing string
	stuck   bool // nobody waits any longer; the lock of the Digests is held
}

// await has a file read by a thread of its own, and waits for it.
func (d *Digests) await(o *Object, v version, slow func()) (tsem.Digest, string) {
	if slow == nil {
		slow = func() {}
	}
	slow()
	r, word := d.begin(o, v)
	if word != "" {
		return nil, word
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	seen := r.pieces.Load()
	for still := 0; still < patience; {
		select {
		case <-r.done:
			return r.digest, r.missing
		case <-tick.C:
		}
		slow()
		if n := r.pieces.Load(); n != seen {
			seen, still = n, 0
		} else {
			still++
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !r.stuck && d.reading[v] == r {
		r.stuck = true
		d.stuck++
	}
	return nil, "stalled"
}

// begin has the file read, unless somebody does already, and says why if not.
func (d *Digests) begin(o *Object, v version) (r *reading, word string) {
	fd, err := o.Dup() // without the lock, since it may take its time
	if err != nil {
		return nil, wordFor(err)
	}
	defer func() {
		if fd >= 0 {
			unix.Close(fd)
		}
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.reading[v]; r != nil {
		if r.stuck {
			return nil, "stalled"
		}
		return r, ""
	}
	if d.stuck >= maxStuck && !o.Mount.Local() {
		return nil, "stalled"
	}
	r = &reading{done: make(chan struct{})}
	d.reading[v] = r
	own := fd
	fd = -1
	go func() {
		r.digest, r.missing = d.reopen(own, v, func() { r.pieces.Add(1) })
		d.mu.Lock()
		delete(d.reading, v)
		if r.stuck {
			d.stuck--
		}
		d.mu.Unlock()
		close(r.done)
	}()
	return r, ""
}

// reopen reads what a descriptor made with O_PATH stands for, and closes it.
func (d *Digests) reopen(fd int, v version, got func()) (tsem.Digest, string) {
	defer unix.Close(fd)
	n, err := openForReading("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, wordFor(err)
	}
	defer unix.Close(n)
	got()
	return d.read(n, v, got)
}
