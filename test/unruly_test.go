// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// install puts a seccomp filter on the calling thread.
func install(flags uintptr, prog ...unix.SockFilter) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	p := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&p)))
	return zero(errno)
}

func returns(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

// ownFilters has seccomp filters of its own beside ours: one with a listener,
// which the kernel refuses, and one for all threads that refuses mkdirat.
func ownFilters(args []string) error {
	runtime.LockOSThread()
	done := make(chan error)
	act := make(chan bool)
	go func() {
		runtime.LockOSThread()
		<-act
		setName("filtered")
		_, _, errno := unix.Syscall(unix.SYS_MKDIRAT, ^uintptr(99), addr(append([]byte(args[0]+"/d"), 0)), 0o755)
		if errno != unix.EDOM {
			done <- fmt.Errorf("mkdirat: %v", errno)
			return
		}
		_, err := openAt(unix.AT_FDCWD, args[0]+"/f", 0, 0)
		done <- err
	}()
	if err := install(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, returns(unix.SECCOMP_RET_USER_NOTIF)); err != unix.EBUSY {
		return fmt.Errorf("a second listener: %v", err)
	}
	err := install(unix.SECCOMP_FILTER_FLAG_TSYNC,
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MKDIRAT, Jf: 1},
		returns(unix.SECCOMP_RET_ERRNO|uint32(unix.EDOM)),
		returns(unix.SECCOMP_RET_ALLOW))
	if err != nil {
		return fmt.Errorf("a filter for all threads: %w", err)
	}
	act <- true
	return <-done
}

// Filters of the workload add to ours, and take nothing away: what one of them
// refuses is not done and so not recorded, what it lets through is.
func TestFiltersOfTheWorkload(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := openDir(t)
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{}, anActor(t, "filters", dir)...)
	var kinds []string
	for _, e := range s.by("filtered") {
		kinds = append(kinds, e.Type.String())
	}
	if opens := s.opens(filepath.Join(dir, "f")); len(opens) != 1 || strings.Contains(strings.Join(kinds, " "), "mkdir") {
		t.Errorf("%d opens; recorded are %v", len(opens), kinds)
	}
}

// racePaths opens a path that another thread changes all the time, and at the
// end one that nobody changes.
func racePaths(args []string) error {
	names := []string{"a", strings.Repeat("b", 200), "q\"\\\n\xff\x01", "../" + filepath.Base(args[0]) + "/a", strings.Repeat("/", 300) + "a"}
	path := make([]byte, 4096)
	n := copy(path, args[0]+"/")
	var over atomic.Bool
	changed := make(chan bool)
	go func() {
		runtime.LockOSThread()
		for i := 0; !over.Load(); i++ {
			copy(path[n:], names[i%len(names)]+"\x00")
		}
		close(changed)
	}()
	runtime.LockOSThread()
	setName("racer")
	for range 1000 {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&path[0])), 0, 0, 0, 0)
		if errno == 0 {
			unix.Close(int(fd))
		}
	}
	over.Store(true)
	<-changed
	setName("done")
	_, err := openAt(unix.AT_FDCWD, args[0]+"/a", 0, 0)
	return err
}

// Whatever a path is at the moment when it is looked at, its record is whole,
// and what comes later is as ever.
func TestPathsThatChange(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	for _, name := range []string{"a", strings.Repeat("b", 200), "q\"\\\n\xff\x01"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := run(t, options{}, anActor(t, "race", dir)...)
	n := 0
	for _, e := range s.by("racer") {
		if c, ok := e.Cell.(*tsem.FileCell); ok {
			n++
			if got := string(c.File.Path.Pathname); filepath.Dir(got) != dir && got != dir {
				t.Errorf("the racer opens %q", got)
			}
		}
	}
	if done := s.by("done"); n == 0 || len(done) == 0 {
		t.Errorf("%d opens in the race, %d events behind it", n, len(done))
	}
}

// turnCoats has one thread that changes its ids by raw system calls, which
// change only those of a thread, while another remains who it is.
func turnCoats(args []string) error {
	const rounds = 200
	threads := map[string]func(i int) error{
		"turncoat": func(i int) error {
			for _, id := range []uintptr{0, uintptr(1000 + i)} {
				if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), id, ^uintptr(0)); errno != 0 {
					return errno
				}
			}
			return nil
		},
		"steady": func(int) error { return nil },
	}
	done := make(chan error)
	for name, turn := range threads {
		go func() {
			runtime.LockOSThread()
			setName(name)
			for i := range rounds {
				if err := turn(i); err != nil {
					done <- err
					return
				}
				fd, err := openAt(unix.AT_FDCWD, args[0], 0, 0)
				if err != nil {
					done <- err
					return
				}
				unix.Close(fd)
			}
			done <- nil
		}()
	}
	return errors.Join(<-done, <-done)
}

