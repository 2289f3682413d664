// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"quixote-export/internal/model"
	"quixote-export/tsem"
)

//go:generate go run gen_object.go

// Compiled programs. Those of 6.1 are for kernels that cannot give an address a
// type, before Linux 6.2: there a call reads each member of an object.
var (
	//go:embed hooks.o
	hooksObject []byte
	//go:embed trace.o
	traceObject []byte
	//go:embed hooks-6.1.o
	oldHooksObject []byte
	//go:embed trace-6.1.o
	oldTraceObject []byte
)

// DefaultRing is the size in bytes of the ring for events.
const DefaultRing = 16 << 20

// minNotes is the size in bytes of the ring of a collector for what identities
// need, at least: some thousand programs can be executed before it is full.
const minNotes = 4 << 20

// tracing are the programs that are on no security hook.
var tracing = []string{"task_newtask", "sched_process_exit"}

// loaded is what is in the kernel of one context. It goes with our process.
type loaded struct {
	maps     map[string]*ebpf.Map
	variable func(name string, value any) error // reads one of the programs
	programs *ebpf.Collection
	// links keep the programs attached: when nothing refers to them they are
	// closed.
	links   []link.Link
	hooks   []string // that the links are on
	looking opener
	alive   opener
	missing map[string]error // hooks that could not be had
}

// An opener begins an iteration in the kernel.
type opener interface {
	Open() (io.ReadCloser, error)
	Close() error
}

// loadOptions are set in the programs before they are loaded.
type loadOptions struct {
	ring  uint32
	users bool // the maps of user namespaces are wanted
	model *model.Model
	host  bool // every task is of the context
	box   bool // what is of the context makes a container
	trace bool // from the tracepoints of system calls, not the hooks
	// unattached has the programs loaded alone.
	unattached bool
	hash       uint32 // number of the algorithm of digests that the kernel is to make, 0 for none
	rules      []rule
}

func load(o loadOptions) (*loaded, error) {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("cannot read the types of the kernel: %w", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(o.object(types)))
	if err != nil {
		return nil, fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	var usable []*hook
	var missing map[string]error
	if o.trace {
		err = o.setTrace(spec)
	} else {
		usable, missing = fit(types)
		usable = of(usable, o.model)
		err = o.choose(spec, usable, missing)
	}
	if err != nil {
		return nil, err
	}
	if err := o.set(spec); err != nil {
		return nil, err
	}
	l := &loaded{missing: missing}
	if l.programs, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		Programs: ebpf.ProgramOptions{KernelTypes: types, ExtraRelocationTargets: o.moduleTypes()},
	}); err != nil {
		return nil, fmt.Errorf("cannot load the BPF programs: %w", err)
	}
	l.maps = l.programs.Maps
	l.variable = func(name string, value any) error { return l.programs.Variables[name].Get(value) }
	if o.host {
		if err := l.leaveOut(true); err != nil {
			l.close()
			return nil, err
		}
	}
	points := tracing
	if o.trace {
		points = tracepoints
		err = l.findNames()
	} else {
		usable = append(usable, o.hashing()...)
	}
	if err == nil && !o.unattached {
		err = l.attach(usable, points)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// choose leaves in spec the programs that are usable.
func (o *loadOptions) choose(spec *ebpf.CollectionSpec, usable []*hook, missing map[string]error) error {
	wanted := map[string]bool{"look": true, "alive": true}
	for _, name := range tracing {
		wanted[name] = true
	}
	for _, h := range usable {
		wanted[h.programName()] = true
	}
	for _, h := range o.hashing() {
		wanted[h.programName()] = true
	}
	for i := range hooks {
		if err := missing[hooks[i].name]; err != nil && hooks[i].needed {
			return fmt.Errorf("the hook %s cannot be used: %w", hooks[i].name, err)
		}
	}
	for name := range spec.Programs {
		if !wanted[name] {
			delete(spec.Programs, name)
		}
	}
	return nil
}

func (o *loadOptions) set(spec *ebpf.CollectionSpec) error {
	if o.ring != 0 {
		spec.Maps["ring"].MaxEntries = o.ring
		if o.host {
			// With no process alive the notes wait as long as the events.
			spec.Maps["notes"].MaxEntries = max(o.ring/4, minNotes)
		}
	}
	_, opens := o.model.Of(tsem.FileOpen)
	for name, value := range map[string]any{
		"want_hash": o.hash, "born": uint64(bootTime()), "wake_every": spec.Maps["ring"].MaxEntries / wakeParts,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("cannot set %s in the BPF programs: %w", name, err)
		}
	}
	if err := setRules(spec, o.rules); err != nil {
		return err
	}
	for name, on := range map[string]bool{"want_users": o.users, "no_opens": !opens, "host": o.host, "contained": o.box} {
		if on {
			if err := spec.Variables[name].Set(uint32(1)); err != nil {
				return fmt.Errorf("cannot set %s in the BPF programs: %w", name, err)
			}
		}
	}
	return nil
}

