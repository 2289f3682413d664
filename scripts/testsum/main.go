// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Testsum reads the output of go test -json, shows what failed and why, names
// what was skipped and why, and ends with a line that counts.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

type key struct{ pkg, test string }

func main() { os.Exit(run(os.Stdin, os.Stdout)) }

// run returns 0 only if something was run and all of it passed.
func run(in io.Reader, out io.Writer) int {
	var passed, failed, skipped int
	output := make(map[key][]string)
	running := make(map[key]bool)
	late := make(map[string]bool) // packages with a fuzz target that ran out of time
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // of the go command itself
			continue
		}
		k := key{e.Package, e.Test}
		if e.Action == "fail" && (ranOut(e.Test, output[k]) || e.Test == "" && late[e.Package]) {
			e.Action, late[e.Package] = "pass", e.Test != ""
		}
		switch e.Action {
		case "run":
			running[k] = true
		case "pass", "fail", "skip":
			delete(running, k)
		}
		switch e.Action {
		case "output", "build-output":
			output[k] = append(output[k], e.Output)
		case "build-fail":
			failed++
		case "pass":
			if e.Test != "" {
				// The kept inputs of a fuzz target are one test with it.
				if !strings.HasPrefix(e.Test, "Fuzz") || !strings.Contains(e.Test, "/") {
					passed++
				}
				if inputs := fuzzed(output[k]); inputs != "" {
					fmt.Fprintf(out, "fuzz  %s %s: %s inputs\n", e.Package, e.Test, inputs)
				}
				delete(output, k)
			} else {
				fmt.Fprintf(out, "ok    %s %.1f s\n", e.Package, e.Elapsed)
			}
		case "fail":
			// A package fails because a test of it did, or by itself.
			if e.Test != "" || !failedIn(output, e.Package) {
				failed++
			}
			fmt.Fprintf(out, "FAIL  %s %s\n%s", e.Package, e.Test, strings.Join(output[k], ""))
			for r := range running {
				if e.Test == "" && r.pkg == e.Package { // it hangs, or has taken the others with it
					fmt.Fprintf(out, "%s was running:\n%s", r.test, strings.Join(output[r], ""))
				}
			}
		case "skip":
			if e.Test != "" {
				skipped++
				fmt.Fprintf(out, "skip  %s %s: %s\n", e.Package, e.Test, reason(output[k]))
			}
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(out, "cannot read the output of go test:", err)
		failed++
	}
	for k, text := range output {
		if k.test == "" && k.pkg == "" && failed > 0 {
			fmt.Fprint(out, strings.Join(text, ""))
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		return 1
	}
	return 0
}

// failedIn tells whether a test of the package has failed: its output is kept.
func failedIn(output map[key][]string, pkg string) bool {
	for k, text := range output {
		if k.pkg == pkg && k.test != "" && strings.Contains(strings.Join(text, ""), "--- FAIL") {
			return true
		}
	}
	return false
}

// ranOut tells that a fuzz target failed for no other reason than that its time
// was over: go test can take the end of the time for an error (golang/go#75804).
// What is found to fail is written to a file.
func ranOut(test string, output []string) bool {
	text := strings.Join(output, "")
	return strings.HasPrefix(test, "Fuzz") && strings.Contains(text, "\n    context deadline exceeded\n") &&
		!strings.Contains(text, "Failing input")
}

// fuzzed is how many inputs a fuzz target has tried, empty for one that only
// ran with those that are kept.
func fuzzed(output []string) (inputs string) {
	for _, line := range output {
		if _, rest, found := strings.Cut(line, ", execs: "); found && strings.HasPrefix(line, "fuzz: elapsed") {
			inputs, _, _ = strings.Cut(rest, " ")
		}
	}
	return inputs
}

// reason is the line with which a test skipped itself.
func reason(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		if _, text, ok := strings.Cut(output[i], ".go:"); ok {
			_, text, _ = strings.Cut(text, ": ")
			return strings.TrimSpace(text)
		}
	}
	return "no reason given"
}
