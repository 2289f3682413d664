// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Where the kernel tells what is asked of it.
const (
	typesFile = "/sys/kernel/btf/vmlinux"
	listFile  = "/sys/kernel/security/lsm"
)

// Probe tells whether this host can offer the source: nil, or one line that says
// what is missing. It loads a program that does nothing, since the lists of the
// kernel do not tell what else may refuse one.
func Probe() error {
	if _, err := os.Stat(typesFile); err != nil {
		return fmt.Errorf("the kernel does not tell its types: there is no %s (a kernel with CONFIG_DEBUG_INFO_BTF is needed)", typesFile)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(hooksObject))
	if err != nil {
		return fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	// Without a list the program alone decides.
	list, err := os.ReadFile(listFile)
	if err == nil {
		err = listed(string(list))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	p, err := ebpf.NewProgram(spec.Programs["allowed"])
	if err != nil {
		return refused(err)
	}
	return p.Close()
}

// listed tells whether bpf is among the security modules of a list as the kernel
// writes it. Without it programs can be attached and are never called.
func listed(list string) error {
	modules := strings.Split(strings.TrimSpace(list), ",")
	if slices.Contains(modules, "bpf") {
		return nil
	}
	return fmt.Errorf("bpf is not among the security modules of the kernel (boot with lsm=%s on the kernel command line)",
		strings.Join(append(modules, "bpf"), ","))
}

// bpfCapabilities are what is needed to load programs.
const bpfCapabilities = 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_ADMIN

// refused says in one line why a program was not loaded.
func refused(err error) error {
	const caps = bpfCapabilities
	verdict := (*ebpf.VerifierError)(nil)
	switch {
	case errors.Is(err, unix.EPERM) && effective()&caps != caps:
		return errors.New("BPF programs may not be loaded: the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN are needed (run as root)")
	case errors.Is(err, unix.EPERM):
		return errors.New("the kernel refuses BPF programs on its security hooks (EPERM: lockdown, or a hardened or sandbox kernel)")
	case errors.As(err, &verdict):
		return fmt.Errorf("the kernel refuses a BPF program that does nothing: %w", verdict.Cause)
	}
	return fmt.Errorf("cannot load a BPF program: %w", err)
}

// effective is our effective capabilities.
func effective() uint64 {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}

// Missing lists the event types that cannot be told on this host, with the
// reasons.
func Missing() (map[string]error, error) {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("cannot read the types of the kernel: %w", err)
	}
	_, missing := fit(types)
	return missing, nil
}
