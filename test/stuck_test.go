// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// From linux/userfaultfd.h.
const (
	uffdAPI        = 0xc018aa3f
	uffdRegister   = 0xc020aa00
	uffdCopy       = 0xc028aa03
	uffdThreadID   = 1 << 8
	uffdMissing    = 1
	uffdMessage    = 32
	uffdIsFault    = 0x12
	uffdFaultPoint = 16
	uffdFaultTID   = 24
)

// faultPages are pages that this process fills when somebody looks at them.
type faultPages struct {
	fd  int
	mem []byte
}

func newFaultPages(n int) (*faultPages, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return nil, fmt.Errorf("userfaultfd: %w", errno)
	}
	call := func(request uintptr, words ...uint64) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(&words[0])))
		return zero(errno)
	}
	if err := call(uffdAPI, 0xaa, uffdThreadID, 0); err != nil {
		return nil, err
	}
	mem, err := unix.Mmap(-1, 0, n*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	return &faultPages{int(fd), mem}, call(uffdRegister, uint64(uintptr(unsafe.Pointer(&mem[0]))), uint64(len(mem)), uffdMissing, 0)
}

// page is the address of a page.
func (p *faultPages) page(i int) uintptr { return uintptr(unsafe.Pointer(&p.mem[i*4096])) }

// next waits until somebody looks at a page, and tells who.
func (p *faultPages) next() (page, tid int, err error) {
	b := make([]byte, uffdMessage)
	for {
		n, err := unix.Read(p.fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != uffdMessage || b[0] != uffdIsFault {
			return 0, 0, fmt.Errorf("userfaultfd: %d bytes, %w", n, err)
		}
		order := binary.NativeEndian
		at := uintptr(order.Uint64(b[uffdFaultPoint:]))
		return int(at-p.page(0)) / 4096, int(order.Uint32(b[uffdFaultTID:])), nil
	}
}

// fill gives a page its content.
func (p *faultPages) fill(page int, text string) error {
	content := make([]byte, 4096)
	copy(content, text)
	words := [5]uint64{uint64(p.page(page)), uint64(uintptr(unsafe.Pointer(&content[0]))), 4096, 0, 0}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(p.fd), uffdCopy, uintptr(unsafe.Pointer(&words[0])))
	runtime.KeepAlive(content)
	if errno == unix.EEXIST {
		return nil
	}
	return zero(errno)
}

// opensPage opens the path at a page, on a thread with a name of its own.
func (p *faultPages) opensPage(page int, name string) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		setName(name)
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), p.page(page), 0, 0, 0, 0)
		if errno == 0 {
			unix.Close(int(fd))
		}
		done <- zero(errno)
	}()
	return done
}

// servePath opens a path in a page that this process fills only after it has
// made calls itself, which are watched as well.
func servePath(args []string) error {
	p, err := newFaultPages(1)
	if err != nil {
		return err
	}
	done := p.opensPage(0, "opener")
	if _, _, err := p.next(); err != nil {
		return err
	}
	for range 20 {
		if _, err := os.ReadFile(args[0]); err != nil {
			return err
		}
	}
	if err := p.fill(0, args[0]); err != nil {
		return err
	}
	return <-done
}

// serveOnlyItself fills the page only for its own threads: nobody else may look
// at it.
func serveOnlyItself(args []string) error {
	p, err := newFaultPages(1)
	if err != nil {
		return err
	}
	began := time.Now()
	done := p.opensPage(0, "opener")
	for {
		_, tid, err := p.next()
		if err != nil {
			return err
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); err == nil {
			break
		}
	}
	fmt.Println("own look after", time.Since(began).Round(time.Second))
	if err := p.fill(0, args[0]); err != nil {
		return err
	}
	return <-done
}

// A path in memory that a task of the workload serves is waited for, while the
// others go on.
func TestPathServedByTheWorkload(t *testing.T) {
	needRoot(t)
	t.Parallel()
	file := filepath.Join(openDir(t), "f")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{}, anActor(t, "serve-path", file)...)
	n := 0
	for _, e := range s.opens(file) {
		if string(e.Process) == "opener" {
			n++
		}
	}
	if n != 1 || len(s.opens(file)) != 21 {
		t.Errorf("%d opens are recorded, %d of them by the opener", len(s.opens(file)), n)
	}
}

