// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// arena is memory for arguments to point to: an address that 32-bit programs
// have too, and nothing behind it.
const (
	arena     = 0x2000_0000
	arenaSize = 64 << 10
)

// An argument whose upper half is pointing is an address in the arena, at the
// offset in its lower half.
const pointing = 0xaaaa_0000 << 32

func pointer(offset uint64) uint64 { return pointing | offset }

// bench derives calls with any arguments, on a thread of its own.
type bench struct {
	c     *caller
	calls []Call // every row of every set of numbers, without arguments
	jobs  chan func()
}

func newBench(t testing.TB) *bench {
	t.Helper()
	addr, _, errno := unix.RawSyscall6(unix.SYS_MMAP, arena, arenaSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uintptr(0), 0)
	if errno != 0 || addr != arena {
		t.Skipf("needs memory at %#x: %v", arena, errno)
	}
	t.Cleanup(func() { unix.RawSyscall(unix.SYS_MUNMAP, arena, arenaSize, 0) })
	b := &bench{jobs: make(chan func())}
	arches, err := Arches(runtime.GOARCH, Interest{model.Default(), true})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range arches {
		var numbers []int32
		for n := range a.Rows {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		for _, n := range numbers {
			b.calls = append(b.calls, Call{Row: a.Rows[n], Compat: a.Compat})
		}
	}
	ready := make(chan bool)
	go func() {
		b.c = newCaller(t)
		b.c.d.opts.Abspath, b.c.d.opts.Current = true, true
		close(ready)
		for f := range b.jobs {
			f()
		}
		runtime.UnlockOSThread()
	}()
	<-ready
	t.Cleanup(func() { close(b.jobs) })
	return b
}

// derive derives one call, and looks at what comes of it.
func (b *bench) derive(t *testing.T, row uint16, args [6]uint64, memory []byte) {
	t.Helper()
	whole := make([]byte, arenaSize)
	copy(whole, memory)
	local := []unix.Iovec{{Base: &whole[0], Len: arenaSize}}
	if _, err := unix.ProcessVMWritev(os.Getpid(), local, []unix.RemoteIovec{{Base: arena, Len: arenaSize}}, 0); err != nil {
		t.Fatal(err)
	}
	call := b.calls[int(row)%len(b.calls)]
	call.Task, call.Args = b.c.task, args
	for i, v := range args {
		if v&(0xffff_ffff<<32) == pointing {
			call.Args[i] = arena + v%arenaSize
		} else if call.Compat {
			call.Args[i] = uint64(uint32(v))
		}
	}
	done := make(chan any)
	began := time.Now()
	go func() {
		b.jobs <- func() {
			defer func() { done <- recover() }()
			d := b.c.d
			d.Meet(call.Task)
			d.Settle(call.Task)
			for _, e := range d.Derive(&call).Events {
				b.check(t, &call, e)
			}
			d.Undo(call.Task)
		}
	}()
	if p := <-done; p != nil {
		t.Fatalf("%s %x: %v", call.Row.Name, call.Args, p)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("%s %x took %v", call.Row.Name, call.Args, took)
	}
}

// check wants an event that the row announces, and whose record can be read.
func (b *bench) check(t *testing.T, call *Call, e Event) {
	t.Helper()
	// What the last call has made shows with the next one.
	late := []tsem.Type{tsem.BPFMap, tsem.BPFProg}
	if !slices.Contains(call.Row.Events, e.Type) && !slices.Contains(late, e.Type) {
		t.Errorf("%s %x: became %s", call.Row.Name, call.Args, e.Type)
	}
	zero := b.c.d.opts.Algorithm.Zero()
	whole := tsem.Event{Process: []byte("p"), TaskID: zero, PTaskID: zero}
	whole.SetCell(e.Type, e.Cell)
	line := whole.AppendJSON(nil)
	if !json.Valid(line) || bytes.IndexByte(line, '\n') >= 0 {
		t.Fatalf("%s %x: %s", call.Row.Name, call.Args, line)
	}
	var p tsem.Parser
	r, err := p.Parse(line)
	if err != nil {
		t.Fatalf("%s %x: %v: %s", call.Row.Name, call.Args, err, line)
	}
	if again := r.AppendJSON(nil); !bytes.Equal(again, line) {
		t.Errorf("%s %x: read and written again\n%s\nbecomes\n%s", call.Row.Name, call.Args, line, again)
	}
}

// scenes are arguments and memories that come far with many calls: paths, and
// structures of numbers and of addresses.
func scenes() (args [][6]uint64, memories [][]byte) {
	here := uint64(0xffff_ffff_ffff_ff9c)
	args = [][6]uint64{
		{},
		{1, 2, 3, 4, 5, 6},
		{here, pointer(0), 0, pointer(0), 0, 0},
		{here, pointer(0), unix.O_CREAT | unix.O_RDWR, 0o644, 0, 0},
		{pointer(0), pointer(64), pointer(128), pointer(192), pointer(256), pointer(320)},
		{0, pointer(0), 32, pointer(64), pointer(128), 8},
		{pointer(arenaSize - 3), pointer(arenaSize - 1), pointer(arenaSize - 9), 1, pointer(arenaSize - 5), 1 << 40},
		{1 << 63, 1<<63 - 1, ^uint64(0), 1 << 31, 1<<32 - 1, 4096},
	}
	addresses := make([]byte, 0, 512)
	for i := range uint64(64) {
		addresses = binary.NativeEndian.AppendUint64(addresses, arena+8*i)
	}
	narrow := make([]byte, 0, 512)
	for i := range uint32(128) {
		narrow = binary.NativeEndian.AppendUint32(narrow, arena+4*i)
	}
	path := func(names ...string) (b []byte) {
		for _, name := range names {
			b = append(b, append([]byte(name), make([]byte, 64-len(name))...)...)
		}
		return b
	}
	return args, [][]byte{
		nil,
		path("/bin/sh", "/etc/passwd", "user.x", "tmpfs", "/", "a/../b"),
		path("/proc/self/fd/0", "/proc/self/root/..", "security.capability", "..", "/dev/kmsg", "/proc/self/exe"),
		addresses,
		narrow,
		bytes.Repeat([]byte{0xff}, 4096),
		bytes.Repeat([]byte("/a"), 4096),
	}
}

// FuzzDerive derives every call of the table from any arguments and memory.
func FuzzDerive(f *testing.F) {
	b := newBench(f)
	args, memories := scenes()
	for row := range b.calls {
		for i := range 3 { // TestDerivationsLeakNothing has all of them
			a, m := args[(row+3*i)%len(args)], memories[(row+i)%len(memories)]
			f.Add(uint16(row), a[0], a[1], a[2], a[3], a[4], a[5], m)
		}
	}
	f.Fuzz(func(t *testing.T, row uint16, a0, a1, a2, a3, a4, a5 uint64, memory []byte) {
		b.derive(t, row, [6]uint64{a0, a1, a2, a3, a4, a5}, memory)
	})
}

// Whatever a call is made with, its derivation keeps no descriptor open.
func TestDerivationsLeakNothing(t *testing.T) {
	b := newBench(t)
	args, memories := scenes()
	var open [2]int
	for round := range open {
		for row := range b.calls {
			for _, a := range args {
				for _, m := range memories {
					b.derive(t, uint16(row), a, m)
				}
			}
		}
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		open[round] = len(all)
	}
	if open[1] > open[0]+2 { // of the runtime
		t.Errorf("%d descriptors are open, and then %d", open[0], open[1])
	}
}
