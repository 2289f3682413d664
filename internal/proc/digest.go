// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"io"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// MaxDigest is the size in bytes above which the content of a file is not
// hashed.
const MaxDigest = 1 << 30

// settled is how old a file's last change must be before its digest may be
// remembered: within one tick of a coarse clock it could change again and
// leave its times as they are.
const settled = 20 * time.Millisecond

// Digests hashes file contents, and remembers what it has hashed by what
// changes when the content does. It is safe for concurrent use.
type Digests struct {
	alg     *tsem.Algorithm
	mu      sync.Mutex
	known   map[version]tsem.Digest
	missing map[string]uint64
}

// version is one state of one file.
type version struct {
	id           InodeID
	size         uint64
	mtime, ctime int64
}

func newDigests(alg *tsem.Algorithm) *Digests {
	return &Digests{alg: alg, known: make(map[version]tsem.Digest), missing: make(map[string]uint64)}
}

// maxKnown bounds the memory: a digest and its key take about 150 bytes.
const maxKnown = 100_000

// Of returns the digest of o's content, or the word for why there is none:
// gone, unreadable, too_large, changed. The digest is shared: do not write to
// it.
func (d *Digests) Of(o *Object) (digest tsem.Digest, missing string) {
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
	digest, missing = d.read(o, v)
	d.mu.Lock()
	defer d.mu.Unlock()
	if missing != "" {
		d.missing[missing]++
		return nil, missing
	}
	changed := time.Unix(int64(o.Stat.Ctime.Sec), int64(o.Stat.Ctime.Nsec))
	if time.Since(changed) > settled {
		if len(d.known) >= maxKnown {
			clear(d.known)
		}
		d.known[v] = digest
	}
	return digest, ""
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

var errShort = errors.New("file became shorter")

func (d *Digests) read(o *Object, v version) (tsem.Digest, string) {
	if v.size > MaxDigest {
		return nil, "too_large"
	}
	fd, err := o.OpenRead()
	switch err {
	case nil:
	case unix.ENOENT, unix.ESTALE:
		return nil, "gone"
	default:
		return nil, "unreadable"
	}
	defer unix.Close(fd)
	h := d.alg.New()
	if err := copyFile(h, fd, v.size); err != nil {
		if err == errShort {
			return nil, "changed"
		}
		return nil, "unreadable"
	}
	var st unix.Statx_t
	if err := kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, statMask, &st); err != nil {
		return nil, "unreadable"
	}
	if versionOf(o.ID(), &st) != v {
		return nil, "changed"
	}
	return h.Sum(nil), ""
}

func copyFile(w io.Writer, fd int, size uint64) error {
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
	}
	return nil
}
