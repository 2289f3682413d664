// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// digests hashes files after the event that names them. What is read then is
// the content of the event only if the file is the same and has not changed:
// device, number, size and times are compared, and a change shortly before the
// event is one too many, since the clock of files is coarse. If there is doubt
// there is no digest.
type digests struct {
	files *proc.Digests
	known map[fileState]tsem.Digest
	roots map[uint32]int // root directory of a mount namespace, opened with O_PATH
	home  uint32         // our own
	boot  func() int64   // the boot by the wall clock, in nanoseconds since 1970
	path  []byte
	size  int // of a digest in bytes
	// find looks at a file that is not known: look, but for tests.
	find func(h *head, st *fileState, p *tsem.Path, flags uint32) (tsem.Digest, string)
}

// settled is how old a change of a file must be before it counts as the last:
// within one tick of a coarse clock it could change again and leave its times
// as they are.
const settled = int64(20 * time.Millisecond)

const maxKnown = 50_000

func newDigests(alg *tsem.Algorithm, limit uint64) *digests {
	d := &digests{
		files: proc.NewDigests(alg),
		known: make(map[fileState]tsem.Digest), roots: make(map[uint32]int),
		boot: bootTime, size: alg.Size,
	}
	d.files.Limit = limit
	d.find = d.look
	return d
}

// bootTime is when the machine was booted, by the wall clock of now.
func bootTime() int64 {
	var up unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
	return time.Now().UnixNano() - up.Nano()
}

func (d *digests) close() {
	for _, fd := range d.roots {
		unix.Close(fd)
	}
	clear(d.roots)
}

// of returns the digest of a file as it was at the event with that head, or the
// word for why there is none. It is shared: do not write to it.
func (d *digests) of(h *head, st *fileState, p *tsem.Path, flags uint32) (tsem.Digest, string) {
	if digest, ok := d.known[*st]; ok {
		return digest, ""
	}
	looked, name := *st, *p // or every file would be told of on the heap
	digest, word := d.find(h, &looked, &name, flags)
	if word != "" {
		return nil, word
	}
	d.know(st, digest)
	return digest, ""
}

func (d *digests) know(st *fileState, digest tsem.Digest) {
	if len(d.known) >= maxKnown {
		clear(d.known)
	}
	d.known[*st] = digest
}

// tell notes a digest that the kernel has made of a file.
func (d *digests) tell(st fileState, digest []byte) {
	if d.files.Limit == 0 || st.size <= d.files.Limit {
		d.know(&st, bytes.Clone(digest[:d.size]))
	}
}

func (d *digests) look(h *head, st *fileState, p *tsem.Path, flags uint32) (tsem.Digest, string) {
	missing := func(word string) (tsem.Digest, string) {
		d.files.Missed(word)
		return nil, word
	}
	if d.boot()+int64(h.ts)-st.ctime < settled {
		return missing("changed")
	}
	fd, err := d.open(h, p, flags)
	if err != nil {
		return missing("gone")
	}
	defer unix.Close(fd)
	var now unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if err := kernel.Stat(fd, []byte{0}, unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, mask, &now); err != nil {
		return missing("unreadable")
	}
	switch {
	case !d.same(fd, st, &now):
		return missing("gone")
	case now.Size != st.size || nanoseconds(now.Ctime) != st.ctime || nanoseconds(now.Mtime) != st.mtime:
		return missing("changed")
	}
	return d.files.Opened(fd, &now)
}

func nanoseconds(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// same tells whether what is open as fd is the inode of the event. Some file
// systems tell another device than their own.
func (d *digests) same(fd int, st *fileState, now *unix.Statx_t) bool {
	if now.Ino != st.ino || now.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	if now.Dev_major == st.dev>>minorBits && now.Dev_minor == st.dev&(1<<minorBits-1) {
		return true
	}
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && uint32(fs.Type) == st.magic &&
		(st.magic == overlayMagic || st.magic == unix.BTRFS_SUPER_MAGIC)
}

// open finds a file by its path in the mount namespace of the event.
func (d *digests) open(h *head, p *tsem.Path, flags uint32) (int, error) {
	if flags&pathUnlinked == 0 && p.Missing == "" && len(p.Pathname) > 0 {
		root, ok := d.root(h)
		if ok {
			how := unix.OpenHow{
				Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
				Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_IN_ROOT,
			}
			d.path = append(append(d.path[:0], p.Pathname...), 0)
			if fd, err := kernel.Open(root, d.path, &how); err == nil {
				return fd, nil
			}
		}
	}
	// Perhaps the task runs it.
	return unix.Open(kernel.ProcPath(int(h.pid), "exe"), unix.O_PATH|unix.O_CLOEXEC, 0)
}

// adopt makes that of the first process our own namespace if we have been put
// into another one than whoever has loaded the programs: services are.
func (d *digests) adopt() {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/mnt", &st) != nil || uint32(st.Ino) == d.home {
		return
	}
	if unix.Stat("/proc/1/ns/mnt", &st) != nil || uint32(st.Ino) != d.home {
		return
	}
	if fd, err := unix.Open("/proc/1/root", unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0); err == nil {
		d.roots[d.home] = fd
	}
}

// root is the root directory of the mount namespace of the event. It is opened
// while some task is there, so that later ones need none.
func (d *digests) root(h *head) (int, bool) {
	fd, ok := d.roots[h.mounts]
	if ok {
		return fd, fd >= 0
	}
	path := "/"
	if h.mounts != d.home {
		path = "/proc/" + strconv.Itoa(int(h.pid)) + "/root"
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, false
	}
	d.roots[h.mounts] = fd
	return fd, true
}
