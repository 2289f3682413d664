// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"os"
	"testing"

	"quixote-export/tsem"
)

// Every exported event type is derived from some call or is explained.
func TestCoverage(t *testing.T) {
	for _, s := range Coverage() {
		if len(s.Calls) == 0 && unseen[s.Type] == "" {
			t.Errorf("%s is derived from no call, and nothing says why", s.Type)
		}
		if len(s.Calls) > 0 && unseen[s.Type] != "" {
			t.Errorf("%s is derived from %v, but is explained as unseen", s.Type, s.Calls)
		}
	}
	for kind := range unseen {
		if kind.Info().Export == tsem.NotExported {
			t.Errorf("%s is not exported at all", kind)
		}
	}
}

func TestCoverageDocumentIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := WriteCoverage(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../doc/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("doc/coverage.md is not what the table says: run make generate")
	}
}
