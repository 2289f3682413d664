// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"io"
	"maps"
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// settled is how old a file's last change must be before its digest may be
// remembered: within one tick of a coarse clock it could change again and
// leave its times as they are.
const settled = 20 * time.Millisecond

// Digests hashes file contents, and remembers what it has hashed by what
// changes when the content does. It is safe for concurrent use.
//
// A file that is large, or whose file system has to ask somebody, is read by a
// thread of its own. Whoever wants the digest waits for that as long as it gets
// on, and no longer.
type Digests struct {
	Limit   uint64 // files of more bytes have no digest; set before the first is asked for
	alg     *tsem.Algorithm
	mu      sync.Mutex
	known   map[version]tsem.Digest
	reading map[version]*reading
	stuck   int // of these
	missing map[string]uint64
}

// version is one state of one file.
type version struct {
	id           InodeID
	size         uint64
	mtime, ctime int64
}

func newDigests(alg *tsem.Algorithm) *Digests {
	return &Digests{
		Limit: math.MaxUint64, alg: alg,
		known: make(map[version]tsem.Digest), reading: make(map[version]*reading), missing: make(map[string]uint64),
	}
}

// maxKnown bounds the memory: a digest and its key take about 150 bytes.
const maxKnown = 100_000

// Of returns the digest of o's content, or the word for why there is none:
// gone, unreadable, too_large, changed, stalled. While it takes long it calls
// slow, if there is one, now and then. The digest is shared: do not write to it.
func (d *Digests) Of(o *Object, slow func()) (digest tsem.Digest, missing string) {
	v := versionOf(o.ID(), &o.Stat)
	if v.size == 0 {
		return d.alg.Z(), ""
	}
	d.mu.Lock()
	digest = d.known[v]
	d.mu.Unlock()
	if digest != nil {
		return digest, ""
	}
	switch {
	case v.size > d.Limit:
		missing = "too_large"
	case v.size <= small && o.Mount.Local():
		digest, missing = d.open(o, v)
	default:
		digest, missing = d.await(o, v, slow)
	}
	if missing != "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.missing[missing]++
		return nil, missing
	}
	return digest, ""
}

// Opened is Of for a regular file that is open with O_PATH as fd, and is st.
// It is read by a thread of its own, since nothing is known of its file system.
func (d *Digests) Opened(fd int, st *unix.Statx_t) (digest tsem.Digest, missing string) {
	o := Object{Stat: *st, Mount: &Mount{}}
	o.has(fd)
	return d.Of(&o, nil)
}

// Missed counts a digest that somebody else found not to be had.
func (d *Digests) Missed(word string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missing[word]++
}

// NewDigests is for who looks at files without a World.
func NewDigests(alg *tsem.Algorithm) *Digests { return newDigests(alg) }

// remember keeps the digest of a version, unless it is so young that the file
// could change without becoming another.
func (d *Digests) remember(v version, digest tsem.Digest) {
	if time.Since(time.Unix(0, v.ctime)) <= settled {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxKnown {
		clear(d.known)
	}
	d.known[v] = digest
}

// Missing counts the digests that could not be had, by the word that says why.
func (d *Digests) Missing() map[string]uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.missing)
}

func versionOf(id InodeID, st *unix.Statx_t) version {
	return version{id, st.Size, st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec), st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec)}
}

// open reads and hashes the content of o.
func (d *Digests) open(o *Object, v version) (tsem.Digest, string) {
	fd, err := o.OpenRead()
	if err != nil {
		return nil, wordFor(err)
	}
	defer unix.Close(fd)
	return d.read(fd, v, func() {})
}

// wordFor says why a file cannot be read.
func wordFor(err error) string {
	switch err {
	case unix.ENOENT, unix.ESTALE:
		return "gone"
	}
	return "unreadable"
}

var errShort = errors.New("file became shorter")

// read hashes what is open as fd. It must be the version v before and after.
// It calls got for each piece.
func (d *Digests) read(fd int, v version, got func()) (tsem.Digest, string) {
	h := d.alg.New()
	if err := copyFile(h, fd, v.size, got); err != nil {
		if err == errShort {
			return nil, "changed"
		}
		return nil, "unreadable"
	}
	var after Object
	if err := kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, statMask, &after.Stat); err != nil {
		return nil, "unreadable"
	}
	if versionOf(after.ID(), &after.Stat) != v {
		return nil, "changed"
	}
	digest := tsem.Digest(h.Sum(nil))
	d.remember(v, digest)
	return digest, ""
}

func copyFile(w io.Writer, fd int, size uint64, got func()) error {
	buf := make([]byte, min(size, 128<<10))
	for size > 0 {
		n, err := unix.Read(fd, buf[:min(size, uint64(len(buf)))])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errShort
		}
		w.Write(buf[:n])
		size -= uint64(n)
		got()
	}
	return nil
}
