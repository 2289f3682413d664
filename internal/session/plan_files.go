// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os"

	"quixote-export/internal/broker"
	"quixote-export/internal/export"
	"quixote-export/internal/sink/file"
)

// CheckFiles looks, without touching them, whether the files that the plan
// names could be written, and reads those of the broker's password and
// certificates.
func (p *Plan) CheckFiles() error {
	output := p.Output
	if p.Mode == Show {
		output = "" // nothing is exported
	}
	for _, path := range []string{output, p.Debug} {
		if path == "" {
			continue
		}
		if err := file.Check(path); err != nil {
			return err
		}
	}
	if p.Broker != "" && p.Mode != Show || p.Mode == Drain {
		_, err := p.loadSecrets(os.Getenv(broker.PasswordVariable))
		return err
	}
	return nil
}

// ToStdout reports whether records go to standard output. The workload's own
// output then has to go elsewhere.
func (p *Plan) ToStdout() bool { return file.IsStdout(p.Output) }

// Sinks makes a sink for every output of the plan, in the order file, broker,
// endpoint. Files are opened by their first record only. notice is called with
// lines for the user. again is that of a file: see file.Options.
func (p *Plan) Sinks(stdout *os.File, notice func(string), again func([]byte) bool) ([]export.Sink, error) {
	var sinks []export.Sink
	if p.Output != "" {
		s, err := file.New(p.Output, stdout, file.Options{Append: p.Append, Again: again, Notice: notice})
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}