// moduleTypes are those of the driver of tun devices, where that is a module and there.
func (o *loadOptions) moduleTypes() []*btf.Spec {
	if !o.trace {
		return nil
	}
	spec, err := btf.LoadKernelModuleSpec("tun")
	if err != nil {
		return nil
	}
	return []*btf.Spec{spec}
}

// object is what the programs are in, for a kernel with these types.
func (o *loadOptions) object(types *btf.Spec) []byte {
	_, err := types.AnyTypeByName("bpf_rdonly_cast")
	switch {
	case o.trace && err == nil:
		return traceObject
	case o.trace:
		return oldTraceObject
	case err == nil:
		return hooksObject
	}
	return oldHooksObject
}

// attach attaches the programs, those first that others rely on.
func (l *loaded) attach(usable []*hook, points []string) error {
	for _, h := range usable {
		at, err := link.AttachLSM(link.LSMOptions{Program: l.programs.Programs[h.programName()]})
		if err != nil {
			return fmt.Errorf("cannot attach to the hook %s: %w", h.name, err)
		}
		l.links, l.hooks = append(l.links, at), append(l.hooks, h.programName())
	}
	for _, name := range points {
		at, err := link.AttachTracing(link.TracingOptions{Program: l.programs.Programs[name]})
		if err != nil {
			return fmt.Errorf("cannot attach to the tracepoint %s: %w", name, err)
		}
		l.links, l.hooks = append(l.links, at), append(l.hooks, name)
	}
	alive, err := link.AttachIter(link.IterOptions{Program: l.programs.Programs["alive"]})
	if err != nil {
		return fmt.Errorf("cannot attach the BPF iterator of tasks: %w", err)
	}
	l.alive = alive
	looking, err := link.AttachIter(link.IterOptions{Program: l.programs.Programs["look"]})
	if err != nil {
		return fmt.Errorf("cannot attach the BPF iterator of tasks: %w", err)
	}
	l.looking = looking
	_, err = l.look()
	return err
}

// look lists the processes of the context that are alive, and notes where we
// stand ourselves.
func (l *loaded) look() (pids []int, err error) {
	r, err := l.looking.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot look at the tasks through BPF: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("cannot look at the tasks through BPF: %w", err)
	}
	seen := make(map[int]bool)
	for ; len(b) >= 4; b = b[4:] {
		if pid := int(binary.NativeEndian.Uint32(b)); !seen[pid] {
			seen[pid] = true
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// stateSize is that of a struct state, and muteAt where its member of that name
// is.
const (
	stateSize = 88
	muteAt    = 64
	contextAt = 72
)

// What a task that is marked waits for, to become the first of the context.
const (
	muteExec    = 1 + iota // its next exec
	muteRuntime            // the first one in a container, of itself or of what it makes
)

// tag makes a process one that waits.
func (l *loaded) tag(pidfd int, mute uint32) error {
	state := make([]byte, stateSize)
	binary.NativeEndian.PutUint32(state[muteAt:], mute)
	return l.maps["states"].Put(uint32(pidfd), state)
}

// number reads a variable of the programs.
func (l *loaded) number(name string) (n uint64) {
	l.variable(name, &n)
	return n
}

// lost reads how many events were not written, by cause.
func (l *loaded) lost() (n [lostCauses]uint64) {
	l.variable("lost", &n)
	return n
}

// close gives up all of it.
func (l *loaded) close() {
	l.release()
	for _, it := range []opener{l.looking, l.alive} {
		if it != nil {
			it.Close()
		}
	}
	if l.programs != nil {
		l.programs.Close()
		return
	}
	for _, m := range l.maps {
		m.Close()
	}
}
