// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"quixote-export/internal/source/bpf"
	"quixote-export/internal/workload"
)

// startBPF makes the child, which enters nothing: it is put into its context
// from outside.
func (s *session) startBPF(number uint64) error {
	work, err := workload.Start(s.spec(s.source))
	if err != nil {
		return err
	}
	s.work = work
	src, err := s.attachBPF(number)
	if err != nil {
		return s.notAttached(err, false)
	}
	s.src = src
	return nil
}

// attachBPF puts the child into its context.
func (s *session) attachBPF(number uint64) (*bpf.Source, error) {
	return bpf.Attach(s.work.PID, bpf.Options{
		Container:      s.bundle != nil,
		IncludeRuntime: s.plan.IncludeRuntime,
		Trace:          s.source == SourceTrace,
		Context:        number,
		Ledger:         s.ledger,
		Model:          s.model,
		Algorithm:      s.plan.Digest,
		DigestLimit:    s.plan.DigestLimit,
		Current:        s.plan.NSRefCurrent,
		Timestamp:      s.plan.Timestamp,
		Ring:           uint32(s.plan.Ring),
		Keep:           s.work.Keep,
		Log:            s.log,
	})
}
