// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// A file in which a write was broken off anywhere is completed, neither with a
// line twice nor with half a one, whatever else the writer had put there.
func TestResumeCompletesAFile(t *testing.T) {
	const before = `{"export": {"type": "start"}, "start": {}}` + "\n"
	lines := []string{
		`{"export": {"type": "event"}, "event": {"number": "1"}}` + "\n",
		`{"export": {"type": "event"}, "event": {"number": "2"}}` + "\n",
		`{"export": {"type": "event"}, "event": {"number": "3"}}` + "\n",
	}
	left := strings.Join(lines, "")
	lost := `{"export": {"type": "lost"}, "lost": {"sink": "x"}}` + "\n"
	for _, row := range []struct{ name, written string }{
		{"records", left},
		{"a record of its own first", lost + left},
		{"a record of its own between", lines[0] + lost + lines[1] + lines[2]},
	} {
		t.Run(row.name, func(t *testing.T) {
			for cut := range len(row.written) + 1 {
				path := filepath.Join(t.TempDir(), "f")
				if err := os.WriteFile(path, []byte(before+row.written[:cut]), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				r, err := Resume(path, Tail{File: f, Offset: int64(len(before))}, []byte(left))
				if err != nil {
					t.Fatal(err)
				}
				var b record.Batch
				for line := range bytes.Lines(r.Left) {
					b.Append(1, bytes.TrimSuffix(line, []byte("\n")))
				}
				if err := r.Sink.Write(&b); err != nil {
					t.Fatal(err)
				}
				f.Close()
				got, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				var events strings.Builder
				for line := range strings.Lines(string(got)) {
					if strings.Contains(line, `"number"`) {
						events.WriteString(line)
					} else if line != before && line != lost {
						t.Errorf("cut after %d: there is a line %q", cut, line)
					}
				}
				if events.String() != left {
					t.Errorf("cut after %d of %q: the file is\n%s", cut, row.written, got)
				}
			}
		})
	}
}

// A torn line of somebody else is ended, not cut off.
func TestResumeLeavesOthersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("hel"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Resume(path, Tail{File: f}, []byte("{}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var b record.Batch
	b.Append(1, []byte("{}"))
	if err := r.Sink.Write(&b); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "hel\n{}\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// Where the offset is wrong, as of a file that was begun anew, nothing is lost.
func TestResumeBehindTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Resume(path, Tail{File: f, Offset: 1000}, []byte("{}\n"))
	if err != nil || string(r.Left) != "{}\n" || r.Started || r.Ended {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestResumeFindsMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	const markers = `{"export": {"type": "start"}, "start": {"run": "r"}}` + "\n" + `{"export": {"type": "end"}, "end": {"run": "r"}}` + "\n"
	if err := os.WriteFile(path, []byte(markers), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r, err := Resume(path, Tail{File: f}, nil); err != nil || !r.Started || !r.Ended {
		t.Errorf("%+v, %v", r, err)
	}
}

// A pipe gets no line twice that it certainly has, and a new line where one may
// have been broken off.
func TestResumeOfAPipe(t *testing.T) {
	long := strings.Repeat("x", pipeAtom) + "\n"
	for _, row := range []struct {
		writing bool
		left    string
		want    string
	}{
		{false, long, long},
		{true, "{}\n", "{}\n"},
		{true, long, "\n" + long},
	} {
		var fds [2]int
		if err := unix.Pipe(fds[:]); err != nil {
			t.Fatal(err)
		}
		in, out := os.NewFile(uintptr(fds[0]), "in"), os.NewFile(uintptr(fds[1]), "out")
		r, err := Resume("/dev/fd/3", Tail{File: out, Writing: row.writing}, []byte(row.left))
		if err != nil {
			t.Fatal(err)
		}
		var b record.Batch
		b.Append(1, bytes.TrimSuffix(r.Left, []byte("\n")))
		if err := r.Sink.Write(&b); err != nil {
			t.Fatal(err)
		}
		out.Close()
		var got bytes.Buffer
		got.ReadFrom(in)
		in.Close()
		if got.String() != row.want {
			t.Errorf("writing %v: got %d bytes, want %d", row.writing, got.Len(), len(row.want))
		}
	}
}
