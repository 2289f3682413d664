// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// attempt is something that a workload may try to do to a process that watches
// it, by its number or, where that is asked for, on a descriptor from outside.
type attempt struct {
	name  string
	do    func(pid int) error
	errno unix.Errno // that it must get as root
	kinds []tsem.Type
	any   bool // also without root
}

func kinds(t ...tsem.Type) []tsem.Type { return t }

// raw makes a system call.
func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return zero(errno)
}

// siginfo is one that a program may make up.
func siginfo(sig int32) []byte {
	b := make([]byte, 128)
	binary.NativeEndian.PutUint32(b, uint32(sig))
	binary.NativeEndian.PutUint32(b[8:], ^uint32(0)) // SI_QUEUE
	return b
}

// lastThread is the thread of a process with the highest number.
func lastThread(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	tid := pid
	for _, e := range entries {
		n, _ := strconv.Atoi(e.Name())
		tid = max(tid, n)
	}
	return tid
}

// withPidfd calls f with a pidfd of pid.
func withPidfd(f func(fd uintptr) error) func(int) error {
	return func(pid int) error {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(uintptr(fd))
	}
}

// vector is an iovec over b.
func vector(b []byte) (uintptr, func()) {
	v := &unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	return uintptr(unsafe.Pointer(v)), func() { runtime.KeepAlive(v) }
}

func movesMemory(nr uintptr) func(int) error {
	return func(pid int) error {
		b := make([]byte, 8)
		v, keep := vector(b)
		defer keep()
		return raw(nr, uintptr(pid), v, 1, v, 1, 0)
	}
}

// owns gives a descriptor of a socket to f, which sets its owner.
func owns(f func(fd uintptr, pid int) error) func(int) error {
	return func(pid int) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(uintptr(fd), pid)
	}
}

func ownerEx(kind int32, who func(pid int) int) func(int) error {
	return owns(func(fd uintptr, pid int) error {
		const setOwnerEx = 15
		b := binary.NativeEndian.AppendUint32(nil, uint32(kind))
		b = binary.NativeEndian.AppendUint32(b, uint32(who(pid)))
		return raw(unix.SYS_FCNTL, fd, setOwnerEx, addr(b))
	})
}

func itself(pid int) int { return pid }

func groupOf(pid int) int {
	n, _ := unix.Getpgid(pid)
	return n
}

