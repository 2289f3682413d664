// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// kin are the ways in which a task can come from the workload, by the name of
// the file that it makes.
var kin = []struct {
	name string
	make func(name string) error
}{
	{"by-thread", func(name string) error {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			done <- os.WriteFile(name, nil, 0o600)
		}()
		return <-done
	}},
	{"by-child", again("touch", &syscall.SysProcAttr{})},
	{"by-sibling", again("touch", &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT})},
	{"by-orphan", again("orphan", &syscall.SysProcAttr{Setsid: true})},
	{"by-prisoner", again("prisoner", &syscall.SysProcAttr{})},
	{"by-mounts", again("touch", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET})},
	{"by-users", again("touch", &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
	})},
	{"by-ring", openByRing},
}

// again makes a child that does an act, and waits for it if that will end.
func again(name string, how *syscall.SysProcAttr) func(string) error {
	return func(file string) error {
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"exe", name, file}, &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: how,
		})
		if err != nil || name == "orphan" || how.Cloneflags&unix.CLONE_PARENT != 0 {
			return err
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return err
		}
		if status != 0 {
			return fmt.Errorf("the child ended with %#x", int(status))
		}
		return nil
	}
}

// multiply does all of it.
func multiply() error {
	for _, k := range kin {
		if err := k.make(k.name); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// touch makes a file as one that has become something first.
func touch(as, name string) error {
	switch as {
	case "orphan":
		for parent := os.Getppid(); os.Getppid() == parent; {
			time.Sleep(time.Millisecond)
		}
	case "prisoner":
		if err := unix.Chroot("."); err != nil {
			return err
		}
		name = "/" + name
	}
	return os.WriteFile(name, nil, 0o600)
}

// Numbers of the kernel (include/uapi/linux/io_uring.h).
const (
	ringParams  = 120
	ringEntries = 0x10000000
	opOpenat    = 18
	inWorker    = 1 << 4
)

// openByRing has a worker of io_uring open a file.
func openByRing(name string) error {
	var p [ringParams]byte
	fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return fmt.Errorf("io_uring_setup: %w", e)
	}
	defer unix.Close(int(fd))
	order := binary.NativeEndian
	at := func(member int) int { return int(order.Uint32(p[member:])) }
	ring, err := unix.Mmap(int(fd), 0, max(at(64)+4*at(0), at(100)+16*at(4)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(ring)
	entry, err := unix.Mmap(int(fd), ringEntries, 64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(entry)
	path := append([]byte(name), 0)
	entry[0], entry[1] = opOpenat, inWorker
	order.PutUint32(entry[4:], uint32(0xffffffff-100+1)) // AT_FDCWD
	order.PutUint64(entry[16:], uint64(uintptr(unsafe.Pointer(unsafe.SliceData(path)))))
	order.PutUint32(entry[24:], 0o600)
	order.PutUint32(entry[28:], unix.O_CREAT|unix.O_WRONLY)
	order.PutUint32(ring[at(64):], 0)
	order.PutUint32(ring[at(44):], 1)
	_, _, e = unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, 1, 1, 1, 0, 0)
	runtime.KeepAlive(path)
	if e != 0 {
		return fmt.Errorf("io_uring_enter: %w", e)
	}
	if result := int32(order.Uint32(ring[at(100)+8:])); result < 0 {
		return fmt.Errorf("openat: %w", syscall.Errno(-result))
	}
	return nil
}

// Whatever comes of the workload is of it, in whatever way it came and wherever
// it has gone to, and nobody else.
func TestWhoIsOfTheWorkload(t *testing.T) {
	needBPF(t)
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv(acts, "1")
	end := make(chan struct{})
	var strangers sync.WaitGroup
	strangers.Go(func() {
		for {
			err := errors.Join(os.WriteFile("stranger", nil, 0o600), exec.Command("/proc/self/exe", "touch", "stranger").Run())
			if err != nil {
				t.Error(err)
			}
			select {
			case <-end:
				return
			default:
			}
		}
	})
	s := watched(t, Options{Model: only(tsem.FileOpen)}, nil, "/proc/self/exe", "multiply")
	close(end)
	strangers.Wait()
	if s.status != 0 || !s.lost.None() {
		t.Errorf("status %d, lost %s", s.status, s.lost)
	}
	made := make(map[string][]*tsem.Event)
	for _, e := range s.events {
		if f, ok := e.Cell.(*tsem.FileCell); ok && e.Type == tsem.FileOpen && filepath.Dir(string(f.File.Path.Pathname)) == dir {
			name := filepath.Base(string(f.File.Path.Pathname))
			made[name] = append(made[name], e)
		}
	}
	numbers := make(map[uint64]string)
	for _, k := range kin {
		if len(made[k.name]) != 1 {
			t.Errorf("%s was opened %d times", k.name, len(made[k.name]))
			continue
		}
		e := made[k.name][0]
		if other := numbers[e.TNum]; other != "" {
			t.Errorf("%s and %s are of the same task", other, k.name)
		}
		numbers[e.TNum] = k.name
		if worker := strings.HasPrefix(string(e.Process), "iou-wrk"); worker != (k.name == "by-ring") {
			t.Errorf("%s is by %s", k.name, e.Process)
		}
		delete(made, k.name)
	}
	for name, of := range made {
		t.Errorf("a stranger has opened %s: %s", name, of[0].AppendJSON(nil))
	}
}
