// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"quixote-export/internal/derive"
)

// arches are those of this machine.
func arches() []specs.Arch {
	if runtime.GOARCH == "arm64" {
		return []specs.Arch{specs.ArchAARCH64}
	}
	return []specs.Arch{specs.ArchX86_64}
}

func profile(s specs.LinuxSeccomp) func(*specs.Spec) {
	s.Architectures = arches()
	return func(spec *specs.Spec) { spec.Linux.Seccomp = &s }
}

const noSpace = 28 // ENOSPC: an error that no call below has by itself

func refuse(names []string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	errno := uint(noSpace)
	return specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &errno, Args: args}
}

func argument(index uint, op specs.LinuxSeccompOperator, value, two uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: op, Value: value, ValueTwo: two}
}

// What a profile refuses stays refused, and is not in the stream; what it lets
// through of the same call is.
func TestContainerProfileThatDenies(t *testing.T) {
	t.Parallel()
	const script = `mkdir /tmp/d; touch /tmp/f
for mode in 700 711 755 777; do chmod $mode /tmp/f 2> /dev/null && echo $mode; done`
	modes := func(args ...specs.LinuxSeccompArg) []specs.LinuxSyscall {
		shifted := make([]specs.LinuxSeccompArg, len(args))
		for i, a := range args {
			a.Index++
			shifted[i] = a
		}
		return []specs.LinuxSyscall{refuse([]string{"chmod"}, args...), refuse([]string{"fchmodat"}, shifted...)}
	}
	for _, row := range []struct {
		name  string
		calls []specs.LinuxSyscall
		modes string
	}{
		{"nothing", nil, "700 711 755 777"},
		{"all", modes(), ""},
		{"equal", modes(argument(1, specs.OpEqualTo, 0o777, 0)), "700 711 755"},
		{"not equal", modes(argument(1, specs.OpNotEqual, 0o777, 0)), "777"},
		{"greater", modes(argument(1, specs.OpGreaterThan, 0o711, 0)), "700 711"},
		{"masked", modes(argument(1, specs.OpMaskedEqual, 0o77, 0o55)), "700 711 777"},
		{"one of two", append(modes(argument(1, specs.OpEqualTo, 0o700, 0)), modes(argument(1, specs.OpEqualTo, 0o755, 0))...), "711 777"},
		{"alternatives", modes(argument(1, specs.OpEqualTo, 0o700, 0), argument(1, specs.OpEqualTo, 0o777, 0)), "711 755"},
		{"both of two", modes(argument(0, specs.OpNotEqual, 0, 0), argument(1, specs.OpLessEqual, 0o711, 0)), "755 777"},
	} {
		t.Run(row.name, func(t *testing.T) {
			calls := append(row.calls, refuse([]string{"mkdir", "mkdirat"}))
			r := newBundle(t, script, profile(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: calls})).run()
			if !strings.Contains(r.errs, "No space left on device") || r.find("inode_mkdir", "") != nil {
				t.Errorf("mkdir is not refused as the profile says: %q", r.errs)
			}
			if out := strings.Join(strings.Fields(r.out), " "); out != row.modes {
				t.Errorf("done: %q, want %q%s", out, row.modes, r.errs)
			}
			n := 0
			for _, e := range r.events {
				if e.Process == "chmod" && e.Type == "inode_setattr" {
					n++
				}
			}
			if want := len(strings.Fields(row.modes)); n != want {
				t.Errorf("%d changes of the mode are in the stream, want %d", n, want)
			}
		})
	}
}

// A profile that allows what it names only: all of interest, and what every
// program needs besides.
func TestContainerProfileThatAllows(t *testing.T) {
	t.Parallel()
	const script = "mkdir /tmp/d; ls /tmp; cat /proc/self/comm"
	names := strings.Fields(`read write readv writev pread64 pwrite64 close close_range lseek poll ppoll select pselect6
brk mprotect munmap mremap madvise rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend sigaltstack pause
nanosleep clock_nanosleep clock_gettime gettimeofday getpid gettid getppid getuid geteuid getgid getegid getpgrp
getpgid getsid getgroups getcwd uname dup dup2 dup3 pipe pipe2 access faccessat faccessat2 readlink readlinkat
getdents getdents64 chdir fchdir umask futex set_robust_list get_robust_list set_tid_address rseq arch_prctl
prlimit64 getrlimit getrusage getrandom sysinfo wait4 waitid epoll_create1 epoll_ctl epoll_pwait epoll_wait
eventfd2 sched_getaffinity sched_yield restart_syscall clone clone3 fork vfork exit exit_group tgkill sendfile statfs fstatfs times`)
	for _, row := range derive.Table() {
		if row.Name != "mkdir" && row.Name != "mkdirat" {
			names = append(names, row.Name)
		}
	}
	refused := specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActAllow}}}
	r := newBundle(t, script, profile(refused)).run()
	if r.status != 0 || r.out != "cat\n" || !strings.Contains(r.errs, "Operation not permitted") {
		t.Errorf("status %d, output %q, errors %q", r.status, r.out, r.errs)
	}
	count := func(r result, kind string) (n int) {
		for _, e := range r.events {
			if e.Type == kind {
				n++
			}
		}
		return n
	}
	free := newBundle(t, script).run()
	for _, kind := range []string{"file_open", "mmap_file", "task_prctl", "inode_getattr"} {
		if got, want := count(r, kind), count(free, kind); got != want && kind != "inode_getattr" || got == 0 {
			t.Errorf("%d of %s with the profile, %d without", got, kind, want)
		}
	}
	if count(r, "inode_mkdir") != 0 || count(free, "inode_mkdir") != 1 {
		t.Error("mkdir is in the stream, or is not where it should be")
	}
}
