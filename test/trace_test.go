// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quixote-export/tsem"
)

// needTrace skips where the tracepoints cannot be had.
func needTrace(t *testing.T) {
	t.Helper()
	needRoot(t)
	out, err := exec.Command(exportProgram(t), "--sources").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "trace"); ok && strings.HasPrefix(strings.TrimSpace(rest), "missing") {
			t.Skip(strings.TrimSpace(line))
		}
	}
}

const tracedScript = `set -e
mkdir d
echo text > d/file
ln d/file d/second
ln -s file d/link
mv d/second d/third
chmod 600 d/file
cat d/link
rm d/third
rm -r d
exec true
`

// What a workload has done is told by the tracepoints as it is told when each call
// is stopped: the same types of events about files, in the same order, with the same
// paths, inodes and digests.
func TestTracepointsTellTheSame(t *testing.T) {
	needTrace(t)
	t.Parallel()
	told := func(source string) (lines []string) {
		o := options{dir: t.TempDir(), flags: []string{"--source", source}}
		for _, e := range run(t, o, "sh", "-c", tracedScript).events {
			e.Context, e.Number, e.PID, e.TS, e.TNum = 0, 0, 0, 0, 0
			switch c := e.Cell.(type) {
			case *tsem.MmapCell, *tsem.FileCmdCell:
				// An exec maps its program without a call; a terminal is asked for in vain.
				continue
			case *tsem.GetattrCell:
				c.Path.Inode.UUID = [16]byte{}
			}
			line := string(e.AppendJSON(nil))
			lines = append(lines, strings.ReplaceAll(line, o.dir, "DIR"))
		}
		return lines
	}
	want, got := told("seccomp"), told("trace")
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			t.Fatalf("after %d events, no more: %s", i, want[i])
		case i >= len(want):
			t.Fatalf("more than %d events: %s", i, got[i])
		case want[i] != got[i]:
			t.Fatalf("event %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
	if len(got) < 20 {
		t.Errorf("%d events only", len(got))
	}
}

// What has no room is counted, and told at the end.
func TestTracepointsCountWhatIsLost(t *testing.T) {
	needTrace(t)
	t.Parallel()
	o := options{flags: []string{"--source", "trace", "--ring", "4K"}, lost: true, noisy: true}
	c := command(t, &o, "find", "/usr/share", "-maxdepth", "4")
	c.Stdout = nil
	c.Run()
	o.status = c.ProcessState.ExitCode()
	s := finished(t, c, &o, "")
	if o.status != 123 || len(s.lost) == 0 {
		t.Errorf("status %d with %d losses", o.status, len(s.lost))
	}
}

func TestTracepointsRefuseContainers(t *testing.T) {
	out, err := exec.Command(exportProgram(t), "--source", "trace", "-C", "-w", "x", "-o", filepath.Join(t.TempDir(), "o")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cannot follow a container") {
		t.Errorf("%v: %s", err, out)
	}
}
