// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// inodeKey tells an inode from all others, also from those that have its number
// after it.
type inodeKey struct {
	ino             uint64
	dev, generation uint32
}

// fileState is what an event tells of a file besides what is written of it.
type fileState struct {
	inodeKey
	size         uint64
	ctime, mtime int64 // nanoseconds since 1970
	nlink        uint32
	magic        uint32
}

// inode reads an inode.
func (d *decoder) inode(c *cursor, in *tsem.Inode) (st fileState) {
	order := binary.NativeEndian
	b := c.take(inodeSize)
	in.UID, in.GID = d.head.uid(order.Uint32(b)), d.head.gid(order.Uint32(b[4:]))
	in.Mode = order.Uint32(b[8:])
	st.dev = order.Uint32(b[12:])
	in.Magic = uint32(order.Uint64(b[16:]))
	st.ino, st.size = order.Uint64(b[24:]), order.Uint64(b[32:])
	st.ctime, st.mtime = int64(order.Uint64(b[40:])), int64(order.Uint64(b[48:]))
	st.generation, st.nlink = order.Uint32(b[56:]), order.Uint32(b[60:])
	copy(in.UUID[:], b[72:88])
	in.SID = b[88:120]
	if i := bytes.IndexByte(in.SID, 0); i >= 0 {
		in.SID = in.SID[:i]
	}
	st.magic = in.Magic
	return st
}

// minorBits is how many bits of a device number of the kernel are the minor.
const minorBits = 20

// pathKind says how a path is written.
type pathKind bool

const (
	relative pathKind = false // to the root of its file system
	absolute pathKind = true
)

// path reads a path. Its name lives as long as the event.
func (d *decoder) path(c *cursor, p *tsem.Path, kind pathKind, magic uint32) (flags uint32) {
	order := binary.NativeEndian
	b := c.take(pathSize)
	n, flags := order.Uint32(b), order.Uint32(b[4:])
	dev, real := order.Uint32(b[8:]), order.Uint32(b[12:])
	*p = tsem.Path{Type: d.placeType()}
	if flags&pathUnknown != 0 {
		p.Missing = "unknown"
		return flags
	}
	names := c.take(int(n))
	if real != 0 {
		p.HasDev, p.Dev = true, tsem.Dev{Major: dev >> minorBits, Minor: dev & (1<<minorBits - 1)}
	}
	switch {
	case kind == absolute && real == 0:
		p.Pathname = invented(magic)
	case flags&pathTooLong != 0:
		p.Missing = "too_long"
	default:
		p.Pathname = d.join(names)
	}
	return flags
}

// join turns names, which come from the end, each behind its length, into a
// path.
func (d *decoder) join(names []byte) []byte {
	if len(names) == 0 {
		return slash
	}
	size := len(names)
	d.text = grown(d.text, size)
	start := len(d.text)
	d.text = d.text[:start+size]
	path := d.text[start : start+size]
	end := size
	for len(names) > 0 {
		n := min(int(names[0]), len(names)-1)
		end -= n
		copy(path[end:], names[1:1+n])
		end--
		path[end] = '/'
		names = names[1+n:]
	}
	return path[end:]
}

// grown is b with room for n more bytes. What pointed into b stays as it is.
func grown(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return make([]byte, 0, max(2*cap(b), n+8192))
}

var slash = []byte("/")

// What TSEM writes for the path of a file on a file system without a device:
// the beginning of the name that the kernel invents for it, if it does.
var (
	nodev        = []byte("nodev:/")
	pipePath     = []byte("pipe:/")
	socketPath   = []byte("socket:/")
	anonPath     = []byte("anon_inode:/")
	pidfsMagic   = uint32(0x50494446)
	nsfsMagic    = uint32(unix.NSFS_MAGIC)
	overlayMagic = uint32(unix.OVERLAYFS_SUPER_MAGIC)
)

func invented(magic uint32) []byte {
	switch magic {
	case unix.PIPEFS_MAGIC:
		return pipePath
	case unix.SOCKFS_MAGIC:
		return socketPath
	case unix.ANON_INODE_FS_MAGIC, pidfsMagic:
		return anonPath
	}
	return nodev
}

