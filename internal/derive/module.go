// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"math"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// What the kernel reads or is given, from linux/kernel_read_file.h.
const (
	readingModule  = 2
	readingKexec   = 3
	readingInitrd  = 4
	fromMemory     = 0 // the hook does not see the contents
	withContents   = 1
	elfHeader      = 64 // the least that init_module takes
	kexecUnload    = 1
	kexecNoInitrd  = 4
	kexecFileKnown = 0x1f
)

// mayLoadModules is the kernel's may_init_module. A kernel without modules has
// no file that lists them.
func (d *Deriver) mayLoadModules(c *Call) error {
	if _, err := os.Stat("/proc/modules"); err != nil {
		return unix.ENOSYS
	}
	if !d.lens.Capable(c.Task, unix.CAP_SYS_MODULE) || isSet("/proc/sys/kernel/modules_disabled") {
		return unix.EPERM
	}
	return nil
}

// isSet tells whether a setting is there and not 0.
func isSet(file string) bool {
	b, err := os.ReadFile(file)
	return err == nil && len(b) > 0 && b[0] != '0'
}

// initModule is init_module: the image comes from memory.
func initModule(d *Deriver, c *Call) error {
	if err := d.mayLoadModules(c); err != nil {
		return err
	}
	if c.Args[1] < elfHeader {
		return unix.ENOEXEC
	}
	d.emit(tsem.KernelLoadData, &tsem.LoadDataCell{ID: readingModule, Contents: withContents})
	return nil
}

// finitModule is finit_module: the image comes from a file.
func finitModule(d *Deriver, c *Call) error {
	if err := d.mayLoadModules(c); err != nil {
		return err
	}
	if c.Args[2]&^7 != 0 {
		return unix.EINVAL
	}
	return d.kernelReads(c, c.arg(0), readingModule, math.MaxInt32)
}

// kernelReads emits the reading of a whole file by the kernel, from descriptor
// fd.
func (d *Deriver) kernelReads(c *Call, fd int32, id int32, limit uint64) error {
	o := &d.objects[0]
	f, err := d.opened(c, c.Task, fd, o)
	switch {
	case err != nil:
		return err
	case f.Flags&unix.O_ACCMODE != unix.O_RDONLY && f.Flags&unix.O_ACCMODE != unix.O_RDWR:
		return unix.EBADF
	case !o.IsRegular(), o.Stat.Size == 0:
		return unix.EINVAL
	case f.Flags&unix.O_ACCMODE == unix.O_RDWR:
		return unix.ETXTBSY
	case o.Stat.Size > limit:
		return unix.EFBIG
	}
	d.emit(tsem.KernelReadFile, &tsem.ReadFileCell{File: f, ID: id, Contents: withContents})
	return nil
}

// mayKexec tells whether another kernel may be loaded.
func (d *Deriver) mayKexec(c *Call) error {
	if _, err := os.Stat("/sys/kernel/kexec_loaded"); err != nil {
		return unix.ENOSYS
	}
	if !d.lens.Capable(c.Task, unix.CAP_SYS_BOOT) || isSet("/proc/sys/kernel/kexec_load_disabled") {
		return unix.EPERM
	}
	return nil
}

// kexecLoad is kexec_load.
func kexecLoad(d *Deriver, c *Call) error {
	if err := d.mayKexec(c); err != nil {
		return err
	}
	d.emit(tsem.KernelLoadData, &tsem.LoadDataCell{ID: readingKexec, Contents: fromMemory})
	return nil
}

// kexecFileLoad is kexec_file_load: the kernel reads an image, and if that is
// one the initial file system.
func kexecFileLoad(d *Deriver, c *Call) error {
	flags := c.Args[4]
	switch err := d.mayKexec(c); {
	case err != nil:
		return err
	case flags&^kexecFileKnown != 0:
		return unix.EINVAL
	case flags&kexecUnload != 0:
		return nil
	}
	if err := d.kernelReads(c, c.arg(0), readingKexec, math.MaxInt32); err != nil {
		return err
	}
	if flags&kexecNoInitrd != 0 || !isKernelImage(&d.objects[0]) {
		return nil
	}
	d.objects[0].Close()
	return d.kernelReads(c, c.arg(1), readingInitrd, math.MaxInt32)
}

// isKernelImage tells whether o begins as the kernels of this architecture do.
func isKernelImage(o *proc.Object) bool {
	head := o.Head(kernelMagicAt + len(kernelMagic))
	return len(head) == kernelMagicAt+len(kernelMagic) && string(head[kernelMagicAt:]) == kernelMagic
}
