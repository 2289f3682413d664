// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"strings"
	"testing"

	"quixote-export/tsem"
)

// The command says what was asked for, and what kernels crash of is refused before
// it is written.
func TestRequests(t *testing.T) {
	algorithm := func(name string) *tsem.Algorithm {
		if a, err := tsem.AlgorithmByName(name); err == nil {
			return a
		}
		return &tsem.Algorithm{Name: name}
	}
	for _, row := range []struct {
		current bool
		digest  string
		cache   int
		model   string
		command string // or
		refused string
	}{
		{false, "sha256", 0, "", "export nsref=initial digest=sha256", ""},
		{false, "sha256", 0, "default", "export nsref=initial digest=sha256", ""},
		{true, "sha3-512", 1, "", "export nsref=current digest=sha3-512 cache=1", ""},
		{true, "md5", 4096, "some-model", "export nsref=current digest=md5 cache=4096 model=some-model", ""},
		{false, "sha256", 0, strings.Repeat("m", 127-len("export nsref=initial digest=sha256 model=\n")), "export nsref=initial digest=sha256 model=" + strings.Repeat("m", 85), ""},
		{false, "sha256", 0, strings.Repeat("m", 128-len("export nsref=initial digest=sha256 model=\n")), "", "too long"},
		{false, "sha256", 4097, "", "", "at most 4096"},
		{false, "sha256", 100_000, "", "", "at most 4096"},
		{false, "sha256", -1, "", "", "not possible"},
		{false, "hmac(sha256)", 0, "", "", "unknown digest"},
		{false, "crc32", 0, "", "", "unknown digest"},
		{false, "sha256 cache=100000", 0, "", "", "unknown digest"},
		{false, "sha256", 0, "m cache=100000", "", "no blanks"},
		{false, "sha256", 0, "m\nexport", "", "no blanks"},
		{false, "sha256", 0, "m=", "", "no ="},
	} {
		r := Request{Current: row.current, Algorithm: algorithm(row.digest), Cache: row.cache, Model: row.model}
		err := r.Check()
		switch {
		case row.refused != "" && (err == nil || !strings.Contains(err.Error(), row.refused)):
			t.Errorf("%+v: the error is %v, want %s", row, err, row.refused)
		case row.refused == "" && (err != nil || r.command() != row.command):
			t.Errorf("%+v: %v, the command is %q", row, err, r.command())
		}
	}
}
