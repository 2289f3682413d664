// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package tsem reads the events that a TSEM kernel writes, through its control
// plane in securityfs.
//
// The kernel does not answer by the name of a file but by the task that asks:
// a context belongs to the thread that has made the child which entered it,
// and that thread alone learns its number and gets its events. So three
// processes have a part in this source, as in package workload:
//
//   - Enter, in the child, writes the command that makes the context, and waits.
//   - Read, on the main thread of the watchdog, which is the one that has forked,
//     learns the number, opens the stream and reads it: one positioned read a
//     record, straight into the ledger.
//   - Attach, in the supervisor, asks Read to begin, and hands what has come to
//     the exporter.
//
// What this buys: the context outlives the supervisor. When that is killed the
// watchdog kills the workload, reads what the kernel still has of it, and
// delivers it. When the watchdog is killed, what the kernel still had is gone
// with it; the supervisor kills the workload, and the stream says that it is cut.
//
// Every record is given that the kernel gave, in its order, byte for byte if it
// is valid JSON and otherwise repaired. A number that does not come is told as
// a loss.
package tsem

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultRoot is where securityfs is.
const DefaultRoot = "/sys/kernel/security"

// names of the control plane, within securityfs.
const (
	fileLSM       = "lsm"
	fileControl   = "tsem/control"
	fileID        = "tsem/id"
	fileAggregate = "tsem/aggregate"
	// The stream of a context: a file of its own in kernels up to the spring of
	// 2025, then one file for whoever reads it.
	dirExternal = "tsem/external_tma"
	fileExport  = "tsem/export"
)

// rootExport is what makes a kernel export the root context.
const rootExport = "tsem_mode=root_export_only"

// plane is the control plane as the calling process sees it.
type plane struct {
	dir  int    // securityfs
	root string // its path, for messages
	// tell is called with each thing that was asked of the kernel, and how it
	// answered, refusals too. It may be nil.
	tell func(exchange)
}

// exchange is one thing asked of the kernel and its answer, for the debug log.
type exchange struct {
	Did    string // what was done
	File   string // with which file
	Answer string
	At     time.Time
	Took   time.Duration
}

// exchanged tells of what was asked since then.
func (p *plane) exchanged(did, name, answer string, err error, since time.Time) {
	if p.tell == nil {
		return
	}
	if errno, ok := err.(unix.Errno); ok {
		answer = fmt.Sprintf("%s (%v)", unix.ErrnoName(errno), errno)
	}
	p.tell(exchange{did, p.path(name), answer, since, time.Since(since)})
}

// openPlane finds securityfs. Where it is not mounted it is mounted for this
// process alone, at no place that anybody else sees.
func openPlane(root string) (*plane, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		p := &plane{dir: dir, root: root}
		if root != DefaultRoot || p.has(fileLSM) {
			return p, nil
		}
		p.close()
	}
	if root != DefaultRoot {
		return nil, fmt.Errorf("cannot open the control plane %s: %w", root, err)
	}
	if dir, err = mountPrivately("securityfs"); err != nil {
		return nil, fmt.Errorf("securityfs is not mounted on %s, and cannot be: %w", root, err)
	}
	return &plane{dir: dir, root: root}, nil
}

// mountPrivately makes a mount that is nowhere.
func mountPrivately(kind string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}

func (p *plane) close() { unix.Close(p.dir) }

func (p *plane) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(p.dir, name, &st, 0) == nil
}

func (p *plane) path(name string) string { return p.root + "/" + name }

