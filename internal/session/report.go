// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/export"
)

// Report writes what came of the export: the table of types when the plan
// asks for it, and the closing line when somebody is there to read it or when
// something was lost.
func Report(w io.Writer, plan *Plan, s export.Summary, terminal bool) {
	if plan.Stats {
		io.WriteString(w, statsTable(s))
	}
	if terminal || plan.Stats || s.Lost() {
		fmt.Fprintf(w, "quixote-export: %s\n", closingLine(plan.Workload, s))
	}
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	is := false
	err = conn.Control(func(fd uintptr) {
		_, terr := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		is = terr == nil
	})
	return err == nil && is
}

// closingLine is one line whatever the workload is called.
func closingLine(workload string, s export.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s in %s", oneLine(workload), events(s.Events), byteSize(s.Bytes), seconds(s.Duration))
	if !s.Lost() {
		b.WriteString(", nothing lost")
		return b.String()
	}
	if !s.Source.None() {
		fmt.Fprintf(&b, "; lost: %s", s.Source)
	}
	for _, sink := range s.Sinks {
		if !sink.Losses.None() {
			fmt.Fprintf(&b, "; missing from %s: %s", oneLine(sink.Name), sink.Losses)
		}
	}
	return b.String()
}

// statsTable has a row for each type of event that occurred, the most
// frequent first, and their sum.
func statsTable(s export.Summary) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%10s  %s\n", "events", "type")
	for _, row := range s.ByType {
		name := row.Type.String()
		if name == "" {
			name = "(unknown)" // of a kernel that is newer than this program
		}
		fmt.Fprintf(&b, "%10d  %s\n", row.Count, name)
	}
	fmt.Fprintf(&b, "%10d  %s\n", s.Events, "all")
	return b.String()
}

func events(n uint64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// byteSize writes a size with one decimal and a decimal unit.
func byteSize(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"kB", "MB", "GB", "TB"}
	size, unit := float64(n)/1000, 0
	// 999.95 would be written as 1000.0.
	for size >= 999.95 && unit < len(units)-1 {
		size /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}

// seconds writes a duration so that it can be read at a glance.
func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < 10*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// oneLine keeps control characters of a name off the terminal.
func oneLine(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, name)
}
