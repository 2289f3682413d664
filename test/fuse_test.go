// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Operations of FUSE, from linux/fuse.h.
const (
	fuseLookup  = 1
	fuseForget  = 2
	fuseGetattr = 3
	fuseOpen    = 14
	fuseRead    = 15
	fuseStatfs  = 17
	fuseRelease = 18
	fuseFlush   = 25
	fuseInit    = 26
	fuseDestroy = 38
	fuseBatch   = 42

	fuseInterrupt = 36
)

var fuseNames = map[uint32]string{fuseLookup: "lookup", fuseGetattr: "getattr", fuseOpen: "open", fuseRead: "read"}

// fuseFS is a small file system with one directory, served by whoever makes it.
// Every name is there. What is called OP.never is never answered in that
// operation (lookup, getattr, open, read) unless it is let go; what is called
// tiny.N has N bytes, anything else a few.
type fuseFS struct {
	dir string
	fd  int

	mu    sync.Mutex
	names []string // of the nodes from 2 on
	held  []fuseRequest
	free  bool // nothing is held any longer
	seen  map[string]int
	slow  func(op string, name string) // called before an answer
}

type fuseRequest struct {
	op           uint32
	unique, node uint64
	data         []byte
}

// fuseContent is what a file holds.
func fuseContent(name string) []byte {
	n := 100
	if _, size, ok := strings.Cut(name, "tiny."); ok {
		fmt.Sscan(size, &n)
	}
	b := make([]byte, n)
	for i := range b {
		b[i] = name[i%len(name)]
	}
	return b
}

// mountFuse mounts a file system at dir; serve must be called.
func mountFuse(dir string) (*fuseFS, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("test", dir, "fuse.test", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &fuseFS{dir: dir, fd: fd, seen: make(map[string]int)}, nil
}

// outsideFuse is a file system that the test itself serves.
func outsideFuse(t *testing.T) *fuseFS {
	t.Helper()
	needFuse(t)
	fs, err := mountFuse(openDir(t))
	if err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	done := make(chan bool)
	go func() {
		fs.serve()
		close(done)
	}()
	t.Cleanup(func() {
		fs.letGo()
		unix.Unmount(fs.dir, unix.MNT_DETACH)
		unix.Close(fs.fd)
		<-done
	})
	return fs
}

// needFuse skips a test that cannot mount a file system of its own.
func needFuse(t *testing.T) {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	if out, err := exec.Command("sh", "-c", "grep -qw fuse /proc/filesystems || modprobe fuse").CombinedOutput(); err != nil {
		t.Skipf("needs FUSE: %s", out)
	}
}

// serve answers until the file system is unmounted.
func (fs *fuseFS) serve() {
	buf := make([]byte, 256<<10)
	for {
		n, err := unix.Read(fs.fd, buf)
		switch err {
		case nil:
		case unix.EINTR, unix.ENOENT, unix.EAGAIN:
			continue
		default:
			return // ENODEV: unmounted
		}
		order := binary.NativeEndian
		r := fuseRequest{op: order.Uint32(buf[4:]), unique: order.Uint64(buf[8:]), node: order.Uint64(buf[16:])}
		r.data = append(r.data, buf[40:n]...)
		if fs.hold(r) {
			continue
		}
		if fs.slow == nil {
			fs.answer(r)
		} else {
			go func() {
				fs.slow(fuseNames[r.op], fs.name(r))
				fs.answer(r)
			}()
		}
	}
}

// hold keeps a request that is not to be answered.
func (fs *fuseFS) hold(r fuseRequest) bool {
	op, name := fuseNames[r.op], fs.name(r)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if op == "" {
		return false
	}
	fs.seen[op+" "+name]++
	if fs.free || !strings.HasPrefix(name, op+".never") {
		return false
	}
	fs.held = append(fs.held, r)
	return true
}

// letGo answers everything that is held, and holds nothing any longer.
func (fs *fuseFS) letGo() {
	fs.mu.Lock()
	held := fs.held
	fs.held, fs.free = nil, true
	fs.mu.Unlock()
	for _, r := range held {
		fs.answer(r)
	}
}

// asked is how often an operation was asked for.
func (fs *fuseFS) asked(op, name string) int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.seen[op+" "+name]
}

// name is what a request is about.
func (fs *fuseFS) name(r fuseRequest) string {
	if r.op == fuseLookup {
		return strings.TrimSuffix(string(r.data), "\x00")
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if i := int(r.node) - 2; i >= 0 && i < len(fs.names) {
		return fs.names[i]
	}
	return ""
}

func (fs *fuseFS) answer(r fuseRequest) {
	order := binary.NativeEndian
	var body []byte
	errno := unix.Errno(0)
	switch r.op {
	case fuseForget, fuseBatch, fuseInterrupt:
		return
	case fuseInit:
		body = make([]byte, 64)
		order.PutUint32(body, 7)
		order.PutUint32(body[4:], 31)
		order.PutUint32(body[20:], 128<<10) // max_write
		order.PutUint32(body[24:], 1)       // time_gran
	case fuseLookup:
		name := fs.name(r)
		fs.mu.Lock()
		fs.names = append(fs.names, name)
		node := uint64(len(fs.names) + 1)
		fs.mu.Unlock()
		body = order.AppendUint64(nil, node)
		body = append(body, make([]byte, 32)...) // nothing is remembered of it
		body = appendAttr(body, node, name)
	case fuseGetattr:
		body = append(body, make([]byte, 16)...)
		body = appendAttr(body, r.node, fs.name(r))
	case fuseOpen:
		body = make([]byte, 16)
	case fuseRead:
		content := fuseContent(fs.name(r))
		offset, size := order.Uint64(r.data[8:]), uint64(order.Uint32(r.data[16:]))
		if offset < uint64(len(content)) {
			body = content[offset:min(offset+size, uint64(len(content)))]
		}
	case fuseStatfs:
		body = make([]byte, 80)
		order.PutUint32(body[44:], 255)
	case fuseRelease, fuseFlush, fuseDestroy:
	default:
		errno = unix.ENOSYS
	}
	if errno != 0 {
		body = nil
	}
	out := order.AppendUint32(nil, uint32(16+len(body)))
	out = order.AppendUint32(out, uint32(-int32(errno)))
	out = order.AppendUint64(out, r.unique)
	unix.Write(fs.fd, append(out, body...))
}

// appendAttr appends what stat shows of a node.
func appendAttr(b []byte, node uint64, name string) []byte {
	order := binary.NativeEndian
	mode, size := uint32(unix.S_IFREG|0o755), uint64(0)
	if node == 1 {
		mode = unix.S_IFDIR | 0o755
	} else {
		size = uint64(len(fuseContent(name)))
	}
	for _, v := range []uint64{node, size, (size + 511) / 512, 1e9, 1e9, 1e9} {
		b = order.AppendUint64(b, v)
	}
	for _, v := range []uint32{0, 0, 0, mode, 1, 0, 0, 0, 4096, 0} {
		b = order.AppendUint32(b, v)
	}
	return b
}
