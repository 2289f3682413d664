// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"

	tsemsource "quixote-export/internal/source/tsem"
	"quixote-export/internal/workload"
)

// tsemRequest is the context that the plan wants of a TSEM kernel.
func (p *Plan) tsemRequest() tsemsource.Request {
	return tsemsource.Request{Current: p.NSRefCurrent, Algorithm: p.Digest, Cache: p.Cache, Model: p.Model}
}

func (s *session) tsemOptions() tsemsource.Options {
	return tsemsource.Options{
		Root:      s.plan.securityfs(),
		Ledger:    s.ledger,
		Algorithm: s.plan.Digest,
		Timestamp: s.plan.Timestamp,
		Processes: s.work.Processes,
		Notice:    s.notice,
		Failed:    s.sourceFailed,
		Log:       s.log,
	}
}

// sourceFailed is called when the reading has broken off: nothing of what the
// workload does is seen any more.
func (s *session) sourceFailed(err error) {
	s.log.Error("source failed", "error", err)
	s.broken <- err
}

// startTSEM makes the child, which makes its context itself, and has the
// watchdog read that.
func (s *session) startTSEM() error {
	spec := s.spec(SourceTSEM)
	spec.Options = tsemsource.Entrance{Root: s.plan.securityfs(), Request: s.plan.tsemRequest()}.Options()
	spec.Reads = true
	work, err := workload.Start(spec)
	if err != nil {
		return err
	}
	s.work = work
	src, err := tsemsource.Attach(work.Control, work.Line, s.tsemOptions())
	if err != nil {
		return s.notAttached(err, errors.Is(err, tsemsource.ErrNotEntered))
	}
	s.src = src
	s.numbered(src.Context())
	return nil
}

// numbered notes the number that the kernel has given the context.
func (s *session) numbered(context uint64) {
	if s.will.Start != nil {
		s.will.Start.Context = context // which is that of the exporter, too
	}
	s.will.Context = context
	s.work.SetWill(s.will.marshal())
}
