// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

func mapping(length, prot, flags int, offset uintptr) func(string, int) error {
	return func(_ string, fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, uintptr(length), uintptr(prot), uintptr(flags), uintptr(fd), offset)
		return zero(errno)
	}
}

func mappedF(flags, prot, mapFlags uint32) func(*scene) []record {
	return func(s *scene) []record {
		return []record{{tsem.MmapFile, &tsem.MmapCell{HasFile: true, File: s.file("f", flags), Prot: prot, Flags: mapFlags}}}
	}
}

var mmapActs = []act{
	{name: "private", prepare: withFile, before: openF(0), do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE, 0),
		want: mappedF(largeFile, unix.PROT_READ, unix.MAP_PRIVATE)},
	{name: "shared", prepare: withFile, before: openF(unix.O_RDWR | unix.O_CLOEXEC), do: mapping(4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, 0),
		want: mappedF(largeFile|unix.O_RDWR, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)},
	{name: "executable", prepare: withFile, before: openF(0), do: mapping(4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_POPULATE, 0),
		want: mappedF(largeFile, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_POPULATE)},
	{name: "with a strange offset", prepare: withFile, before: openF(0), do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE, 5), errno: unix.EINVAL, want: none},
	{name: "of O_PATH", prepare: withFile, before: openF(unix.O_PATH), do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE, 0), errno: unix.EBADF, want: none},
	{name: "of nothing", do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE, 0), errno: unix.EBADF, want: none},
	{name: "anonymous and executable", do: mapping(4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 0), want: func(*scene) []record {
		return []record{{tsem.MmapFile, &tsem.MmapCell{Prot: unix.PROT_READ | unix.PROT_EXEC, Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS}}}
	}},
	{name: "anonymous", do: mapping(4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 0), want: none},
	{name: "anonymous, with a descriptor", prepare: withFile, before: openF(0), do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 0), want: none},
	{name: "pseudo file", before: func(string) (int, error) { return unix.MemfdCreate("x", 0) },
		do: mapping(4096, unix.PROT_READ, unix.MAP_SHARED, 0), want: none},
	{name: "device", before: func(string) (int, error) { return unix.Open("/dev/zero", unix.O_RDWR, 0) },
		do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE, 0), want: none},
	{name: "removed file", prepare: withFile, before: func(dir string) (int, error) {
		fd, err := unix.Open(dir+"/f", unix.O_RDONLY, 0)
		if err == nil {
			err = unix.Unlink(dir + "/f")
		}
		return fd, err
	}, do: mapping(4096, unix.PROT_READ, unix.MAP_PRIVATE, 0), want: mappedF(largeFile, unix.PROT_READ, unix.MAP_PRIVATE)},
}

func TestMmapFile(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "mmap", options{})
}

// segments are the protections of what the kernel maps of a program file: its
// loadable segments that have something in the file.
func segments(t *testing.T, path string) (prots []uint32, interpreter string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			interpreter = string(bytes.TrimRight(b, "\x00"))
		}
		if p.Type != elf.PT_LOAD || p.Filesz == 0 {
			continue
		}
		var prot uint32
		for flag, bit := range map[elf.ProgFlag]uint32{elf.PF_R: unix.PROT_READ, elf.PF_W: unix.PROT_WRITE, elf.PF_X: unix.PROT_EXEC} {
			if p.Flags&flag != 0 {
				prot |= bit
			}
		}
		prots = append(prots, prot)
	}
	return prots, interpreter
}

// What the kernel maps of a program and of its interpreter is what their ELF
// headers say.
func TestMappingsOfAProgram(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"/bin/true", "/bin/busybox", "/bin/sh"} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			need(t, program)
			real, err := filepath.EvalSymlinks(program)
			if err != nil {
				t.Fatal(err)
			}
			words := []string{program}
			switch filepath.Base(program) {
			case "busybox":
				words = append(words, "true")
			case "sh":
				words = append(words, "-c", ":")
			}
			s := run(t, options{}, words...)
			prots, interpreter := segments(t, real)
			want := []string{real}
			count := len(prots)
			if interpreter != "" {
				loader, err := filepath.EvalSymlinks(interpreter)
				if err != nil {
					t.Fatal(err)
				}
				more, _ := segments(t, loader)
				prots = append(prots, more...)
				want = append(want, loader)
			}
			for i, path := range want {
				e := s.events[i]
				if c, ok := e.Cell.(*tsem.FileCell); !ok || string(c.File.Path.Pathname) != path || c.File.Flags != execFlags || e.TTD != 0 || string(e.Process) != "quixote-export" {
					t.Errorf("event %d: %s by %s, want the opening of %s", i+1, text(e.Type, e.Cell), e.Process, path)
				}
			}
			for i, prot := range prots {
				e := s.events[len(want)+i]
				path := want[0]
				if i >= count {
					path = want[1]
				}
				c, ok := e.Cell.(*tsem.MmapCell)
				if !ok || c.Prot != prot || string(c.File.Path.Pathname) != path || c.File.Flags != execFlags ||
					c.Flags&unix.MAP_PRIVATE == 0 || e.TTD != 1 || string(e.Process) != filepath.Base(program) {
					t.Errorf("event %d: %s by %s, want a mapping of %s with %d", e.Number, text(e.Type, e.Cell), e.Process, path, prot)
				}
			}
		})
	}
}
