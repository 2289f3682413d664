// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestSamplesComeOutAsTheyWentIn(t *testing.T) {
	var p Parser
	seen := make(map[Type]bool)
	all := kept(t, "samples.jsonl")
	for i, line := range all {
		r, err := p.Parse(line)
		if err != nil {
			t.Errorf("line %d: %v", i+1, err)
			continue
		}
		if got := r.AppendJSON(nil); !bytes.Equal(got, line) {
			t.Errorf("line %d:\ngot  %s\nwant %s", i+1, got, line)
		}
		if r.Event.Async != r.Event.Type.Info().Async {
			t.Errorf("line %d: %v: async is %v", i+1, r.Event.Type, r.Event.Async)
		}
		seen[r.Event.Type] = true
	}
	for typ := range All() {
		if exported := typ.Info().Export == Exported; exported != seen[typ] {
			t.Errorf("%v: exported %v, in the samples %v", typ, exported, seen[typ])
		}
	}
	if len(all) != 104 {
		t.Errorf("%d samples", len(all))
	}
}

func TestRecordedStreams(t *testing.T) {
	// Lines of kernels that do not escape names: JSON, but not as we write
	// it, as the name has bytes that are not UTF-8.
	notUTF8 := map[int]bool{4807: true, 4808: true, 4809: true, 4810: true}
	for _, test := range []struct {
		stream    string
		records   int
		rewritten map[int]bool // lines that come out differently
		broken    int          // lines that are no JSON and no record
		empty     int          // export objects without an event
	}{
		{"a_export_sha256_workload", 5936, notUTF8, 13, 2},
		{"d1_userns_nsref_current", 938, nil, 0, 0},
		{"d2_userns_nsref_initial", 938, nil, 0, 0},
		{"e_external_with_log_and_aggregate", 739, nil, 0, 0},
	} {
		t.Run(test.stream, func(t *testing.T) {
			var p Parser
			records, broken, empty := 0, 0, 0
			for i, line := range stream(t, test.stream) {
				if len(line) == 0 {
					continue
				}
				records++
				r, err := p.Parse(line)
				switch {
				case err != nil:
					broken++
					if json.Valid(line) {
						t.Errorf("line %d: %v: %s", i+1, err, line)
					}
				case r.Kind == KindEmpty:
					empty++
					if !r.Malformed {
						t.Errorf("line %d is not marked: %s", i+1, line)
					}
				case !json.Valid(line):
					t.Errorf("line %d is read, but no JSON: %s", i+1, line)
				case test.rewritten[i+1]:
					checkRewritten(t, r)
				default:
					if got := r.AppendJSON(nil); !bytes.Equal(got, line) {
						t.Errorf("line %d:\ngot  %s\nwant %s", i+1, got, line)
					}
				}
			}
			if records != test.records || broken != test.broken || empty != test.empty {
				t.Errorf("got %d records, %d broken, %d empty; want %d, %d, %d",
					records, broken, empty, test.records, test.broken, test.empty)
			}
		})
	}
}

// checkRewritten checks that a name that is not UTF-8 is written both ways.
func checkRewritten(t *testing.T, r *Record) {
	t.Helper()
	line := r.AppendJSON(nil)
	const want = `"pathname": "/root/w1/py/bad` + "\uFFFD\uFFFD" + `name", "pathname_b64": "L3Jvb3QvdzEvcHkvYmFk//5uYW1l"`
	if !bytes.Contains(line, []byte(want)) {
		t.Errorf("got %s", line)
	}
}
