// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"slices"
	"testing"
)

// openedToExecute are the flags of a file_open by exec: O_LARGEFILE and the
// kernel's FMODE_EXEC.
const openedToExecute = 32800

// checkExecs computes the TASK_ID of every exec among lines and returns how
// many there were. An exec shows when the ttd of a task changes; the program
// is what the task first opened to execute since its exec before.
func checkExecs(t *testing.T, lines [][]byte) (execs, created int) {
	t.Helper()
	type task struct {
		ttd     uint64
		program *File
	}
	tasks := make(map[[3]uint64]*task)
	sha256, err := AlgorithmByName("sha256")
	if err != nil {
		t.Fatal(err)
	}
	hasher := NewHasher(sha256)
	for _, line := range lines {
		// A parser for each line, because files are kept.
		record, err := new(Parser).Parse(line)
		if err != nil || record.Event == nil {
			continue
		}
		e := record.Event
		key := [3]uint64{e.Context, uint64(e.PID), e.TNum}
		now := tasks[key]
		if now == nil {
			now = &task{ttd: e.TTD}
			tasks[key] = now
		}
		if e.TTD != now.ttd {
			execs++
			if now.program == nil {
				t.Errorf("event %d: no program was opened for the exec before it", e.Number)
			} else {
				if got := hasher.TaskID(nil, e.PTaskID, now.program); !bytes.Equal(got, e.TaskID) {
					t.Errorf("event %d: TASK_ID of %s: got %x, recorded %x", e.Number, now.program.Path.Pathname, got, e.TaskID)
				}
				if now.program.Path.Created {
					created++
				}
			}
			*now = task{ttd: e.TTD}
		}
		if c, ok := e.Cell.(*FileCell); ok && e.Type == FileOpen && c.File.Flags == openedToExecute && now.program == nil {
			now.program = &c.File
		}
	}
	return execs, created
}

func TestTaskIDOfRecordedExecs(t *testing.T) {
	// Two openings, of the program and of the ELF interpreter, and the first
	// event under the new identity; from several runs.
	var execs, created int
	for group := range slices.Chunk(kept(t, "execs.jsonl"), 3) {
		e, c := checkExecs(t, group)
		execs, created = execs+e, created+c
	}
	if execs != 12 || created != 1 {
		t.Errorf("got %d execs, %d of a created program, want 12 and 1", execs, created)
	}
}

func TestTaskIDOfWholeStreams(t *testing.T) {
	for _, test := range []struct {
		stream string
		execs  int
	}{
		{"a_export_sha256_workload", 84},
		{"d1_userns_nsref_current", 14},
		{"d2_userns_nsref_initial", 14},
		{"e_external_with_log_and_aggregate", 6},
	} {
		t.Run(test.stream, func(t *testing.T) {
			if execs, _ := checkExecs(t, stream(t, test.stream)); execs != test.execs {
				t.Errorf("got %d execs, want %d", execs, test.execs)
			}
		})
	}
}

func TestTaskIDAppendsAndDoesNotAllocate(t *testing.T) {
	a, err := AlgorithmByName("sha512")
	if err != nil {
		t.Fatal(err)
	}
	h := NewHasher(a)
	program := &File{Path: Path{Pathname: []byte("/bin/true")}, Digest: a.Zero()}
	parent := a.Zero()
	first := h.TaskID(nil, parent, program)
	both := h.TaskID(first, parent, program)
	if len(first) != a.Size || !bytes.Equal(both[:a.Size], both[a.Size:]) {
		t.Errorf("got %x, then %x", first, both)
	}
	buffer := make(Digest, 0, a.Size)
	if n := testing.AllocsPerRun(100, func() { h.TaskID(buffer, parent, program) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

// The UUID of a tmpfs changes with each mount and must not count.
func TestTaskIDIgnoresUUIDOfTmpfs(t *testing.T) {
	a, _ := AlgorithmByName("sha256")
	h := NewHasher(a)
	for _, test := range []struct {
		magic uint32
		same  bool
	}{{0x01021994, true}, {0xef53, false}} {
		f := &File{Inode: Inode{Magic: test.magic, UUID: [16]byte{1}}}
		first := h.TaskID(nil, nil, f)
		f.Inode.UUID[0] = 2
		if same := bytes.Equal(first, h.TaskID(nil, nil, f)); same != test.same {
			t.Errorf("magic %#x: same identity is %v", test.magic, same)
		}
	}
}
