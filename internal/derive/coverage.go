// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"quixote-export/tsem"
)

// Seen is one event type that TSEM exports, and the system calls that lead to
// it, none where it cannot be derived.
type Seen struct {
	Type  tsem.Type
	Calls []string
}

// unseen says why an event type has no system call.
var unseen = map[tsem.Type]string{
	tsem.Capable:             "the kernel checks capabilities in the midst of calls, on ways that only it knows",
	tsem.KernelModuleRequest: "the kernel asks for a module by itself, when it misses one",
	tsem.InodeKillpriv:       "a write or another change takes file capabilities away, as the file system goes about it",
}

// Coverage lists every event type that TSEM exports, in the order of the
// vocabulary, with the system calls that lead to it.
func Coverage() []Seen {
	calls := make(map[tsem.Type][]string)
	for _, row := range Table() {
		for _, t := range row.Events {
			name := row.Name
			if row.io {
				name += " (--io)"
			}
			if row.on == compat {
				name += " (32-bit)"
			}
			if !slices.Contains(calls[t], name) {
				calls[t] = append(calls[t], name)
			}
		}
	}
	var all []Seen
	for t := range tsem.All() {
		if t.Info().Export != tsem.NotExported {
			all = append(all, Seen{t, calls[t]})
		}
	}
	return all
}

// WriteCoverage writes the coverage as a document in Markdown.
func WriteCoverage(w io.Writer) error {
	var seen, not strings.Builder
	n := 0
	for _, s := range Coverage() {
		if len(s.Calls) == 0 {
			fmt.Fprintf(&not, "| `%s` | %s |\n", s.Type, unseen[s.Type])
			continue
		}
		n++
		fmt.Fprintf(&seen, "| `%s` | %s |\n", s.Type, strings.Join(s.Calls, ", "))
	}
	_, err := fmt.Fprintf(w, `# What the seccomp source sees

Generated from the table of system calls: make generate.

Of the %d event types that a TSEM kernel exports, %d are derived from system
calls. A call is listed with every type it can turn out to be.

| event type | system calls |
|---|---|
%s
## Not seen

| event type | why |
|---|---|
%s
Nor are, of the types above: what the kernel does by itself or on behalf of a
task without a call of its own (signals from the terminal and of timers, core
dumps, automatic mounts, the work of io_uring), reads and writes on sockets
unless --io is given, files received in messages, and calls of the x32 ABI,
which are refused.
`, len(Coverage()), n, seen.String(), not.String())
	return err
}
