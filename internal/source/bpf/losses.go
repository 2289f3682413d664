// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import "quixote-export/internal/record"

// losses says what each counter of the kernel means for the stream.
var losses = [lostCauses]struct {
	cause record.Cause
	exact bool // it counts events
}{
	lostRing:    {record.CauseRingFull, true},
	lostTooLong: {record.CauseRecordTooLong, true},
	lostNested:  {record.CauseNested, true},
	lostMemory:  {record.CauseNoMemory, true},
	lostTask:    {record.CauseTaskUnseen, false},
	lostNote:    {record.CauseUnidentified, false},
	lostOwner:   {record.CauseUnidentified, false},
}

// A tally is what was told of the events that the programs could not write.
type tally struct {
	told  [lostCauses]uint64
	total uint64
}

// tell has up to n losses recorded that have not been told; now is what the kernel
// has counted. If not all events are kept, nobody knows how many of those lost
// would have been.
func (t *tally) tell(now [lostCauses]uint64, n uint64, all bool, miss func(cause record.Cause, n uint64, known bool)) {
	for i := range now {
		missed := min(now[i]-t.told[i], n)
		if missed == 0 {
			continue
		}
		n -= missed
		t.told[i] += missed
		t.total += missed
		miss(losses[i].cause, missed, losses[i].exact && all)
	}
}
