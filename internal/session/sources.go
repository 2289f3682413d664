// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"quixote-export/internal/derive"
	"quixote-export/internal/source/bpf"
	"quixote-export/internal/source/seccomp"
	tsemsource "quixote-export/internal/source/tsem"
)

// source is one place events can come from, and what it takes.
type source struct {
	name  string
	what  string
	probe func() error  // nil, or what is missing on this host
	limit func() string // what the calling user does not get, "" for nothing
}

// sources is every source, in the order in which auto tries them. securityfs is
// where that is.
func sources(securityfs string) []source {
	nothing := func() string { return "" }
	return []source{
		{SourceTSEM, "the events of a TSEM kernel, in its own order and digests", func() error { return tsemsource.Probe(securityfs) }, nothing},
		{SourceBPF, "BPF programs on the hooks of the kernel", bpf.Probe, bpfLimits},
		{SourceSeccomp, seccompSees(), seccomp.Probe, seccomp.Limits},
		{SourceTrace, traceSees(), bpf.ProbeTrace, traceLimits},
	}
}

// seccompSees counts what system calls tell; doc/coverage.md has the list.
func seccompSees() string {
	coverage := derive.Coverage()
	seen := 0
	for _, s := range coverage {
		if len(s.Calls) > 0 {
			seen++
		}
	}
	return fmt.Sprintf("the system calls of a workload, each stopped until it is recorded: %d of %d event types", seen, len(coverage))
}

// traceSees counts what the system calls that succeed tell; doc/trace.md has more.
func traceSees() string {
	return fmt.Sprintf("BPF programs on the tracepoints of system calls, which tell of those that succeed: %d of %d event types", bpf.TraceTypes(), len(derive.Coverage()))
}

// traceLimits tells what is not seen from the tracepoints of this host.
func traceLimits() string {
	if why := bpf.TraceLimits(); why != nil {
		return why.Error()
	}
	return ""
}

// Sources writes a line for each source: whether this host offers it, and what
// is missing if it does not.
func Sources(w io.Writer, plan *Plan) error {
	for _, s := range sources(plan.securityfs()) {
		state := "available"
		if err := s.probe(); err != nil {
			state = "missing: " + err.Error()
		} else if limit := s.limit(); limit != "" {
			state = "available, " + limit
		}
		if _, err := fmt.Fprintf(w, "%-8s %s (%s)\n", s.name, state, s.what); err != nil {
			return fmt.Errorf("cannot write to standard output: %w", err)
		}
	}
	taken := func(m Mode) string {
		auto := *plan
		auto.Source, auto.Mode = SourceAuto, m
		name, err := auto.pick(slog.New(slog.DiscardHandler))
		if err != nil {
			return "none"
		}
		return name
	}
	if _, err := fmt.Fprintf(w, "%-8s %s for a workload, %s for the whole host\n", SourceAuto, taken(Command), taken(Root)); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	return nil
}

// bpfLimits tells what is not seen by the programs on this host.
func bpfLimits() string {
	missing, err := bpf.Missing()
	if err != nil {
		return err.Error()
	}
	var hooks []string
	for name, why := range missing {
		hooks = append(hooks, name+": "+why.Error())
	}
	slices.Sort(hooks)
	if len(hooks) == 0 {
		return ""
	}
	return "without some events (" + strings.Join(hooks, "; ") + ")"
}

// errNoAbspath is why auto passes bpf over where another source can do what was
// asked. Of the flags that are for one source alone, it is the only one without
// which something is missing from the records.
var errNoAbspath = errors.New("it has no absolute paths where the path is another (--abspath)")

// pick chooses the source of the events, and logs those that it passes over.
func (p *Plan) pick(log *slog.Logger) (string, error) {
	var reasons error
	for _, s := range sources(p.securityfs()) {
		host := p.Mode == Root || p.Mode == InstallCollector
		if p.Source != SourceAuto && s.name != p.Source || host && s.name == SourceSeccomp {
			continue
		}
		if p.Source == SourceAuto && s.name == SourceTrace && !host {
			continue // it can lose what others have for certain
		}
		err := s.probe()
		if err == nil {
			_, err = p.events(s.name)
		}
		if err == nil && p.Abspath && p.Source == SourceAuto && p.Mode != Root && s.name == SourceBPF {
			err = errNoAbspath
		}
		if err == nil {
			log.Debug("source taken", "source", s.name)
			return s.name, nil
		}
		log.Debug("source passed over", "source", s.name, "reason", err)
		reasons = fmt.Errorf("source %s: %w", s.name, err)
	}
	whose := "a workload"
	if p.Mode == Root || p.Mode == InstallCollector {
		whose = "the root context"
	}
	return "", fmt.Errorf("no source of events for %s on this host: %w (--sources tells more)", whose, reasons)
}