// A path that is never served to us does not keep the call from being made.
func TestPathThatNobodyElseMayRead(t *testing.T) {
	needRoot(t)
	t.Parallel()
	file := filepath.Join(openDir(t), "f")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{status: 123, lost: true, stderr: "does not answer"}, anActor(t, "serve-itself", file)...)
	if !strings.HasPrefix(s.stdout, "own look after 4s") {
		t.Errorf("the actor: %q", s.stdout)
	}
	e := s.by("opener")
	if len(e) < 1 || e[len(e)-1].Type != tsem.FileOpen {
		t.Fatalf("the opener has %d records", len(e))
	}
	f := e[len(e)-1].Cell.(*tsem.FileCell).File
	if f.Path.Missing != "stalled" || f.DigestMissing != "stalled" || len(f.Path.Pathname) > 0 {
		t.Errorf("recorded as %+v", f)
	}
	if len(s.lost) != 1 || s.lost[0].Cause != "stalled" || s.lost[0].Count != "" {
		t.Errorf("lost: %+v", s.lost)
	}
}

// serveFuse mounts a file system at the first argument and serves it for the
// command in the others, which it runs. When that has ended it kills itself
// without a word, as the unmount would wait for what is stuck.
func serveFuse(args []string) error {
	fs, err := mountFuse(args[0])
	if err != nil {
		return err
	}
	go fs.serve()
	c := exec.Command(args[1], args[2:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	err = c.Run()
	unix.Unmount(args[0], unix.MNT_DETACH)
	return err
}

// A file system that the workload serves itself is like any other.
func TestFilesServedByTheWorkload(t *testing.T) {
	needFuse(t)
	t.Parallel()
	dir := openDir(t)
	s := run(t, options{dir: openDir(t)}, anActor(t, "serve-fuse", dir, "sh", "-c",
		fmt.Sprintf("cat %[1]s/plain %[1]s/tiny.300000 | wc -c; stat -c %%s %[1]s/plain", dir))...)
	if s.stdout != "300100\n100\n" {
		t.Errorf("got %q", s.stdout)
	}
	for _, name := range []string{"plain", "tiny.300000"} {
		e := s.opens(filepath.Join(dir, name))
		if len(e) != 1 {
			t.Fatalf("%d opens of %s", len(e), name)
		}
		f := e[0].Cell.(*tsem.FileCell).File
		if want := fmt.Sprintf("%x", sha256.Sum256(fuseContent(name))); fmt.Sprintf("%x", []byte(f.Digest)) != want || string(f.Inode.SID) != "fuse.test" && string(f.Inode.SID) != "fuse" {
			t.Errorf("%s is recorded as %+v", name, f)
		}
	}
}

// What a server of the workload never answers keeps those waiting who ask it,
// and nobody else; and it does not keep the workload from being ended.
func TestFilesThatAreNeverServed(t *testing.T) {
	needFuse(t)
	t.Parallel()
	dir := openDir(t)
	for _, op := range []string{"lookup", "getattr", "open", "read"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(dir, op)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			// The file is a program, too. The others begin when the first is
			// stuck in the kernel itself: we have given it up by then.
			script := fmt.Sprintf(`cat %[1]s/%[2]s.never > got & pid=$!
				i=0; while [ $i -lt 30 ]; do cat /etc/hostname > /dev/null; i=$((i+1)); done; echo others
				until grep -Eq "fuse_|d_alloc_parallel" /proc/$pid/stack; do sleep 0.1; done; echo stuck
				kill $PPID; wait`, dir, op)
			began := time.Now()
			o := options{dir: openDir(t), status: 128 + 15, lost: op != "read", noisy: true}
			s := run(t, o, anActor(t, "serve-fuse", dir, "sh", "-c", script)...)
			if s.stdout != "others\nstuck\n" {
				t.Errorf("got %q, %q", s.stdout, s.stderr)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			n, blank := 0, 0
			for _, e := range s.by("cat") {
				if e.Type != tsem.FileOpen {
					continue
				}
				switch f := e.Cell.(*tsem.FileCell).File; {
				case string(f.Path.Pathname) == "/etc/hostname":
					n++
				case f.Path.Missing == "stalled", string(f.Path.Pathname) == dir+"/"+op+".never" && f.DigestMissing == "stalled":
					blank++
				}
			}
			if n != 30 || blank != 1 {
				t.Errorf("%d opens of others, %d that are stuck", n, blank)
			}
		})
	}
}
