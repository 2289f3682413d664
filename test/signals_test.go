// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// outsider is the variable of the environment that has the number of a process
// outside the context.
const outsider = "QUIXOTE_TEST_OUTSIDER"

func outside() int {
	n, _ := strconv.Atoi(os.Getenv(outsider))
	return n
}

// aCat starts a child that lives as long as this process, in a group of its
// own or in that of another.
func aCat(group int) (int, error) {
	var pipe [2]int // plain numbers: nobody closes the other end
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	p, err := os.StartProcess("/bin/cat", []string{"cat"}, &os.ProcAttr{
		Files: []*os.File{os.NewFile(uintptr(pipe[0]), "pipe"), os.Stderr, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true, Pgid: group},
	})
	if err != nil {
		return -1, err
	}
	// It has become another program when the kernel has told it what it needs.
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", p.Pid))
		if err != nil || len(b) > 8 && !bytes.Equal(b[:8], make([]byte, 8)) {
			return p.Pid, err
		}
	}
}

func withCat(string) (int, error) { return aCat(0) }

func withTwoCats(string) (int, error) {
	group, err := aCat(0)
	if err == nil {
		_, err = aCat(group)
	}
	return group, err
}

// asNobody drops the rights of the calling thread.
func asNobody(string) (int, error) {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534)
	return -1, zero(errno)
}

func nobodyCOE(_ *scene, coe *tsem.COE) {
	coe.UID, coe.EUID, coe.SUID, coe.FSUID, coe.CapEff = 65534, 65534, 65534, 65534, 0
}

// signalled wants that the actor itself has been sent a signal.
func signalled(sig uint32) func(*scene) []record {
	return func(s *scene) []record { return []record{{tsem.TaskKill, &tsem.KillCell{Target: s.taskID, Sig: sig}}} }
}

// signalledCat wants that n of the cats have been sent a signal.
func signalledCat(n int, sig uint32) func(*scene) []record {
	return func(s *scene) (want []record) {
		cats := s.stream.by("cat")
		if len(cats) == 0 {
			s.t.Fatal("there is no cat")
		}
		for range n {
			want = append(want, record{tsem.TaskKill, &tsem.KillCell{Target: cats[0].TaskID, Sig: sig}})
		}
		return want
	}
}

func signalledOutside(sig uint32) func(*scene) []record {
	return func(*scene) []record {
		return []record{{tsem.TaskKill, &tsem.KillCell{Target: make(tsem.Digest, 32), Sig: sig, CrossNS: 1}}}
	}
}

func sendsByFD(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

func tkill(tid int, sig unix.Signal) error {
	_, _, errno := unix.Syscall(unix.SYS_TKILL, uintptr(tid), uintptr(sig), 0)
	return zero(errno)
}

var signalActs = []act{
	{name: "itself, signal 0", do: func(string, int) error { return unix.Kill(os.Getpid(), 0) }, want: signalled(0)},
	{name: "a child", before: withCat, do: func(_ string, pid int) error { return unix.Kill(pid, unix.SIGCHLD) }, want: signalledCat(1, 17)},
	{name: "a child, real-time signal", before: withCat, do: func(_ string, pid int) error { return unix.Kill(pid, 64) }, want: signalledCat(1, 64)},
	{name: "a group", before: withTwoCats, do: func(_ string, pid int) error { return unix.Kill(-pid, unix.SIGWINCH) }, want: signalledCat(2, 28)},
	{name: "no group", do: func(string, int) error { return unix.Kill(-0x3ffffe, 0) }, errno: unix.ESRCH, want: none},
	{name: "no process", do: func(string, int) error { return unix.Kill(0x3ffffe, 0) }, errno: unix.ESRCH, want: none},
	{name: "signal 65", before: withCat, do: func(_ string, pid int) error { return unix.Kill(pid, 65) }, errno: unix.EINVAL, want: none},
	{name: "signal 65 to itself", do: func(string, int) error { return unix.Kill(os.Getpid(), 65) }, errno: unix.EINVAL, want: none},
	{name: "a child that has ended",
		before: func(string) (int, error) {
			p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
			if err != nil {
				return -1, err
			}
			return p.Pid, unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		},
		do: func(_ string, pid int) error { return unix.Kill(pid, 0) }, want: func(s *scene) []record {
			return []record{{tsem.TaskKill, &tsem.KillCell{Target: s.stream.by("true")[0].TaskID}}}
		}},
	{name: "SIGURG", before: withCat, do: func(_ string, pid int) error { return unix.Kill(pid, unix.SIGURG) }, want: none},
	{name: "tkill", do: func(string, int) error { return tkill(unix.Gettid(), 0) }, want: signalled(0)},
	{name: "tkill of nobody", do: func(string, int) error { return tkill(0, 0) }, errno: unix.EINVAL, want: none},
	{name: "tgkill", do: func(string, int) error { return unix.Tgkill(os.Getpid(), unix.Gettid(), 0) }, want: signalled(0)},
	{name: "tgkill of another group", do: func(string, int) error { return unix.Tgkill(1, unix.Gettid(), 0) }, errno: unix.ESRCH, want: none},
	{name: "pidfd", before: withCat, do: func(_ string, pid int) error { return sendsByFD(pid, unix.SIGCONT) }, want: signalledCat(1, 18)},
	{name: "pidfd of a file", prepare: withFile, before: openF(0), do: func(_ string, fd int) error { return unix.PidfdSendSignal(fd, 0, nil, 0) }, errno: unix.EBADF, want: none},
	{name: "outside", do: func(string, int) error { return unix.Kill(outside(), unix.SIGCONT) }, want: signalledOutside(18)},
	{name: "outside, by pidfd", do: func(string, int) error { return sendsByFD(outside(), 0) }, want: signalledOutside(0)},
	{name: "outside, by group", do: func(string, int) error { return unix.Kill(-outside(), 0) }, want: signalledOutside(0)},
	{name: "outside, not permitted", before: asNobody, do: func(string, int) error { return unix.Kill(outside(), 0) }, errno: unix.EPERM, want: none},
	{name: "outside, by group, not permitted", before: asNobody, do: func(string, int) error { return unix.Kill(-outside(), 0) }, errno: unix.EPERM, want: none},
	{name: "itself as another", before: asNobody, do: func(string, int) error { return unix.Kill(os.Getpid(), 0) }, want: signalled(0), coe: nobodyCOE},
}

func TestTaskKill(t *testing.T) {
	needRoot(t)
	t.Parallel()
	c := exec.Command("sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	performed(t, "signal", options{env: []string{fmt.Sprintf("%s=%d", outsider, c.Process.Pid)}})
}
