// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package model knows the models that a context can have where there is no
// TSEM kernel: named sets of event types, some under a condition. An event that
// its model does not keep gets no number and is no loss.
package model

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// Condition is what else must hold for an event to be kept; of several, all.
type Condition uint8

const (
	// ByRoot wants the effective user id of the task to be 0, in the initial
	// user namespace or what we take for it.
	ByRoot Condition = 1 << iota
	// Executable wants a regular file that somebody may execute, or, of a
	// mapping, that it is of a file and can be executed.
	Executable
	// Executed wants a file that is opened to be executed.
	Executed
)

// ForExec is the mark that the kernel leaves in the flags of a file that is
// opened to be executed.
const ForExec = 0x20

// A Rule is one row of a model.
type Rule struct {
	Type tsem.Type
	When Condition
}

// Model is a named set of events.
type Model struct {
	Name string
	What string // in a few words
	// Rules has a row for each type that is kept.
	Rules []Rule

	kept [tsem.NumTypes + 1]bool
	when [tsem.NumTypes + 1]Condition
}

// DefaultName is the model of a context for which none is named.
const DefaultName = "default"

// All returns the models that are known, the default first.
func All() []*Model {
	return []*Model{
		define(DefaultName, "every event", exported(func(*tsem.Info) bool { return true })),
		define("exec", "which programs are run, and the code that is mapped",
			[]Rule{{tsem.FileOpen, Executed}, {tsem.MmapFile, Executable}}),
		define("files", "what is opened, made, changed, removed and mapped", families("file", "inode", "mmap")),
		define("network", "sockets, netlink and tunnels", families("socket", "unix", "netlink", "tun")),
		define("tsem-integrity", "the executables that root opens, and maps as code",
			[]Rule{{tsem.FileOpen, ByRoot | Executable}, {tsem.MmapFile, ByRoot | Executable}}),
	}
}

// Default returns the model that keeps every event.
func Default() *Model { return All()[0] }

// Find returns the model of a name; "" is the default.
func Find(name string) (*Model, error) {
	if name == "" {
		name = DefaultName
	}
	var names []string
	for _, m := range All() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return nil, fmt.Errorf("there is no model %q (-M), choose one of %s", name, strings.Join(names, ", "))
}

func define(name, what string, rules []Rule) *Model {
	m := &Model{Name: name, What: what, Rules: rules}
	for _, r := range rules {
		m.kept[r.Type], m.when[r.Type] = true, r.When
	}
	return m
}

func exported(want func(*tsem.Info) bool) []Rule {
	var rules []Rule
	for t := range tsem.All() {
		if info := t.Info(); info.Export != tsem.NotExported && want(info) {
			rules = append(rules, Rule{Type: t})
		}
	}
	return rules
}

func families(names ...string) []Rule {
	return exported(func(info *tsem.Info) bool {
		for _, name := range names {
			if info.Family == name {
				return true
			}
		}
		return false
	})
}

// Of tells whether a type is kept, and on which condition.
func (m *Model) Of(t tsem.Type) (Condition, bool) { return m.when[t], m.kept[t] }

// Facts are what conditions look at; those that a type has not are 0.
type Facts struct {
	Root  bool   // the task's effective user id is 0
	Mode  uint32 // of the file, with its type
	Flags uint32 // with which it is opened
	Prot  uint32 // of a mapping of a file
}

// Keeps tells whether an event is kept.
func (m *Model) Keeps(t tsem.Type, f Facts) bool {
	when := m.when[t]
	switch {
	case !m.kept[t],
		when&ByRoot != 0 && !f.Root,
		when&Executed != 0 && f.Flags&ForExec == 0:
		return false
	case when&Executable == 0:
		return true
	case t == tsem.MmapFile:
		return f.Prot&unix.PROT_EXEC != 0
	}
	return f.Mode&unix.S_IFMT == unix.S_IFREG && f.Mode&0o111 != 0
}

// Where is the model without the types of which keep is false.
func (m *Model) Where(keep func(tsem.Type) bool) *Model {
	var rules []Rule
	for _, r := range m.Rules {
		if keep(r.Type) {
			rules = append(rules, r)
		}
	}
	return define(m.Name, m.What, rules)
}
