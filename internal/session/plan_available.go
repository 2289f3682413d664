// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

// A missing row is something that parses and is checked, but that this version
// cannot do. Take the row out when the feature arrives, and its flag out of
// the last lines of the help page and the manual page.
type missing struct {
	flag  string
	what  string
	asked func(*Plan) bool
}

var missingFeatures = []missing{
	{"-e", "an Elasticsearch endpoint", func(p *Plan) bool { return p.Endpoint != "" }},
}

// NotAvailable lists the flags whose features this version lacks.
func NotAvailable() []string {
	var flags []string
	for _, m := range missingFeatures {
		flags = append(flags, m.flag)
	}
	return flags
}

// Available refuses a plan that asks for something this version lacks, with
// one line that names it.
func (p *Plan) Available() error {
	for _, m := range missingFeatures {
		if m.asked(p) {
			return planError(m.flag + " (" + m.what + ") is not available in this version")
		}
	}
	return nil
}