func (d *decoder) placeType() tsem.PathType {
	switch d.head.place {
	case placeChroot:
		return tsem.PathChroot
	case placeNamespace:
		return tsem.PathNamespace
	}
	return tsem.PathRoot
}

// actor says whose identity a DENTRY carries as the owner of a file that was
// made in the context.
type actor bool

const (
	byTask  actor = false // the task that acts now: TSEM's way with most events
	byMaker actor = true  // the task that made the file
)

// dentry reads a DENTRY object.
func (d *decoder) dentry(c *cursor, e *tsem.Dentry, kind pathKind, who actor) (st fileState) {
	e.HasInode = c.u64() != 0
	if e.HasInode {
		st = d.inode(c, &e.Inode)
	}
	magic := st.magic
	if d.path(c, &e.Path, kind, magic); !e.HasInode {
		return st
	}
	if o, ok := d.made.origin(st.inodeKey); ok {
		e.Path.Created, e.Path.Owner, e.Path.Instance = true, d.id(d.head.ttd), o.instance
		if who == byMaker {
			e.Path.Owner = d.id(o.maker)
		}
	}
	return st
}

// location reads a PATH object.
func (d *decoder) location(c *cursor, p *tsem.Path) {
	var in tsem.Inode
	st := d.inode(c, &in)
	d.path(c, p, absolute, st.magic)
	d.stamp(p, st.inodeKey)
}

// stamp adds who made what p leads to, if the context has.
func (d *decoder) stamp(p *tsem.Path, key inodeKey) {
	if o, ok := d.made.origin(key); ok {
		p.Created, p.Owner, p.Instance = true, d.id(o.maker), o.instance
	}
}

// tmpfileBit is in f_flags where O_TMPFILE makes a file without a name.
const tmpfileBit = unix.O_TMPFILE &^ unix.O_DIRECTORY

// file reads a FILE object, and gets its digest.
func (d *decoder) file(c *cursor, f *tsem.File, opening bool) {
	f.Flags = c.u32()
	st := d.inode(c, &f.Inode)
	flags := d.path(c, &f.Path, absolute, st.magic)
	if kind := c.bytes(); kind != nil && !f.Path.HasDev {
		f.Path.Pathname = d.kindPath(kind)
	}
	d.stamp(&f.Path, st.inodeKey)
	f.Digest, f.DigestMissing = nil, ""
	if opening && f.Flags&tmpfileBit != 0 {
		f.Path.Pathname, f.Path.Missing = nil, "unnamed"
		f.Digest = d.empty
		return
	}
	if f.Path.Created || f.Inode.Mode&unix.S_IFMT != unix.S_IFREG || st.size == 0 || proc.Pseudo(st.magic) {
		f.Digest = d.empty
		return
	}
	f.Digest, f.DigestMissing = d.digests.of(&d.head, &st, &f.Path, flags)
}

// kindPath is the invented name of a namespace: its kind, and ":/".
func (d *decoder) kindPath(kind []byte) []byte {
	d.text = grown(d.text, len(kind)+2)
	start := len(d.text)
	d.text = append(append(d.text, kind...), ":/"...)
	return d.text[start:]
}

func (d *decoder) sock(c *cursor, s *tsem.Sock) {
	family, kind := c.two()
	s.Family, s.Type, s.Protocol = int32(family), int32(kind), int32(c.u32())
	s.Owner = d.id(c.u64())
}

func (d *decoder) creds(c *cursor, to *tsem.Creds) {
	readCOE(c.take(40), &to.COE)
	to.Securebits = c.u32()
	if d.head.users {
		d.head.mapCOE(&to.COE)
	}
}

func (d *decoder) perm(c *cursor, p *tsem.Perm) {
	uid, gid := c.two()
	cuid, cgid := c.two()
	p.UID, p.GID, p.CUID, p.CGID = d.head.uid(uid), d.head.gid(gid), d.head.uid(cuid), d.head.gid(cgid)
	p.Mode = c.u32()
	p.Owner = d.id(c.u64())
}

// superblock reads the root of a file system, its type and its flags.
func (d *decoder) superblock(c *cursor, root *tsem.Dentry) (fstype []byte, flags uint64) {
	d.dentry(c, root, relative, byTask)
	return c.bytes(), c.u64()
}