// open opens a file of the plane, and closes it when it is not wanted any more
// itself: descriptors here are short-lived, but for the stream's.
func (p *plane) open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(p.dir, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// command writes one command to the control file. The calling thread is the one
// that it is about.
func (p *plane) command(line string) error {
	since, n := time.Now(), 0
	fd, err := p.open(fileControl, unix.O_WRONLY)
	if err == nil {
		defer unix.Close(fd)
		for {
			if n, err = unix.Write(fd, []byte(line+"\n")); err != unix.EINTR {
				break
			}
		}
	}
	p.exchanged("write "+line, fileControl, fmt.Sprintf("%d bytes taken", n), err, since)
	if err == nil && n != len(line)+1 {
		// Some errors come without their sign.
		return fmt.Errorf("it takes %d bytes of %d", n, len(line)+1)
	}
	return err
}

// id asks for the number of the context that the calling thread manages. There is
// none when the kernel says so, in one of its two ways: 0 is that of the root
// context, and known tells whether it was given.
func (p *plane) id() (number uint64, known bool, err error) {
	since := time.Now()
	fd, err := p.open(fileID, unix.O_RDONLY)
	var b [32]byte
	n := 0
	if err == nil {
		defer unix.Close(fd)
		for {
			if n, err = unix.Read(fd, b[:]); err != unix.EINTR {
				break
			}
		}
	}
	text := strings.TrimSpace(string(b[:max(n, 0)]))
	p.exchanged("read", fileID, strconv.Quote(text), err, since)
	if err == unix.ENOENT && p.has(fileID) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("cannot read %s: %w", p.path(fileID), err)
	}
	number, err = strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("%s holds %q, which is no number", p.path(fileID), text)
	}
	return number, true, nil
}

// stream opens that of the context which the calling thread manages. Its name
// is the number in one generation of the control plane; in both it is the
// thread that counts.
func (p *plane) stream(context uint64) (fd int, name string, err error) {
	open := func() {
		since := time.Now()
		fd, err = p.open(name, unix.O_RDONLY)
		p.exchanged("open", name, "descriptor "+strconv.Itoa(fd), err, since)
	}
	name = dirExternal + "/" + strconv.FormatUint(context, 10)
	if open(); err == nil {
		return fd, name, nil
	}
	if err == unix.ENOENT && p.has(fileExport) && (context != 0 || !p.has(dirExternal)) {
		name = fileExport
		open()
	}
	if err == unix.ENOENT && context == 0 {
		return -1, name, errNoRootExport
	}
	if err != nil {
		return -1, name, fmt.Errorf("cannot open the stream of events %s: %w", p.path(name), err)
	}
	return fd, name, nil
}

// inRoot tells whether this process is in the root context. In another one, of
// which it manages none, it must not read events: kernels die of it. They open
// this file to those who are in the root context, or manage one.
func (p *plane) inRoot() bool {
	since := time.Now()
	fd, err := p.open(fileAggregate, unix.O_RDONLY)
	p.exchanged("open", fileAggregate, "descriptor "+strconv.Itoa(fd), err, since)
	if err == nil {
		unix.Close(fd)
	}
	return err != unix.EACCES
}

var errInContext = errors.New("this process is in a context of the kernel's itself, where the root context cannot be read: start it outside")

var errNoRootExport = errors.New("the kernel does not export the root context: boot it with " + rootExport + " on its command line")

// exportsRoot tells whether the kernel was told to export the root context. It
// is all there is to tell an empty stream from none.
func exportsRoot() bool {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return true // who can tell
	}
	for _, word := range bytes.Fields(line) {
		if string(word) == rootExport || string(word) == "tsem_mode=2" { // as of older kernels
			return true
		}
	}
	return false
}

// Probe tells whether this host offers the source: nil, or one line that says
// what is missing. root is securityfs.
func Probe(root string) error {
	if !haveMacAdmin() {
		return errors.New("the capability CAP_MAC_ADMIN is needed (run as root)")
	}
	p, err := openPlane(root)
	if err != nil {
		return err
	}
	defer p.close()
	fd, err := p.open(fileLSM, unix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", p.path(fileLSM), err)
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", p.path(fileLSM), err)
	}
	list := strings.TrimSpace(string(b[:n]))
	found := false
	for name := range strings.SplitSeq(list, ",") {
		found = found || name == "tsem"
	}
	switch {
	case !found:
		return fmt.Errorf("the kernel has no TSEM, or it is not active (%s: %s)", p.path(fileLSM), list)
	case !p.has(fileControl):
		return fmt.Errorf("TSEM is active, but there is no control plane %s", p.path("tsem"))
	}
	return nil
}

// haveMacAdmin tells whether the calling thread may use the control plane.
func haveMacAdmin() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[unix.CAP_MAC_ADMIN/32].Effective&(1<<(unix.CAP_MAC_ADMIN%32)) != 0
}
