// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// atTheEdge puts a path and its NUL at the end of a page behind which is
// nothing, and opens it.
func atTheEdge(path func(dir string) string) func(string, int) error {
	return func(dir string, _ int) error {
		const pages = 2 * 4096
		m, err := unix.Mmap(-1, 0, pages+4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		if err := unix.Mprotect(m[pages:], unix.PROT_NONE); err != nil {
			return err
		}
		name := append([]byte(path(dir)), 0)
		at := m[pages-len(name) : pages]
		copy(at, name)
		_, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&at[0])), 0, 0, 0, 0)
		return zero(errno)
	}
}

// memoryActs have arguments in memory that has edges.
var memoryActs = []act{
	{name: "at the end of a page", prepare: withFile, do: atTheEdge(func(dir string) string { return dir + "/f" }), want: opensF(0)},
	{name: "over a whole page", prepare: withFile, do: atTheEdge(func(dir string) string { return dir + strings.Repeat("/", 4000) + "f" }), want: opensF(0)},
	{name: "4,095 bytes", prepare: withFile, do: atTheEdge(func(dir string) string { return dir + strings.Repeat("/", 4094-len(dir)) + "f" }), want: opensF(0)},
	{name: "4,096 bytes", prepare: withFile, do: atTheEdge(func(dir string) string { return dir + strings.Repeat("/", 4095-len(dir)) + "f" }), errno: unix.ENAMETOOLONG, want: none},
	{name: "without an end", prepare: withFile, do: func(dir string, _ int) error {
		m, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		if err := unix.Mprotect(m[4096:], unix.PROT_NONE); err != nil {
			return err
		}
		name := dir + "/f"
		copy(m[4096-len(name):], name)
		_, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&m[4096-len(name)])), 0, 0, 0, 0)
		return zero(errno)
	}, errno: unix.EFAULT, want: none},
	{name: "in memory that may not be read by itself", prepare: withFile, do: func(dir string, _ int) error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		copy(m, dir+"/f")
		if err := unix.Mprotect(m, unix.PROT_NONE); err != nil {
			return err
		}
		_, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&m[0])), 0, 0, 0, 0)
		return zero(errno)
	}, errno: unix.EFAULT, want: none},
	{name: "in a shared file", prepare: func(s *scene) {
		withFile(s)
		s.write("path", s.path("f")+"\x00", 0o644)
	}, before: func(dir string) (int, error) { return unix.Open(dir+"/path", unix.O_RDONLY, 0) }, do: func(_ string, fd int) error {
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		_, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&m[0])), 0, 0, 0, 0)
		return zero(errno)
	}, want: func(s *scene) []record {
		return []record{
			{tsem.MmapFile, &tsem.MmapCell{HasFile: true, File: s.file("path", largeFile), Prot: unix.PROT_READ, Flags: unix.MAP_SHARED}},
			opened(s.file("f", largeFile)),
		}
	}},
}

func TestArgumentsInMemory(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "memory", options{})
}

// Programs that are executed by descriptor, even such as have no name.
func TestExecByDescriptor(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3")
	script := `import os, sys
fd = os.open("/bin/true", os.O_RDONLY)
if sys.argv[1] == "memfd":
    m = os.memfd_create("prog")
    os.write(m, open("/bin/true", "rb").read())
    fd = os.open(f"/proc/self/fd/{m}", os.O_RDONLY); os.close(m)
os.execve(fd, ["true"], {})
`
	for _, way := range []string{"file", "memfd"} {
		t.Run(way, func(t *testing.T) {
			s := run(t, options{}, "/usr/bin/python3", "-B", "-c", script, way)
			var programs []string
			for _, e := range s.of(tsem.FileOpen) {
				if f := e.Cell.(*tsem.FileCell).File; f.Flags == execFlags && e.TTD == 1 {
					programs = append(programs, string(f.Path.Pathname))
				}
			}
			want := "/usr/bin/true"
			if way == "memfd" {
				want = "/memfd:prog"
			}
			if len(programs) != 2 || programs[0] != want {
				t.Errorf("programs: %q, want %s and its interpreter", programs, want)
			}
			if last := s.events[len(s.events)-1]; last.TTD != 2 {
				t.Errorf("the last event is of ttd %d", last.TTD)
			}
		})
	}
}

// The interpreter of a script may be named from where one stands, and a line
// may end in many ways.
func TestFirstLinesOfScripts(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		text string
		runs bool
	}{
		"relative":         {"#!./cat\n", true},
		"no end":           {"#!/bin/cat", true},
		"spaces behind":    {"#!  /bin/cat  \t \n", true},
		"carriage return":  {"#!/bin/cat\r\n", false},
		"nothing":          {"#!\n", false},
		"only spaces":      {"#!  \n", false},
		"an own long line": {"#!/bin/cat -u" + strings.Repeat(" ", 500) + "\n", true},
		"a cut name":       {"#!/" + strings.Repeat("x", 300) + "\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := openDir(t)
			if err := os.Symlink("/bin/cat", filepath.Join(dir, "cat")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "script"), []byte(row.text), 0o755); err != nil {
				t.Fatal(err)
			}
			s := run(t, options{dir: dir, noisy: true}, "sh", "-c", "./script; :")
			ran := false
			for _, e := range s.events {
				ran = ran || string(e.Process) == "script" && e.TTD > 1
			}
			if ran != row.runs {
				t.Errorf("the script has run: %v; standard error: %s", ran, s.stderr)
			}
			if e := s.opens(filepath.Join(dir, "script")); len(e) == 0 {
				t.Error("the script is not opened")
			}
		})
	}
}
