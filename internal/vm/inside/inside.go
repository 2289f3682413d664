// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package inside tells tests that they run in a virtual machine, which was
// booted to have what other hosts lack.
package inside

import (
	"os"
	"testing"
)

// Env is set for the tests in a machine.
const Env = "QUIXOTE_TEST_INSIDE"

// Mark is logged by each test that the machine is there for. The others are
// those that run everywhere.
const Mark = "this test needs BPF programs on security hooks"

// NeedBPF skips a test where such programs cannot be loaded, for the reason
// that a probe gave. In a machine that is a failure.
func NeedBPF(t testing.TB, reason error) {
	t.Helper()
	inside := os.Getenv(Env) != ""
	switch {
	case inside && reason != nil:
		t.Fatal(Mark+": ", reason)
	case inside:
		t.Log(Mark)
	case reason != nil:
		t.Skip(reason)
	}
}
