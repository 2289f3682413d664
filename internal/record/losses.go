// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"iter"
	"strings"
)

// A Cause says why records were lost. Its word is what lost records carry.
type Cause uint8

// The causes. Words are never renamed or reused: readers compare them.
const (
	CauseRingFull Cause = iota + 1
	CauseRecordTooLong
	CauseRecordInvalid
	CauseNumberGap
	CauseNotDerived
	CauseTaskUnreadable
	CauseIOURing
	CauseSourceEnded
	CauseRunStopped
	CauseOutputFull
	CauseOutputClosed
	CauseOutputError
	CauseSyncError
	CauseOutputDeleted
	CauseKilled
	CauseSpoolFull
	CauseSpoolError
	CauseSpoolDamaged
	CauseMessageTooLarge
	CauseMessageRefused
	CauseUnconfirmed
	CauseStalled
	CauseOutputStuck
	CauseNested
	CauseNoMemory
	CauseTaskUnseen
	CauseUnidentified

	causeCount = iota + 1
)

var causes = [causeCount]struct{ word, meaning string }{
	CauseRingFull:       {"ring_full", "the kernel had no room left in the ring between it and the source"},
	CauseRecordTooLong:  {"record_too_long", "the kernel dropped a record longer than its buffer"},
	CauseRecordInvalid:  {"record_invalid", "the kernel wrote a record that cannot be read"},
	CauseNumberGap:      {"number_gap", "the kernel's event numbers have a hole that nothing explains"},
	CauseNotDerived:     {"not_derived", "the events of a system call could not be derived"},
	CauseTaskUnreadable: {"task_unreadable", "a task that made a system call could not be looked at"},
	CauseIOURing:        {"io_uring", "the workload was allowed to use io_uring, whose work is not seen"},
	CauseSourceEnded:    {"source_ended", "the source failed before the namespace had ended"},
	CauseRunStopped:     {"run_stopped", "the export was broken off before the namespace had ended"},
	CauseOutputFull:     {"output_full", "the file system, quota or size limit of the output had no room"},
	CauseOutputClosed:   {"output_closed", "the reader of the output went away"},
	CauseOutputError:    {"output_error", "the output could not be opened or written"},
	CauseKilled:         {"killed", "quixote-export or its watchdog was killed"},
	CauseStalled:        {"stalled", "memory or a file that a call names did not answer"},
	CauseNested:         {"nested", "they came while their task was telling of another"},
	CauseNoMemory:       {"no_memory", "the kernel had no memory to write them"},
	CauseTaskUnseen:     {"task_unseen", "the kernel had no memory to see that a task belongs to the workload"},
	CauseUnidentified:   {"unidentified", "the kernel had no room to note a program or a maker, whose identity is empty or of nobody"},
	CauseSyncError:      {"sync_error", "records were written, but it is not certain that they are safe"},
	CauseOutputStuck:    {"output_stuck", "the reader of the output took nothing, and could not or should not be waited for"},
	CauseOutputDeleted:  {"output_deleted", "the output was deleted while it was written, and the records in it"},

	CauseSpoolFull:       {"spool_full", "the broker was away, and the spool had no room"},
	CauseSpoolError:      {"spool_error", "the broker was away, and the spool could not be written"},
	CauseSpoolDamaged:    {"spool_damaged", "what waited in the spool was damaged"},
	CauseMessageTooLarge: {"message_too_large", "the broker takes no message of that size"},
	CauseMessageRefused:  {"message_refused", "the broker refused the message"},
	CauseUnconfirmed:     {"unconfirmed", "the connection to the broker broke, and with QoS 0 nobody knows what it got"},
}

// String returns the word, as in the cause member of a lost record.
func (c Cause) String() string {
	if c == 0 || c >= causeCount {
		return fmt.Sprintf("cause_%d", uint8(c))
	}
	return causes[c].word
}

// Meaning explains the cause in half a sentence.
func (c Cause) Meaning() string {
	if c == 0 || c >= causeCount {
		return "unknown to this version"
	}
	return causes[c].meaning
}

// Causes yields every cause, in the order of the table.
func Causes() iter.Seq[Cause] {
	return func(yield func(Cause) bool) {
		for c := Cause(1); c < causeCount; c++ {
			if !yield(c) {
				return
			}
		}
	}
}

// Losses counts lost events by cause. The zero value says that nothing was
// lost. It is a plain value: copy and compare it freely.
type Losses struct {
	counts  [causeCount]uint64
	unknown [causeCount]bool
}

// Add counts n events more that were lost for that cause.
func (l *Losses) Add(c Cause, n uint64) { l.counts[c] += n }

// AddUnknown notes that events, or nobody knows whether, were lost for that
// cause, and that their count cannot be known.
func (l *Losses) AddUnknown(c Cause) { l.unknown[c] = true }

// Merge adds all of other.
func (l *Losses) Merge(other Losses) {
	for c := range l.counts {
		l.counts[c] += other.counts[c]
		l.unknown[c] = l.unknown[c] || other.unknown[c]
	}
}

// None reports whether nothing was lost.
func (l Losses) None() bool { return l == Losses{} }

// Count returns how many events were lost for one cause; when exact is false
// there may be more.
func (l Losses) Count(c Cause) (n uint64, exact bool) {
	return l.counts[c], !l.unknown[c]
}

// Total returns how many events were lost; when exact is false there may be
// more.
func (l Losses) Total() (n uint64, exact bool) {
	exact = true
	for c := range l.counts {
		n += l.counts[c]
		exact = exact && !l.unknown[c]
	}
	return n, exact
}

// String lists the losses by cause: "17 ring_full, at least 5 output_error,
// an unknown number source_ended". It is empty when nothing was lost.
func (l Losses) String() string {
	var parts []string
	for c := range Causes() {
		n, exact := l.Count(c)
		switch {
		case exact && n > 0:
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		case !exact && n > 0:
			parts = append(parts, fmt.Sprintf("at least %d %s", n, c))
		case !exact:
			parts = append(parts, fmt.Sprintf("an unknown number %s", c))
		}
	}
	return strings.Join(parts, ", ")
}
