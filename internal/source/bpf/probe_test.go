// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestProbeIsOneLine(t *testing.T) {
	err := Probe()
	if err == nil {
		t.Log("this host has all that is needed")
		return
	}
	t.Log(err)
	if s := err.Error(); s == "" || strings.Contains(s, "\n") || len(s) > 250 {
		t.Errorf("not one line: %q", s)
	}
}

// A host that refuses programs on its hooks, though it lists bpf, is the reason
// why one is loaded.
func TestProbeOnAHostThatRefuses(t *testing.T) {
	list, err := os.ReadFile(listFile)
	if os.Geteuid() != 0 || err == nil && listed(string(list)) != nil {
		t.Skip("not root, or bpf is not among the security modules")
	}
	spec := readObject(t)
	p, err := ebpf.NewProgram(spec.Programs["allowed"])
	if err == nil {
		p.Close()
		t.Skip("this host refuses nothing")
	}
	if !errors.Is(err, unix.EPERM) || effective()&(1<<unix.CAP_BPF|1<<unix.CAP_SYS_ADMIN) == 0 {
		t.Skipf("this host has another reason: %v", err)
	}
	if err := Probe(); err == nil || !strings.Contains(err.Error(), "the kernel refuses BPF programs on its security hooks") {
		t.Errorf("got %v", err)
	}
}

func TestListed(t *testing.T) {
	if err := listed("lockdown,capability,landlock,bpf\n"); err != nil {
		t.Error(err)
	}
	err := listed("lockdown,capability,yama\n")
	if err == nil || !strings.Contains(err.Error(), "lsm=lockdown,capability,yama,bpf") {
		t.Errorf("got %v", err)
	}
}

func TestRefusedNamesTheReason(t *testing.T) {
	verdict := &ebpf.VerifierError{Cause: unix.EINVAL, Log: []string{"first", "second"}}
	if s := refused(fmt.Errorf("load program: %w", verdict)).Error(); strings.Contains(s, "second") || !strings.Contains(s, "invalid argument") {
		t.Errorf("got %q", s)
	}
	if s := refused(unix.ENOSYS).Error(); !strings.Contains(s, "function not implemented") {
		t.Errorf("got %q", s)
	}
}