// opensProc opens a file of the process in procfs.
func opensProc(name string, flags int) func(int) error {
	return func(pid int) error {
		return unlessErr(unix.Openat(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/%s", pid, name), flags|unix.O_CLOEXEC, 0))
	}
}

var attempts = []attempt{
	{name: "kill with 0", any: true, do: func(pid int) error { return unix.Kill(pid, 0) }, kinds: kinds(tsem.TaskKill)},
	{name: "kill", any: true, do: func(pid int) error { return unix.Kill(pid, unix.SIGKILL) }, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "stop", any: true, do: func(pid int) error { return unix.Kill(pid, unix.SIGSTOP) }, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "kill thread", any: true, do: func(pid int) error { return unix.Kill(lastThread(pid), unix.SIGKILL) }, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "urg", any: true, do: func(pid int) error { return unix.Kill(pid, unix.SIGURG) }, errno: unix.EPERM},
	{name: "tkill", any: true, do: func(pid int) error { return tkill(lastThread(pid), unix.SIGSTOP) }, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "tgkill", any: true, do: func(pid int) error { return unix.Tgkill(pid, lastThread(pid), unix.SIGKILL) }, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "sigqueue", any: true, do: func(pid int) error {
		return raw(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), uintptr(unix.SIGKILL), addr(siginfo(9)))
	}, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "tgsigqueue", any: true, do: func(pid int) error {
		return raw(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(pid), uintptr(lastThread(pid)), uintptr(unix.SIGKILL), addr(siginfo(9)))
	}, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "pidfd", any: true, do: withPidfd(func(fd uintptr) error {
		return unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	}), errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "pidfd info", any: true, do: withPidfd(func(fd uintptr) error {
		return raw(unix.SYS_PIDFD_SEND_SIGNAL, fd, uintptr(unix.SIGKILL), addr(siginfo(9)), 0)
	}), errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},
	{name: "proc as pidfd", any: true, do: func(pid int) error {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d", pid), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}, errno: unix.EPERM, kinds: kinds(tsem.TaskKill)},

	{name: "attach", do: func(pid int) error { return unix.PtraceAttach(pid) }, errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "seize", do: func(pid int) error { return unix.PtraceSeize(lastThread(pid)) }, errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "vm_readv", do: movesMemory(unix.SYS_PROCESS_VM_READV), errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "vm_writev", do: movesMemory(unix.SYS_PROCESS_VM_WRITEV), errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "getfd", do: withPidfd(func(fd uintptr) error {
		return unlessErr(unix.PidfdGetfd(int(fd), 0, 0))
	}), errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "madvise", do: withPidfd(func(fd uintptr) error {
		v, keep := vector(make([]byte, 4096))
		defer keep()
		return raw(unix.SYS_PROCESS_MADVISE, fd, v, 1, unix.MADV_COLD, 0)
	}), errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "perf", do: func(pid int) error {
		return unlessErr(unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: 112}, pid, -1, -1, 0))
	}, errno: unix.EPERM},
	{name: "get limit", do: func(pid int) error { return unix.Prlimit(pid, unix.RLIMIT_CPU, nil, &unix.Rlimit{}) }, kinds: kinds(tsem.TaskPrlimit)},
	{name: "set limit", do: func(pid int) error {
		return unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: 1, Max: 1}, nil)
	}, errno: unix.EPERM, kinds: kinds(tsem.TaskPrlimit, tsem.TaskSetrlimit)},
	{name: "affinity", do: func(pid int) error { var set unix.CPUSet; set.Set(0); return unix.SchedSetaffinity(pid, &set) }, errno: unix.EPERM, kinds: kinds(tsem.TaskSetscheduler)},
	{name: "priority", do: func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 19) }, errno: unix.EPERM, kinds: kinds(tsem.TaskSetnice)},
	{name: "ioprio", do: func(pid int) error { return raw(unix.SYS_IOPRIO_SET, 1, uintptr(pid), 3<<13) }, errno: unix.EPERM, kinds: kinds(tsem.TaskSetioprio)},

	{name: "owner", any: true, do: owns(func(fd uintptr, pid int) error {
		return unlessErr(unix.FcntlInt(fd, unix.F_SETOWN, pid))
	}), errno: unix.EPERM, kinds: kinds(tsem.FileFcntl)},
	{name: "owner group", any: true, do: owns(func(fd uintptr, pid int) error {
		return unlessErr(unix.FcntlInt(fd, unix.F_SETOWN, -groupOf(pid)))
	}), errno: unix.EPERM, kinds: kinds(tsem.FileFcntl)},
	{name: "owner ex", any: true, do: ownerEx(1, itself), errno: unix.EPERM, kinds: kinds(tsem.FileFcntl)},
	{name: "owner thread", any: true, do: ownerEx(0, lastThread), errno: unix.EPERM, kinds: kinds(tsem.FileFcntl)},
	{name: "owner ex group", any: true, do: ownerEx(2, groupOf), errno: unix.EPERM, kinds: kinds(tsem.FileFcntl)},
	{name: "owner itself", any: true, do: owns(func(fd uintptr, _ int) error {
		return unlessErr(unix.FcntlInt(fd, unix.F_SETOWN, os.Getpid()))
	}), kinds: kinds(tsem.FileFcntl)},
	{name: "owner ioctl", any: true, do: owns(func(fd uintptr, pid int) error {
		const setOwner = 0x8901
		b := binary.NativeEndian.AppendUint32(nil, uint32(pid))
		return raw(unix.SYS_IOCTL, fd, setOwner, addr(b))
	}), errno: unix.EPERM, kinds: kinds(tsem.FileIoctl)},

	{name: "read status", do: opensProc("status", unix.O_RDONLY), kinds: kinds(tsem.FileOpen)},
	{name: "read mem", do: opensProc("mem", unix.O_RDONLY), errno: unix.EPERM, kinds: kinds(tsem.FileOpen, tsem.PtraceAccessCheck)},
	{name: "write mem", do: opensProc("mem", unix.O_RDWR), errno: unix.EPERM, kinds: kinds(tsem.FileOpen, tsem.PtraceAccessCheck)},
	{name: "oom", do: opensProc("oom_score_adj", unix.O_WRONLY), errno: unix.EPERM, kinds: kinds(tsem.FileOpen)},
	{name: "thread comm", do: func(pid int) error {
		return opensProc(fmt.Sprintf("task/%d/comm", lastThread(pid)), unix.O_WRONLY)(pid)
	}, errno: unix.EPERM, kinds: kinds(tsem.FileOpen)},
	{name: "open link", do: opensProc("fd/0", unix.O_RDONLY), errno: unix.EPERM},
	{name: "path link", do: opensProc("fd/0", unix.O_PATH), errno: unix.EPERM, kinds: kinds(tsem.PtraceAccessCheck)},
	{name: "truncate link", do: func(pid int) error { return unix.Truncate(fmt.Sprintf("/proc/%d/fd/0", pid), 0) }, errno: unix.EPERM},
	{name: "stat link", do: func(pid int) error {
		return unix.Stat(fmt.Sprintf("/proc/%d/fd/0", pid), &unix.Stat_t{})
	}, kinds: kinds(tsem.PtraceAccessCheck, tsem.InodeGetattr)},
}

