// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// program is a file that lies deep and never changes.
func program(b *testing.B) []byte {
	b.Helper()
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	return []byte(path)
}

// BenchmarkResolve is what it takes to find out what a call is about.
func BenchmarkResolve(b *testing.B) {
	l, self := lensOnSelf(b)
	path := program(b)
	file, err := os.Open(string(path))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	var o Object
	defer o.Close()
	for _, bench := range []struct {
		name string
		f    func() error
	}{
		{"descriptor", func() error { return l.Descriptor(self, int32(file.Fd()), &o) }},
		{"name", func() error { return l.Lookup(self, unix.AT_FDCWD, []byte("bench_test.go"), true, &o) }},
		{"path", func() error { return l.Lookup(self, unix.AT_FDCWD, path, true, &o) }},
		{"link", func() error { return l.Lookup(self, unix.AT_FDCWD, []byte("/proc/mounts"), true, &o) }},
		{"flags", func() error { _, err := l.FDInfo(self, int32(file.Fd())); return err }},
		{"access", func() error {
			if !l.MayAccess(self, &o, unix.R_OK) {
				return unix.EACCES
			}
			return nil
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			// Each benchmark has a goroutine of its own.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			self.TID = unix.Gettid()
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkString reads a path from memory.
func BenchmarkString(b *testing.B) {
	l, self := lensOnSelf(b)
	path := append(program(b), 0)
	var buf []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = l.String(self, buf[:0], addressOf(path), PathMax); err != nil {
			b.Fatal(err)
		}
	}
	runtime.KeepAlive(path)
}

// BenchmarkDigest is the look-up of a digest that is known.
func BenchmarkDigest(b *testing.B) {
	l, self := lensOnSelf(b)
	var o Object
	if err := l.Lookup(self, unix.AT_FDCWD, []byte("/bin/sh"), true, &o); err != nil {
		b.Skip(err)
	}
	defer o.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, missing := l.World.Digests.Of(&o, nil); missing != "" {
			b.Fatal(missing)
		}
	}
}
