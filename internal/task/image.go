// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"crypto/sha256"
	"encoding/binary"

	"quixote-export/internal/kernel"
)

// image tells one execution of a program from another: the auxiliary vector
// that the kernel gave it, whose addresses are new each time. Tasks that are
// made have that of their maker until they execute a program, as they have its
// identity. So it tells whose a task is where the kernel does not: of one that
// was made with CLONE_PARENT, or whose maker is gone.
type image [16]byte

// imaging is an image, where it could be had.
type imaging struct {
	image
	known bool
}

// imageOf is the image of process tid.
func imageOf(tid int, buf []byte) (i imaging) {
	b, err := kernel.ReadProc(tid, "auxv", buf)
	if err != nil || len(b) < 8 || binary.NativeEndian.Uint64(b) == 0 {
		return i
	}
	sum := sha256.Sum256(b)
	copy(i.image[:], sum[:])
	i.known = true
	return i
}

// imageOf is the image of the program that t runs.
func (r *Registry) imageOf(t *Task) imaging {
	if !t.image.known {
		t.image = imageOf(t.TID, r.buf)
	}
	return t.image
}

// images knows the identities that came with the last executions.
type images struct {
	known map[image]Identity
	order []image // the oldest first
}

// maxImages is how many are remembered.
const maxImages = 4096

func (m *images) add(i image, id Identity) {
	if _, ok := m.known[i]; !ok {
		m.order = append(m.order, i)
	}
	m.known[i] = id
	if len(m.order) > maxImages {
		delete(m.known, m.order[0])
		m.order = m.order[1:]
	}
}

// picture notes the image of t, which makes its first call since an exec.
func (r *Registry) picture(t *Task) {
	t.executed = false
	if i := r.imageOf(t); i.known {
		r.images.add(i.image, t.Identity)
	}
}

// byImage finds the identity of the maker of t, a process that has executed
// nothing. told is what the kernel tells of it, if it does: then another one is
// believed only where both could have been made by one parent.
func (r *Registry) byImage(t *Task, told *birth) (Identity, bool) {
	if t.TID != t.TGID {
		return Identity{}, false
	}
	i := r.imageOf(t)
	if !i.known {
		return Identity{}, false
	}
	id, ok := r.images.known[i.image]
	if !ok || told != nil && (told.TTD == id.TTD || !r.sibling(id, t.Status.PPID)) {
		return Identity{}, false
	}
	return id, true
}

// sibling tells whether a child of process ppid has, or had lately, an identity.
func (r *Registry) sibling(id Identity, ppid int) bool {
	for _, g := range r.groups {
		if g.ppid == ppid {
			if m := g.any(); m != nil && m.TTD == id.TTD {
				return true
			}
		}
	}
	for _, t := range r.dead {
		if t.group.ppid == ppid && t.TTD == id.TTD {
			return true
		}
	}
	return false
}
