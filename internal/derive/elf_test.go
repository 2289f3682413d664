// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"debug/elf"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

func TestScriptInterpreter(t *testing.T) {
	long := "#!/" + string(bytes.Repeat([]byte("x"), headSize))
	for in, want := range map[string]string{
		"#!/bin/sh\n":            "/bin/sh",
		"#! \t/bin/sh -e x\n":    "/bin/sh",
		"#!/bin/sh":              "/bin/sh",
		"#!interp\targ\n":        "interp",
		"#!/bin/sh -e":           "/bin/sh",
		"#!\n":                   "",
		"#!   \n/bin/sh":         "",
		"#":                      "",
		"":                       "",
		"\x7fELF":                "",
		long[:headSize]:          "",
		long[:headSize-2] + " x": long[2 : headSize-2],
	} {
		if got := string(scriptInterpreter([]byte(in))); got != want {
			t.Errorf("%.20q: got %q, want %q", in, got, want)
		}
	}
}

func object(t testing.TB, path string) *proc.Object {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	alg, err := tsem.AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	world, err := proc.NewWorld(alg)
	if err != nil {
		t.Fatal(err)
	}
	lens, err := world.NewLens()
	if err != nil {
		t.Fatal(err)
	}
	self := &task.Task{TID: unix.Gettid(), TGID: os.Getpid()}
	if err := self.Status.ReadStatus(self.TID, make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	o := &proc.Object{}
	if err := lens.Lookup(self, unix.AT_FDCWD, []byte(path), true, o); err != nil {
		t.Skipf("%s is missing: %v", path, err)
	}
	t.Cleanup(o.Close)
	return o
}

// The headers are read as debug/elf reads them.
func TestParseELF(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{self, "/bin/sh", "/lib64/ld-linux-x86-64.so.2"} {
		o := object(t, path)
		image, err := parseELF(o.Head(headSize), o)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var segments []uint32
		interpreter := ""
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && p.Filesz > 0 {
				prot := uint32(0)
				for flag, bit := range map[elf.ProgFlag]uint32{elf.PF_R: unix.PROT_READ, elf.PF_W: unix.PROT_WRITE, elf.PF_X: unix.PROT_EXEC} {
					if p.Flags&flag != 0 {
						prot |= bit
					}
				}
				segments = append(segments, prot)
			}
			if p.Type == elf.PT_INTERP {
				b := make([]byte, p.Filesz-1)
				if _, err := p.ReadAt(b, 0); err != nil {
					t.Fatal(err)
				}
				interpreter = string(b)
			}
		}
		if len(segments) != len(image.segments) {
			t.Errorf("%s: %d segments, want %d", path, len(image.segments), len(segments))
			continue
		}
		for i := range segments {
			if segments[i] != image.segments[i] {
				t.Errorf("%s: segment %d has protection %d, want %d", path, i, image.segments[i], segments[i])
			}
		}
		if string(image.interpreter) != interpreter || image.fixed != (f.Type == elf.ET_EXEC) {
			t.Errorf("%s: interpreter %q, fixed %v", path, image.interpreter, image.fixed)
		}
	}
}

func FuzzParseELF(f *testing.F) {
	o := object(f, "/bin/sh")
	f.Add(o.Head(headSize))
	f.Fuzz(func(_ *testing.T, head []byte) {
		parseELF(head, o)
		scriptInterpreter(head)
	})
}
