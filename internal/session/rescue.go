// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"quixote-export/internal/container"
	"quixote-export/internal/export"
	"quixote-export/internal/ledger"
	"quixote-export/internal/sink/file"
	"quixote-export/internal/workload"
	"quixote-export/tsem"
)

// A will is what the watchdog is to do when we are killed: see to it that each
// output gets what was recorded, and an end that says what happened.
type will struct {
	Workload string
	Context  uint64
	Start    *tsem.Start // nil without markers
	Outputs  []legatee   // in the order of the sinks
	// Kept tells that what was not delivered stays for the next export.
	Kept bool
	// Container is to be removed, if there is one.
	Container *container.Remains
}

// A legatee is one output in a will.
type legatee struct {
	Path   string // of the flag -o
	Append bool
	Spool  *spoolLegatee // of a broker; nil: it is a file
}

// will is that of a run of the plan. collected tells that nothing is to be
// delivered by it.
func (p *Plan) will(number uint64, start *tsem.Start, collected bool) *will {
	w := &will{Workload: p.Workload, Context: number, Start: start}
	if w.Kept = collected; w.Kept {
		return w
	}
	if p.Output != "" {
		w.Outputs = append(w.Outputs, legatee{Path: p.Output, Append: p.Append})
	}
	return w
}

func (w *will) marshal() []byte {
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // it has no value that JSON has not
	}
	return text
}

// rescuePatience bounds how long an output may take: its reader may be gone, or
// have died with the workload.
const rescuePatience = 5 * time.Second

// execute carries out the will of a supervisor that was killed, and tells the
// user what came of it.
func execute(legacy workload.Legacy) {
	lines := []string{"killed, and with it the workload"}
	if legacy.Left > 0 {
		lines[0] = fmt.Sprintf("killed, and with it the workload, but for %d processes that do not die", legacy.Left)
	}
	var w will
	book, err := ledger.Open(legacy.Ledger)
	if err == nil {
		err = json.Unmarshal(legacy.Will, &w)
	}
	if err != nil {
		lines = append(lines, fmt.Sprintf("what was recorded last is lost: %v", err))
	}
	if w.Kept {
		lines[0] = "killed; what was not delivered waits for the next -R"
	}
	if w.Container != nil {
		if err := w.Container.Remove(); err != nil {
			lines = append(lines, err.Error())
		} else {
			lines = append(lines, fmt.Sprintf("the container %q is stopped and removed", w.Container.Name))
		}
	}
	for i, l := range w.Outputs {
		done := make(chan string, 1)
		go func() { done <- l.rescue(&w, book, i, legacy.Outputs[i]) }()
		select {
		case line := <-done:
			lines = append(lines, line)
		case <-time.After(rescuePatience):
			lines = append(lines, fmt.Sprintf("what was recorded last is missing from %s: it takes nothing", l.Path))
		}
	}
	fmt.Fprintf(os.Stderr, "quixote-export: %s\n", strings.Join(lines, "; "))
}

// rescue gives output number i what it lacks, and says so.
func (l legatee) rescue(w *will, book *ledger.Ledger, i int, open *os.File) string {
	if l.Spool != nil {
		return l.Spool.rescue(w, book, i)
	}
	account := book.Output(i)
	left := book.Left(account)
	if open == nil && len(left) == 0 {
		return fmt.Sprintf("%s is as it was: nothing had been recorded", l.Path)
	}
	rest := export.Rest{
		Left: left, Start: w.Start, Started: account.Bytes() > 0,
		Context: w.Context, Last: book.LastNumber(), Events: account.Events(), Bytes: account.Bytes(),
	}
	part := max(account.Part(), 1)
	var sink export.Sink
	if open == nil {
		s, err := file.New(l.Path, os.Stdout, file.Options{Append: l.Append})
		if err != nil {
			return err.Error()
		}
		sink = s
	} else {
		r, err := file.Resume(l.Path, file.Tail{File: open, Offset: int64(account.Offset()), Writing: account.Writing()}, left)
		if err != nil {
			return err.Error()
		}
		if r.Ended && !r.Rotated {
			return fmt.Sprintf("%s is complete", l.Path)
		}
		rest.Left, rest.Started = r.Left, rest.Started || r.Started
		rest.Events, rest.Bytes = rest.Events+r.Events, rest.Bytes+r.Bytes
		sink = r.Sink
		if r.Rotated || r.Fresh {
			rest.Started, rest.Events, rest.Bytes = false, 0, 0
			part++
		}
		if r.Rotated {
			if sink, err = file.New(l.Path, os.Stdout, file.Options{Append: true}); err != nil {
				return err.Error()
			}
		}
	}
	if rest.Start != nil && part > 1 {
		start := *rest.Start
		start.Part = part
		rest.Start = &start
	}
	n, err := export.Rescue(sink, rest)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s is whole up to then (%d records were still to be written)", l.Path, n)
}
