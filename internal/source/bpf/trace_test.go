// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"strconv"
	"testing"
)

// needTrace skips where such programs cannot be loaded.
func needTrace(t testing.TB) {
	t.Helper()
	if err := ProbeTrace(); err != nil {
		t.Skip(err)
	}
}

func TestTraceTellsInFull(t *testing.T) {
	needTrace(t)
	t.Chdir(t.TempDir())
	t.Setenv(acts, "1")
	s := watched(t, Options{Trace: true}, nil, "/proc/self/exe", "deeds", strconv.Itoa(len(callDeeds)))
	if !s.lost.None() {
		t.Errorf("lost %s", s.lost)
	}
	s.tells(t, len(callDeeds))
}
