// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"sync"

	"quixote-export/internal/proc"
)

// Programs remembers what the kernel would read of programs, by the version of
// the file, as digests are remembered. It is safe for concurrent use.
type Programs struct {
	mu    sync.Mutex
	known map[proc.Version]*programFile
}

// programFile is the beginning of a program, and what the headers say if it is
// an ELF file. head is nil if it cannot be read.
type programFile struct {
	head  []byte
	image elfImage
	err   error
}

// maxProgramFiles bounds the memory: one takes about 600 bytes.
const maxProgramFiles = 4096

func newPrograms() *Programs { return &Programs{known: make(map[proc.Version]*programFile)} }

// of reads the program o, if it is not known.
func (p *Programs) of(o *proc.Object) *programFile {
	v := o.Version()
	p.mu.Lock()
	f := p.known[v]
	p.mu.Unlock()
	if f != nil {
		return f
	}
	f = &programFile{head: o.Head(headSize)}
	f.image, f.err = parseELF(f.head, o)
	if f.head == nil || !o.Unchanged() {
		return f
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxProgramFiles {
		clear(p.known)
	}
	p.known[v] = f
	return f
}
