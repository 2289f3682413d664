// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var lines strings.Builder
	for _, work := range []string{"find", "compile"} {
		for i, way := range ways {
			for _, turn := range []string{"9000000", "1000000", "2000000"} {
				lines.WriteString(work + " " + way.name + " " + strings.Repeat("1", i) + turn + "\n")
			}
		}
	}
	out, err := report(lines.String(), 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"find\n  by itself                               2.00 s (1.00 to 9.00)   1.00\n",
		"compile\n",
		"  watched, records to a file            112.00 s (111.00 to 119.00)  56.00\n",
		"  time that strace -f adds, to ours: 101.0\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if _, err := report("find plain 1\n", 1); err == nil {
		t.Error("what was not measured is reported")
	}
}
