// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
)

// What a program begins with is remembered once it has settled, and read again
// when it has changed.
func TestPrograms(t *testing.T) {
	c := newCaller(t)
	path := t.TempDir() + "/script"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	programs := newPrograms()
	look := func() *programFile {
		t.Helper()
		var o proc.Object
		defer o.Close()
		if err := c.d.lens.Lookup(c.task, unix.AT_FDCWD, []byte(path), true, &o); err != nil {
			t.Fatal(err)
		}
		return programs.of(&o)
	}
	remembered := func() *programFile {
		for last := look(); ; last = look() {
			if f := look(); f == last {
				return f
			}
		}
	}
	write("#!/bin/sh\n")
	if f := remembered(); string(f.head) != "#!/bin/sh\n" || f.err != errNotELF {
		t.Errorf("%q, %v", f.head, f.err)
	}
	write("#!/bin/ed\n")
	if f := look(); string(f.head) != "#!/bin/ed\n" {
		t.Errorf("after a change: %q", f.head)
	}
	if f := remembered(); string(f.head) != "#!/bin/ed\n" {
		t.Errorf("when it has settled: %q", f.head)
	}
}
