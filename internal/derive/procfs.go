// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
)

// procFile is what the kernel asks when a file of another task in procfs is
// opened or read.
type procFile struct {
	mode   uint32
	memory bool // of the address space, which kernel threads lack
	read   bool // when it is read, and not when it is opened
}

// procFileOf knows the files of procfs that are not for everybody. Those in a
// directory of their own are known by its name and a slash.
func procFileOf(name string) (f procFile, ok bool) {
	const look, attach = accessRead | accessByFile, accessAttach | accessByFile
	switch name {
	case "environ", "auxv", "maps", "smaps", "smaps_rollup", "numa_maps", "pagemap", "attr/":
		return procFile{mode: look, memory: true}, true
	case "mem":
		return procFile{mode: attach, memory: true}, true
	case "stat":
		return procFile{mode: look | accessNoAudit, read: true}, true
	case "wchan", "io":
		return procFile{mode: look, read: true}, true
	case "syscall", "stack", "personality":
		return procFile{mode: attach, read: true}, true
	}
	return f, false
}

// procName finds out of a path in procfs the number of the task that it leads
// to, and the name of its file; ok is false if it leads to none.
func procName(path []byte) (n int32, name string, ok bool) {
	dir, last := cutLast(path)
	for range 2 {
		rest, number := cutLast(dir)
		if v, err := strconv.ParseInt(string(number), 10, 32); err == nil {
			return int32(v), name + string(last), true
		}
		switch string(number) {
		case "fd", "fdinfo", "ns", "attr", "map_files":
			name, last, dir = string(number)+"/", nil, rest
		default:
			return 0, "", false
		}
	}
	return 0, "", false
}

func cutLast(path []byte) (dir, last []byte) {
	i := bytes.LastIndexByte(path, '/')
	if i < 0 {
		return nil, path
	}
	return path[:i], path[i+1:]
}

// procTask finds the task that a procfs, known by its device, has under a
// number: ours numbers tasks as we do, another is taken for the caller's.
func (d *Deriver) procTask(c *Call, n int32, st *unix.Statx_t) (it task.Details, err error) {
	var own unix.Stat_t
	if unix.Stat("/proc", &own) == nil && unix.Major(own.Dev) == st.Dev_major && unix.Minor(own.Dev) == st.Dev_minor {
		it, err = task.ReadDetails(int(n))
	} else {
		it, err = d.number(c, n)
	}
	if err != nil {
		return it, unix.ENOENT
	}
	return it, nil
}

// procAccess derives the questions about another task that come of opening a
// file of procfs for reading. What the kernel asks only when the file is read
// is told here too, since reads are not seen.
func (d *Deriver) procAccess(c *Call, o *proc.Object, flags uint32) error {
	if o.Mount.Magic != unix.PROC_SUPER_MAGIC {
		return nil
	}
	n, name, ok := procName(o.Path)
	if !ok {
		return nil
	}
	f, ok := procFileOf(name)
	if !ok || f.read && flags&unix.O_ACCMODE == unix.O_WRONLY {
		return nil
	}
	it, err := d.procTask(c, n, &o.Stat)
	if err != nil {
		return err
	}
	if f.memory {
		return d.memoryAccess(c, &it, f.mode)
	}
	return d.access(c, &it, f.mode)
}

// procSearch derives the question that comes of looking into the directory
// with the descriptors of another task.
func (d *Deriver) procSearch(c *Call, o *proc.Object) error {
	if o.Mount.Magic != unix.PROC_SUPER_MAGIC {
		return nil
	}
	path := o.Path
	if o.IsDir() {
		path = append(bytes.Clone(path), '/')
	}
	if n, name, ok := procName(path); ok && name == "fdinfo/" {
		return d.passLink(c, n, &o.Stat)
	}
	return nil
}

// followed derives the question whether a task may pass a link of procfs that
// leads straight to an object: what another task has open, runs, or stands in.
func (d *Deriver) followed(t *task.Task, path []byte, st *unix.Statx_t) error {
	n, name, ok := procName(path)
	if !ok {
		return nil
	}
	switch name {
	case "exe", "cwd", "root", "ns/":
		return d.passLink(&Call{Task: t}, n, st)
	case "fd/", "map_files/":
		err := d.passLink(&Call{Task: t}, n, st)
		if err == nil && d.opts.Own != nil {
			d.shieldLink(&Call{Task: t}, n, st)
		}
		return err
	}
	return nil
}

// passedLink is an answer that has been given for the present call: looking up
// a path can take more than one attempt.
type passedLink struct {
	n   int32
	err error
}

func (d *Deriver) passLink(c *Call, n int32, st *unix.Statx_t) error {
	for _, p := range d.passed {
		if p.n == n {
			return p.err
		}
	}
	it, err := d.procTask(c, n, st)
	if err == nil && d.access(c, &it, accessRead|accessByFile) != nil {
		err = unix.EACCES
	}
	d.passed = append(d.passed, passedLink{n, err})
	return err
}

// readlink is readlink and readlinkat, of which only links in procfs matter.
func readlink(d *Deriver, c *Call) error {
	if c.arg(c.Row.mode) <= 0 {
		return unix.EINVAL
	}
	path, err := d.path(c, c.Row.path, 0)
	if err != nil {
		return nil
	}
	o := &d.objects[0]
	if len(path) == 0 {
		err = d.lens.Descriptor(c.Task, c.dirfd(c.Row.dir), o)
	} else {
		err = d.lens.Lookup(c.Task, c.dirfd(c.Row.dir), path, false, o)
	}
	if err != nil {
		return err
	}
	if o.Mount.Magic != unix.PROC_SUPER_MAGIC || !o.IsSymlink() {
		return nil
	}
	return d.followed(c.Task, o.Path, &o.Stat)
}