// watchers are the processes above this one that watch it.
func watchers() (pids []int) {
	for pid := os.Getppid(); pid > 1; {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			break
		}
		// The watchdog has the name of the link that it was started by.
		name, _, _ := strings.Cut(strings.TrimPrefix(string(status), "Name:\t"), "\n")
		if name != "quixote-export" && name != "exe" {
			break
		}
		pids = append(pids, pid)
		_, rest, _ := strings.Cut(string(status), "\nPPid:\t")
		rest, _, _ = strings.Cut(rest, "\n")
		pid, _ = strconv.Atoi(rest)
	}
	return pids
}

// attackWatchers makes all attempts on each of them, on threads that have the
// name of the attempt, and prints how each ended.
func attackWatchers([]string) error {
	for _, pid := range watchers() {
		for _, a := range attempts {
			if os.Geteuid() != 0 && !a.any {
				continue
			}
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				setName(a.name)
				err := a.do(pid)
				setName("after")
				done <- err
			}()
			fmt.Printf("%s: %s\n", a.name, errnoText(<-done))
		}
	}
	return nil
}

// Nothing that the workload tries reaches those that watch it; all of it is
// recorded.
func TestWatchersAreLeftAlone(t *testing.T) {
	t.Parallel()
	for name, uid := range map[string]int{"root": 0, "nobody": 65534} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			t.Parallel()
			s := run(t, options{uid: uid, stderr: warning(uid), noisy: uid != 0}, anActor(t, "watchers")...)
			lines := strings.Split(strings.TrimSpace(s.stdout), "\n")
			done := 0
			for _, a := range attempts {
				if uid != 0 && !a.any {
					continue
				}
				done++
				want := fmt.Sprintf("%s: %d", a.name, int(a.errno))
				got := 0
				for _, line := range lines {
					if strings.HasPrefix(line, a.name+": ") {
						got++
						if line != want {
							t.Errorf("got %q, want %q", line, want)
						}
					}
				}
				if got == 0 {
					t.Errorf("%s was not tried", a.name)
				}
				for _, kind := range a.kinds {
					n := 0
					for _, e := range s.by(a.name) {
						if e.Type == kind {
							n++
						}
					}
					if n < got {
						t.Errorf("%s: %d records of %s, want %d", a.name, n, kind, got)
					}
				}
				if a.errno == 0 || a.name == "urg" {
					continue
				}
				if slices.ContainsFunc(s.by(a.name), func(e *tsem.Event) bool { return e.Type == tsem.TaskKill && len(a.kinds) == 0 }) {
					t.Errorf("%s: recorded as a signal", a.name)
				}
			}
			if len(lines) != 2*done {
				t.Errorf("%d lines of %d attempts on a supervisor and a watchdog", len(lines), done)
			}
		})
	}
}

// warning is what standard error says at the start of a run of that user.
func warning(uid int) string {
	if uid == 0 {
		return ""
	}
	return "no_new_privs"
}
