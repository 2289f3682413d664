// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// tracepoints are the programs that tell of system calls, those first that others
// rely on.
var tracepoints = []string{"task_newtask", "sched_process_exit", "sched_process_free", "sched_process_exec", "sys_enter", "sys_exit"}

// ProbeTrace tells whether this host can offer events from the tracepoints of
// system calls: nil, or one line that says what is missing.
func ProbeTrace() error {
	if _, err := os.Stat(typesFile); err != nil {
		return fmt.Errorf("the kernel does not tell its types: there is no %s (a kernel with CONFIG_DEBUG_INFO_BTF is needed)", typesFile)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(traceObject))
	if err != nil {
		return fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	p, err := ebpf.NewProgram(spec.Programs["tried"])
	switch {
	case errors.Is(err, fs.ErrPermission) && effective()&bpfCapabilities != bpfCapabilities:
		return refused(err)
	case errors.Is(err, unix.EPERM):
		return errors.New("the kernel refuses BPF programs on its tracepoints (EPERM: lockdown, or a hardened or sandbox kernel)")
	case err != nil:
		return refused(err)
	}
	return p.Close()
}

// traceTypes are the event types that there are programs for.
func traceTypes() map[tsem.Type]bool {
	types := make(map[tsem.Type]bool)
	for _, t := range toldCalls {
		for _, typ := range t.events {
			types[typ] = true
		}
	}
	return types
}

// TraceTypes is how many event types there are programs for.
func TraceTypes() int { return len(traceTypes()) }

// traceUnseen are the event types that there are none for.
func traceUnseen() (unseen []string) {
	seen := traceTypes()
	for t := range tsem.All() {
		if t.Info().Export != tsem.NotExported && !seen[t] {
			unseen = append(unseen, t.String())
		}
	}
	return unseen
}

// TraceLimits tells what is not seen on this host, or nil.
func TraceLimits() error {
	l, err := load(loadOptions{ring: uint32(os.Getpagesize()), trace: true, model: model.Default(), unattached: true})
	if err != nil {
		return err
	}
	defer l.close()
	return l.missing["paths"]
}

// setTrace leaves in spec the programs on tracepoints, and tells them of which
// system calls they are to tell.
func (o *loadOptions) setTrace(spec *ebpf.CollectionSpec) error {
	delete(spec.Programs, "tried")
	table, err := callTable(o.model)
	if err != nil {
		return err
	}
	spec.Maps["calls"].Contents = table
	var wanted [256]uint8
	for t := range tsem.All() {
		if _, kept := o.model.Of(t); kept {
			wanted[t] = 1
		}
	}
	if err := spec.Variables["wanted"].Set(wanted); err != nil {
		return fmt.Errorf("cannot set wanted in the BPF programs: %w", err)
	}
	return nil
}

// findNames finds the table in which the kernel has the names that it knows, from
// the places of some of them, and tells the programs. Where that does not succeed
// no path can be followed.
func (l *loaded) findNames() error {
	it, err := link.AttachIter(link.IterOptions{Program: l.programs.Programs["buckets"]})
	if err != nil {
		return fmt.Errorf("cannot attach the BPF iterator of tasks: %w", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return fmt.Errorf("cannot look at the names of the kernel through BPF: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("cannot look at the names of the kernel through BPF: %w", err)
	}
	table, shift, ok := nameTable(b)
	if !ok {
		l.missing = map[string]error{"paths": errors.New("where paths lead cannot be told: the kernel keeps names in a way that is not known")}
		return nil
	}
	if err := l.programs.Variables["name_shift"].Set(shift); err != nil {
		return fmt.Errorf("cannot set name_shift in the BPF programs: %w", err)
	}
	if err := l.programs.Variables["name_table"].Set(table); err != nil {
		return fmt.Errorf("cannot set name_table in the BPF programs: %w", err)
	}
	return nil
}

// nameTable finds out where a hash table begins, and how far hashes are shifted to
// be places in it, from pairs of a place's address and the hash that led there,
// which comes with the one that the programs computed. All of them must fit, and in
// one way only.
func nameTable(pairs []byte) (table uint64, shift uint32, ok bool) {
	type name struct {
		at   uint64
		hash uint32
	}
	order := binary.NativeEndian
	var names []name
	for ; len(pairs) >= 16; pairs = pairs[16:] {
		both := order.Uint64(pairs[8:])
		if uint32(both>>32) == uint32(both) {
			names = append(names, name{order.Uint64(pairs), uint32(both)})
		}
	}
	if len(names) == 0 {
		return 0, 0, false
	}
	ways := 0
	for try := uint32(1); try < 31; try++ {
		base := func(n name) uint64 { return n.at - 8*uint64(n.hash>>try) }
		fits := true
		for _, n := range names {
			fits = fits && base(n) == base(names[0])
		}
		if fits {
			table, shift = base(names[0]), try
			ways++
		}
	}
	return table, shift, ways == 1
}
