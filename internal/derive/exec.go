// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// execFlags are the f_flags of a file that the kernel opens to execute it:
// large file, and the kernel's own mark for exec.
const execFlags = largeFile | model.ForExec

// maxInterpreters is how many interpreters in a row the kernel accepts.
const maxInterpreters = 5

// exec is execve and execveat: the opening of the program, of the interpreter
// of a script, and of the ELF interpreter, all still under the old identity.
// What the kernel maps of them comes when the exec has succeeded.
func exec(d *Deriver, c *Call) error {
	flags := int32(0)
	if c.Row.flags >= 0 {
		flags = c.arg(c.Row.flags)
	}
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return unix.EINVAL
	}
	o := &d.objects[0]
	if err := d.target(c, c.Row.dir, c.Row.path, flags, flags&unix.AT_SYMLINK_NOFOLLOW == 0, o); err != nil {
		return err
	}
	comm := d.paths[0]
	if i := bytes.LastIndexByte(comm, '/'); i >= 0 {
		comm = comm[i+1:]
	}
	e := &task.Exec{Comm: bytes.Clone(comm)}
	program, found, err := d.program(c, o)
	if err != nil {
		return err
	}
	e.TaskID = d.hasher.TaskID(nil, c.Task.PTaskID, &program)
	d.out.Exec = e
	if found.head == nil {
		e.Likely = true // it may be executed but not read: we cannot tell more
		return nil
	}
	image := found.image
	if found.err != nil {
		return nil // the kernel will find nobody to run it, or ask binfmt_misc
	}
	var interpreter tsem.File
	var loader elfImage
	if image.interpreter != nil {
		i := &d.objects[1]
		if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, image.interpreter, true, i); err != nil {
			return nil
		}
		if !d.executable(c, i) {
			return nil
		}
		interpreter = d.openProgram(c, i)
		its := d.shared.Programs.of(i)
		if loader = its.image; its.err != nil {
			return nil
		}
	}
	e.Likely = true
	e.Mappings = append(mappings(&program, o, &image, false), mappings(&interpreter, &d.objects[1], &loader, true)...)
	return nil
}

// headSize is how much the kernel reads of a program to tell its kind.
const headSize = 256

// program opens the program o and the interpreters that scripts name, and
// leaves in o the one that is run in the end. found is what was read of it.
func (d *Deriver) program(c *Call, o *proc.Object) (file tsem.File, found *programFile, err error) {
	for range maxInterpreters + 1 {
		if !d.executable(c, o) {
			return file, nil, unix.EACCES
		}
		file = d.openProgram(c, o)
		found = d.shared.Programs.of(o)
		name := scriptInterpreter(found.head)
		if name == nil {
			return file, found, nil
		}
		next := &d.objects[1]
		if err := d.lens.Lookup(c.Task, unix.AT_FDCWD, name, true, next); err != nil {
			return file, nil, err
		}
		*o, *next = *next, *o
		next.Close()
	}
	return file, nil, unix.ELOOP
}

// executable tells whether the kernel would open o to run it.
func (d *Deriver) executable(c *Call, o *proc.Object) bool {
	return o.IsRegular() && !o.Mount.NoExec && d.lens.MayAccess(c.Task, o, unix.X_OK)
}

// openProgram emits the opening of o, and returns its description in storage
// of its own.
func (d *Deriver) openProgram(c *Call, o *proc.Object) tsem.File {
	f := d.file(c, o, execFlags)
	f.Path.Pathname = bytes.Clone(f.Path.Pathname)
	d.emitOpen(c, f)
	return f
}

// scriptInterpreter returns the interpreter that the first line of a script
// names, or nil.
func scriptInterpreter(head []byte) []byte {
	if len(head) < 2 || head[0] != '#' || head[1] != '!' {
		return nil
	}
	line := head[2:]
	end := bytes.IndexByte(line, '\n')
	whole := end >= 0
	if whole {
		line = line[:end]
	}
	line = bytes.TrimLeft(line, " \t")
	name := line
	if i := bytes.IndexAny(line, " \t\x00"); i >= 0 {
		name = line[:i]
	} else if !whole && len(head) == headSize {
		return nil // the name may have been cut
	}
	if len(name) == 0 {
		return nil
	}
	return bytes.Clone(name)
}

// mappings are what the kernel maps of one file of an exec.
func mappings(f *tsem.File, o *proc.Object, image *elfImage, loader bool) []tsem.MmapCell {
	if len(image.segments) == 0 || o.Mount == nil || o.Mount.Pseudo {
		return nil
	}
	cells := make([]tsem.MmapCell, 0, len(image.segments))
	for i, prot := range image.segments {
		flags := uint32(unix.MAP_PRIVATE)
		switch {
		case i > 0:
			flags |= unix.MAP_FIXED
		case !loader && (image.fixed || image.interpreter != nil):
			flags |= unix.MAP_FIXED_NOREPLACE
		case image.fixed:
			flags |= unix.MAP_FIXED
		}
		cells = append(cells, tsem.MmapCell{HasFile: true, File: *f, Prot: prot, Flags: flags})
	}
	return cells
}
