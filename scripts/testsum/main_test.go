// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// events are the output of go test -json, of a package p.
func events(t *testing.T, events ...event) string {
	t.Helper()
	var b strings.Builder
	for _, e := range events {
		e.Package = "p"
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

func TestCounts(t *testing.T) {
	says := func(test, text string) event { return event{Action: "output", Test: test, Output: text} }
	passes := func(test string) event { return event{Action: "pass", Test: test} }
	fails := func(test string) event { return event{Action: "fail", Test: test} }
	for _, row := range []struct {
		name   string
		in     string
		want   string // in the output
		count  string
		status int
	}{
		{"nothing", "", "", "0 passed, 0 failed, 0 skipped", 1},
		{"one", events(t, passes("TestA"), passes("")), "ok    p", "1 passed, 0 failed, 0 skipped", 0},
		{"one that fails", events(t, says("TestA", "--- FAIL: TestA\n"), fails("TestA"), fails("")), "FAIL  p TestA\n--- FAIL", "0 passed, 1 failed, 0 skipped", 1},
		{"a package that fails", events(t, says("", "panic: x\n"), fails("")), "panic: x", "0 passed, 1 failed, 0 skipped", 1},
		{"one that hangs", events(t, event{Action: "run", Test: "TestA"}, says("TestA", "goroutine 1\n"), fails("")), "TestA was running:\ngoroutine 1", "0 passed, 1 failed, 0 skipped", 1},
		{"one that is skipped", events(t, says("TestA", "    a_test.go:3: needs b\n"), event{Action: "skip", Test: "TestA"}, passes("TestB")), "skip  p TestA: needs b", "1 passed, 0 failed, 1 skipped", 0},
		{"kept inputs", events(t, passes("FuzzA/seed#0"), passes("FuzzA"), passes("")), "ok    p", "1 passed, 0 failed, 0 skipped", 0},
		{"a fuzz target", events(t, says("FuzzA", "fuzz: elapsed: 3s, execs: 1234 (5/sec)\n"), passes("FuzzA"), passes("")), "fuzz  p FuzzA: 1234 inputs", "1 passed, 0 failed, 0 skipped", 0},
		{"one whose time is over", events(t, says("FuzzA", "--- FAIL: FuzzA (3s)\n"), says("FuzzA", "    context deadline exceeded\n"), fails("FuzzA"), fails("")), "ok    p", "1 passed, 0 failed, 0 skipped", 0},
		{"one that finds something", events(t, says("FuzzA", "--- FAIL: FuzzA (3s)\n"), says("FuzzA", "    context deadline exceeded\n"), says("FuzzA", "    Failing input written to testdata\n"), fails("FuzzA"), fails("")), "Failing input", "0 passed, 1 failed, 0 skipped", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out strings.Builder
			status := run(strings.NewReader(row.in), &out)
			if status != row.status || !strings.Contains(out.String(), row.want) || !strings.HasSuffix(out.String(), row.count+"\n") {
				t.Errorf("status %d, %q", status, out.String())
			}
		})
	}
}