func TestCredentialsOfOneThread(t *testing.T) {
	needRoot(t)
	t.Parallel()
	file := filepath.Join(openDir(t), "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{}, anActor(t, "turncoat", file)...)
	seen := make(map[string]uint32)
	for _, e := range s.opens(file) {
		name := string(e.Process)
		want := tsem.COE{}
		if name == "turncoat" {
			want.EUID = 1000 + seen[name]
		}
		seen[name]++
		if e.COE.UID != 0 || e.COE.EUID != want.EUID || e.COE.FSUID != want.EUID || (e.COE.CapEff == 0) != (want.EUID != 0) {
			t.Fatalf("open %d of %s is by %+v", seen[name], name, e.COE)
		}
	}
	if seen["turncoat"] != 200 || seen["steady"] != 200 {
		t.Errorf("opens: %v", seen)
	}
}

// A server of files that dies while it is asked is the end of the asking.
func TestServerOfFilesDies(t *testing.T) {
	needFuse(t)
	t.Parallel()
	for _, op := range []string{"lookup", "open", "read"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			dir := openDir(t)
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			actor := anActor(t)[0]
			script := fmt.Sprintf(`%s serve-fuse %s sh -c 'cat %[2]s/%[3]s.never & pid=$!
				until grep -q seccomp /proc/$pid/wchan; do :; done
				kill -KILL $PPID; wait $pid; cat /etc/hostname > /dev/null; echo do""ne'`, actor, dir, op)
			s := run(t, options{lost: true, noisy: true, status: 9}, "sh", "-c", script+"; exit 9")
			if !strings.Contains(s.stdout, "done") || len(s.opens("/etc/hostname")) != 1 {
				t.Errorf("the workload says %q, %q", s.stdout, s.stderr)
			}
		})
	}
}

// Thousands of threads are told apart.
func TestFloodOfThreads(t *testing.T) {
	t.Parallel()
	const n = 2000
	f := startFlood(t, options{}, "threads", fmt.Sprint(n))
	s := f.ended()
	if pids := s.oneEach(f.file, n); pids != n {
		t.Errorf("%d pids, want %d", pids, n)
	}
}

// A digest is that of the file, or there is a word for why it is not.
func TestDigestsThatCannotBeHad(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	grows := filepath.Join(dir, "grows")
	content := bytes.Repeat([]byte("x"), 1000)
	for name, size := range map[string]int{"fits": 1000, "large": 1001} {
		if err := os.WriteFile(filepath.Join(dir, name), append(content, 'x')[:size], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Create(grows)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	over, grown := make(chan bool), make(chan bool)
	go func() {
		defer close(grown)
		for {
			select {
			case <-over:
				return
			default:
				file.WriteAt([]byte("x"), 0)
			}
		}
	}()
	s := run(t, options{dir: dir, stderr: "digests that could not be had: 1 (changed)"}, "sh", "-c", ": < grows")
	close(over)
	<-grown
	if e := s.opens(grows); len(e) != 1 || e[0].Cell.(*tsem.FileCell).File.DigestMissing != "changed" || len(e[0].Cell.(*tsem.FileCell).File.Digest) > 0 {
		t.Errorf("a file that changes is recorded as %v", e)
	}
	s = run(t, options{dir: dir, flags: []string{"--digest-limit=1000"}, noisy: true}, "sh", "-c", ": < fits; : < large")
	for name, want := range map[string]string{"fits": fmt.Sprintf("%x ", sha256.Sum256(content)), "large": " too_large"} {
		e := s.opens(filepath.Join(dir, name))
		if len(e) != 1 {
			t.Fatalf("%d opens of %s", len(e), name)
		}
		f := e[0].Cell.(*tsem.FileCell).File
		if got := fmt.Sprintf("%x %s", []byte(f.Digest), f.DigestMissing); got != want {
			t.Errorf("%s is recorded as %s, want %s", name, got, want)
		}
	}
	if !strings.Contains(s.stderr, "too_large") {
		t.Errorf("nobody is told: %q", s.stderr)
	}
}
