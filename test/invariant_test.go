// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"strconv"

	"quixote-export/tsem"
)

// check looks for what no stream may have.
func (s *stream) check(o *options) {
	s.t.Helper()
	s.checkMarkers(o)
	if len(s.lost) > 0 && !o.lost {
		s.t.Errorf("losses: %+v", s.lost[0])
	}
	var ts uint64
	for i, e := range s.events {
		if e.Number != uint64(i+1) && !o.lost {
			s.t.Fatalf("event %d has the number %d", i+1, e.Number)
		}
		// Of several processors the hooks write into one ring, each when it is done.
		if e.TS < ts && o.source() == "seccomp" {
			s.t.Errorf("event %d was before event %d", i+1, i)
		}
		ts = e.TS
		if s.start != nil && e.Context != s.start.Context {
			s.t.Errorf("event %d is of context %d, the stream of %d", i+1, e.Context, s.start.Context)
		}
		if e.Async != e.Type.Info().Async {
			s.t.Errorf("event %d, a %s: async is %v", i+1, e.Type, e.Async)
		}
		if e.Time.IsZero() == contains(o.flags, "-a") {
			s.t.Errorf("event %d has the time %v", i+1, e.Time)
		}
	}
	if !contains(o.flags, "-M") { // which can leave out the programs that give identities
		s.checkIdentities()
	}
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// checkMarkers compares the first and the last record with what is between.
func (s *stream) checkMarkers(o *options) {
	s.t.Helper()
	if o.plain {
		if s.start != nil || s.end != nil {
			s.t.Error("there are markers")
		}
		return
	}
	lines := bytes.SplitAfter(s.raw, []byte("\n"))
	lines = lines[:len(lines)-1]
	if s.start == nil || s.end == nil || len(lines) < 2 {
		s.t.Fatalf("markers: %v, %v; %d lines", s.start, s.end, len(lines))
	}
	first, last := read(s.t, lines[0]), read(s.t, lines[len(lines)-1])
	if first.Kind != tsem.KindStart || last.Kind != tsem.KindEnd || len(s.events)+len(s.lost) != len(lines)-2 {
		s.t.Errorf("the markers are not around the %d events and %d losses of %d lines", len(s.events), len(s.lost), len(lines))
	}
	size := uint64(len(s.raw) - len(lines[len(lines)-1]))
	status := strconv.Itoa(s.status)
	if s.end.Events != uint64(len(s.events)) || s.end.Bytes != size || s.end.Run != s.start.Run ||
		!o.lost && (s.end.Lost != "0" || s.end.Status != status) {
		s.t.Errorf("the end is %+v, with %d events in %d bytes and status %s", s.end, len(s.events), size, status)
	}
	if s.start.Schema != tsem.Schema || s.start.Source != o.source() || s.end.Ended.Before(s.start.Started) || len(s.start.Run) != 36 || len(s.start.BootID) != 36 {
		s.t.Errorf("the start is %+v", s.start)
	}
}

// algorithm is the one whose digests the stream has.
func (s *stream) algorithm() *tsem.Algorithm {
	name := "sha256"
	if s.start != nil {
		name = s.start.Digest
	}
	a, err := tsem.AlgorithmByName(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// checkIdentities follows every task: its identity changes only when it
// executes a program, and then to what the program gives.
func (s *stream) checkIdentities() {
	s.t.Helper()
	alg := s.algorithm()
	last := make(map[uint64]*tsem.Event)     // by tnum
	holder := make(map[uint32]uint64)        // tnum by pid
	programs := make(map[uint64][]tsem.File) // opened to be executed, by tnum
	known := map[string]bool{identity(alg.Zero(), 0): true}
	ttd := map[uint64]string{0: string(alg.Zero())}
	for _, e := range s.events {
		if len(e.TaskID) != alg.Size || len(e.PTaskID) != alg.Size {
			s.t.Fatalf("event %d: digests of %d and %d bytes", e.Number, len(e.TaskID), len(e.PTaskID))
		}
		before := last[e.TNum]
		executed := before != nil && before.TTD != e.TTD
		switch {
		case before == nil:
			if e.TTD != e.PTTD && e.TTD == 0 || e.TTD == e.PTTD && !bytes.Equal(e.TaskID, e.PTaskID) {
				s.t.Errorf("event %d: the new task %d has ttd %d of %d but another identity", e.Number, e.TNum, e.TTD, e.PTTD)
			}
			if !known[identity(e.PTaskID, e.PTTD)] {
				s.t.Errorf("event %d: nobody was the parent of %d, with p_ttd %d", e.Number, e.TNum, e.PTTD)
			}
			executed = e.TTD != e.PTTD
		case before.PTTD != e.PTTD || !bytes.Equal(before.PTaskID, e.PTaskID):
			s.t.Errorf("event %d: p_task_id or p_ttd have changed", e.Number)
		case before.PID != e.PID && !executed:
			s.t.Errorf("event %d: task %d was %d and is %d", e.Number, e.TNum, before.PID, e.PID)
		case before.TTD == e.TTD && !bytes.Equal(before.TaskID, e.TaskID):
			s.t.Errorf("event %d: task_id has changed without an exec", e.Number)
		case e.TTD < before.TTD:
			s.t.Errorf("event %d: ttd goes back", e.Number)
		}
		if executed {
			s.checkExec(e, programs[e.TNum], before == nil)
		}
		if id, ok := ttd[e.TTD]; ok && id != string(e.TaskID) {
			s.t.Errorf("event %d: two identities of ttd %d", e.Number, e.TTD)
		}
		ttd[e.TTD] = string(e.TaskID)
		if old, ok := holder[e.PID]; ok && old != e.TNum && last[old].PID == e.PID && e.TNum < old {
			s.t.Errorf("event %d: pid %d goes from task %d back to %d", e.Number, e.PID, old, e.TNum)
		}
		holder[e.PID] = e.TNum
		known[identity(e.TaskID, e.TTD)] = true
		last[e.TNum] = e
		if c, ok := e.Cell.(*tsem.FileCell); ok && e.Type == tsem.FileOpen && c.File.Flags == execFlags {
			programs[e.TNum] = append(programs[e.TNum], c.File)
		}
	}
}

// execFlags are the flags of a program that is opened to be executed.
const execFlags = 32800

func identity(id tsem.Digest, ttd uint64) string {
	return string(id) + strconv.FormatUint(ttd, 10)
}

// checkExec recomputes the identity with which e, the first event of a task
// after an exec, comes.
func (s *stream) checkExec(e *tsem.Event, opened []tsem.File, unseen bool) {
	s.t.Helper()
	hasher := tsem.NewHasher(s.algorithm())
	for i := len(opened) - 1; i >= 0; i-- {
		if bytes.Equal(hasher.TaskID(nil, e.PTaskID, &opened[i]), e.TaskID) {
			return
		}
	}
	s.t.Errorf("event %d, by %s: none of the %d programs that task %d has opened gives its identity (first event: %v)",
		e.Number, e.Process, len(opened), e.TNum, unseen)
}
