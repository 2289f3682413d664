// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quixote-export/internal/vm/inside"
	"quixote-export/tsem"
)

// needTrace skips where such programs cannot be loaded.
func needTrace(t testing.TB) {
	t.Helper()
	if err := ProbeTrace(); err != nil {
		t.Skip(err)
	}
}

func TestTraceTellsInFull(t *testing.T) {
	needTrace(t)
	t.Chdir(t.TempDir())
	t.Setenv(acts, "1")
	begun := time.Now()
	s := watched(t, Options{Trace: true, Timestamp: true}, nil, "/proc/self/exe", "deeds", strconv.Itoa(len(callDeeds)))
	if !s.lost.None() {
		t.Errorf("lost %s", s.lost)
	}
	s.tells(t, len(callDeeds))
	s.beginsWithTheExec(t, begun)
}

func TestTraceOfParallelForks(t *testing.T) {
	needTrace(t)
	testForks(t, Options{Trace: true}, 200)
}

func TestTraceOfAFloodOnASmallRing(t *testing.T) {
	needTrace(t)
	testFlood(t, Options{Trace: true, Ring: 4096})
}

// The paths that names.h follows: up, through links and mounts, and such that lead
// nowhere.
func TestTraceFollowsPaths(t *testing.T) {
	needTrace(t)
	dir := t.TempDir()
	t.Chdir(dir)
	s := watched(t, Options{Trace: true}, nil, "sh", "-c", `set -e
mkdir -p a/b/c
echo x > a/b/c/file
ln -s b/c a/short
ln -s "$PWD/a/short/../c" far
ln -s far/file link
cd a/b
stat -L -c %i ./../../link
stat -c %i ../../link
stat -c %i .//c///file
stat -c %i /proc/self/../self/../1/status
ln -s nowhere lost
stat -c %i lost
rm lost
! rm nothing
rm -r ../../a
`)
	got := make(map[string]bool)
	gone := make(map[string]bool)
	for _, e := range s.events {
		switch c := e.Cell.(type) {
		case *tsem.GetattrCell:
			if string(e.Process) == "stat" {
				got[string(c.Path.Path.Pathname)] = true
			}
		case *tsem.RemoveCell:
			if c.Dentry.HasInode && c.Dir.Mode != 0 {
				gone[string(c.Dentry.Path.Pathname)] = true
			}
		}
	}
	for _, name := range []string{"/a/b/c/file", "/link", "/a/b/lost"} {
		if !got[dir+name] {
			t.Errorf("nobody has asked for %s", name)
		}
	}
	if !got["nodev:/"] {
		t.Error("nobody has asked for a file of procfs")
	}
	for _, name := range []string{"/a/b/lost", "/a/b/c/file", "/a/short", "/a/b/c", "/a/b", "/a"} {
		if !gone[dir+name] {
			t.Errorf("%s was not removed", name)
		}
	}
	if len(gone) != 6 {
		t.Errorf("removed: %v", gone)
	}
}

// The kernel takes a module from a file, or from memory where its loader unpacks it.
func TestTraceOfModules(t *testing.T) {
	needTrace(t)
	const module = "dummy"
	find := exec.Command("modprobe", "--show-depends", module)
	out, err := find.Output()
	if _, missing := os.Stat("/proc/modules"); missing != nil || err != nil {
		t.Skipf("no modules here: %v", errors.Join(missing, err))
	}
	if strings.HasPrefix(string(out), "builtin") {
		t.Skip("it is built into the kernel: ", module)
	}
	exec.Command("modprobe", "-r", module).Run()
	s := watched(t, Options{Trace: true}, nil, "modprobe", module)
	exec.Command("modprobe", "-r", module).Run()
	for _, e := range s.events {
		switch c := e.Cell.(type) {
		case *tsem.LoadDataCell:
			if *c == (tsem.LoadDataCell{ID: readingModule, Contents: 1}) {
				return
			}
			t.Errorf("got %+v", c)
		case *tsem.ReadFileCell:
			if c.ID >= readingModule && c.Contents == 1 && strings.Contains(string(c.File.Path.Pathname), "/"+module+".ko") {
				return
			}
			t.Errorf("got %s", e.AppendJSON(nil))
		}
	}
	t.Error("nobody has loaded a module")
}

// Where quotas are kept in a file, turning them on tells of that. It changes the root
// file system, which is done in a virtual machine alone.
func TestTraceOfQuotas(t *testing.T) {
	needTrace(t)
	if os.Getenv(inside.Env) == "" {
		t.Skip("this is not a virtual machine of ours")
	}
	t.Setenv(acts, "1")
	s := watched(t, Options{Trace: true}, nil, "/proc/self/exe", "quotas")
	var commands []int32
	file := ""
	for _, e := range s.events {
		switch c := e.Cell.(type) {
		case *tsem.QuotactlCell:
			commands = append(commands, c.Cmds)
			if string(c.FSType) != "ext4" || c.Type != 0 || string(c.Dentry.Path.Pathname) != "/" || !c.Dentry.HasInode {
				t.Errorf("got %s", e.AppendJSON(nil))
			}
		case *tsem.DentryCell:
			if e.Type == tsem.QuotaOn {
				file = string(c.Dentry.Path.Pathname)
			}
		}
	}
	if s.status != 0 {
		t.Skip("this kernel turns no quotas on")
	}
	if file != "/quota" || !slices.Equal(commands, []int32{0x800002, 0x800003}) {
		t.Errorf("commands %#x, quotas in %q", commands, file)
	}
}

// A table is found from the places of names in it, unless that is ambiguous.
func TestNameTable(t *testing.T) {
	const table, shift = uint64(0xffff888000100000), 13
	var pairs []byte
	put := func(at uint64, hash, computed uint32) {
		pairs = binary.NativeEndian.AppendUint64(pairs, at)
		pairs = binary.NativeEndian.AppendUint64(pairs, uint64(hash)<<32|uint64(computed))
	}
	if _, _, ok := nameTable(nil); ok {
		t.Error("found in nothing")
	}
	put(table+8*(0x12345678>>shift), 0x12345678, 0x12345678)
	if _, _, ok := nameTable(pairs); ok {
		t.Error("found with one name")
	}
	for _, hash := range []uint32{0xdeadbeef, 0x00c0ffee, 0x7fffffff} {
		put(table+8*uint64(hash>>shift), hash, hash)
	}
	put(12345, 1, 2) // its hash is made in another way
	if at, by, ok := nameTable(pairs); !ok || at != table || by != shift {
		t.Errorf("found %x, %d, %v", at, by, ok)
	}
	put(12345, 3, 3)
	if _, _, ok := nameTable(pairs); ok {
		t.Error("found though one does not fit")
	}
}
