// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// everyday is the calls that programs make most, on things that have been seen
// before.
func everyday(c *caller) map[string]func() {
	path, err := os.Executable()
	if err != nil {
		c.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { file.Close() })
	cwd, err := os.Open(".")
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { cwd.Close() })
	here := uint64(uint32(0xffffff9c)) // AT_FDCWD
	full, name := c.text(path), c.text("bench_test.go")
	fd, dir := uint64(file.Fd()), uint64(cwd.Fd())
	const (
		private  = unix.MAP_PRIVATE
		readExec = unix.PROT_READ | unix.PROT_EXEC
	)
	calls := make(map[string]func())
	for name, f := range map[string]func() []Event{
		"fcntl":      func() []Event { return c.derive("fcntl", fd, unix.F_GETFL) },
		"fstat":      func() []Event { return c.derive("fstat", fd) },
		"newfstatat": func() []Event { return c.derive("newfstatat", dir, name, 0, unix.AT_SYMLINK_NOFOLLOW) },
		"openat":     func() []Event { return c.derive("openat", here, full, unix.O_RDONLY) },
		"mmap2":      func() []Event { return c.derive("mmap2", 0, 4096, readExec, private, fd) },
	} {
		record := tsem.Event{PID: uint32(c.task.TID), Process: []byte("test"), TaskID: c.task.TaskID, PTaskID: c.task.TaskID}
		var buf []byte
		calls[name] = func() {
			events := f()
			if len(events) != 1 {
				c.Fatalf("%s: %d events", name, len(events))
			}
			record.SetCell(events[0].Type, events[0].Cell)
			buf = record.AppendJSON(buf[:0])
		}
	}
	return calls
}

// In the long run a record costs no memory.
func TestNoAllocations(t *testing.T) {
	c := newCaller(t)
	for name, f := range everyday(c) {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkCall is a call from its arguments to its record.
func BenchmarkCall(b *testing.B) {
	for _, name := range []string{"fcntl", "fstat", "newfstatat", "openat", "mmap2"} {
		b.Run(name, func(b *testing.B) {
			c := newCaller(b)
			f := everyday(c)[name]
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
