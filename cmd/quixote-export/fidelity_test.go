// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quixote-export/tsem"
)

// recordedWorkload is where the recorded workload worked.
const recordedWorkload = "/root/w1/py"

// harmless is the functions of the recorded workload that leave the machine as
// it is. The others set the clock, load modules, switch on quotas, make tun
// devices, or move the root of the machine.
var harmless = []string{
	"files", "big", "mknod", "xattr", "flock", "mm", "procs", "prctl", "ptrace", "caps",
	`lambda: tcp(socket.AF_INET, "127.0.0.1")`, `lambda: tcp(socket.AF_INET6, "::1")`,
	`lambda: udp(socket.AF_INET, "127.0.0.1")`, `lambda: udp(socket.AF_INET6, "::1")`,
	"unix", "netlink", "ipc", "keys", "mounts", "chroot", "userns", "setids", "syslog", "memfd",
}

// besides is what a source that sees system calls alone cannot know, or what
// depends on the machine and not on the workload.
var besides = map[tsem.Type]string{
	tsem.Capable:           "asked in the midst of calls",
	tsem.MmapFile:          "the recording has protections where flags belong",
	tsem.KeyPermission:     "depends on the keyrings of the session",
	tsem.FileReceive:       "received in a message",
	tsem.InodeKillpriv:     "done by the file system",
	tsem.PtraceAccessCheck: "depends on what else runs",
}

// The acts of the recorded workload that are harmless, done again, give the
// records that a TSEM kernel gave, apart from what is said here.
func TestBesideAKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	script, err := os.ReadFile("../../../shared/streams/workload.py")
	if err != nil {
		t.Skip("needs the recorded workload ../shared/streams/workload.py")
	}
	for _, tool := range []string{"/usr/bin/python3", "/usr/bin/unshare"} {
		if _, err := os.Stat(tool); err != nil {
			t.Skip("needs ", tool)
		}
	}
	bin := program(t)
	dir := openDir(t)
	file := filepath.Join(openDir(t), "workload.py")
	text := regexp.MustCompile(`(?m)^T\(.*\n`).ReplaceAllString(string(script), "")
	for _, name := range harmless {
		text += fmt.Sprintf("T('''%s''', %s)\n", name, name)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "w")
	os.Remove("/tmp/inchroot")
	t.Cleanup(func() { os.Remove("/tmp/inchroot") })
	x := export(t, bin, dir, 0, nil, "/usr/bin/unshare", "-m", "/usr/bin/python3", file, work)
	ours := acted(t, x.events, work)
	kernel := acted(t, recording(t), recordedWorkload)
	compare(t, ours, kernel)
}

// recording reads the events of the recorded stream that are JSON.
func recording(t *testing.T) (events []*tsem.Event) {
	t.Helper()
	f, err := os.Open("../../../shared/streams/a_export_sha256_workload.jsonl.gz")
	if err != nil {
		t.Skip("needs the recorded stream: ", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var p tsem.Parser
		if r, err := p.Parse(bytes.TrimSuffix(line, []byte("\n"))); err == nil && r.Event != nil && r.Event.Cell != nil {
			events = append(events, r.Event)
		}
	}
	return events
}

// broken matches names that a TSEM kernel writes as text that is not JSON, and
// the first pair of paths that is longer than its buffer, which it loses.
var broken = regexp.MustCompile(`WORK/(n\\nl|c\\u0001tl|sp ace/|bad|deepdirectory.*deepdirectory.*/[fgh]")`)

// acted counts what the workload's own processes do in its folder, and without
// files, by type and CELL. What differs from machine to machine is left out of
// the CELL.
func acted(t *testing.T, events []*tsem.Event, work string) map[tsem.Type]map[string]int {
	t.Helper()
	acts := make(map[tsem.Type]map[string]int)
	begun := false
	for _, e := range events {
		if name := string(e.Process); name != "python3" && name != "newname" {
			continue
		}
		cell := generalize(t, e, work)
		begun = begun || strings.Contains(cell, "WORK")
		if broken.MatchString(cell) {
			continue
		}
		if !begun || strings.Contains(cell, "pathname") && !strings.Contains(cell, "WORK") {
			continue
		}
		if acts[e.Type] == nil {
			acts[e.Type] = make(map[string]int)
		}
		acts[e.Type][cell]++
	}
	return acts
}

func generalize(t *testing.T, e *tsem.Event, work string) string {
	t.Helper()
	var record map[string]json.RawMessage
	if err := json.Unmarshal(e.AppendJSON(nil), &record); err != nil {
		t.Fatal(err)
	}
	var cell any
	if err := json.Unmarshal(record[e.Type.String()], &cell); err != nil {
		t.Fatal(err)
	}
	general(cell)
	b, err := json.Marshal(cell)
	if err != nil {
		t.Fatal(err)
	}
	s := strings.ReplaceAll(string(b), work, "WORK")
	// We run it in a mount namespace, to leave no mounts behind.
	return strings.NewReplacer(`"namespace"`, `"root"`, `"chroot"`, `"root"`).Replace(s)
}

// general takes out of a CELL, in place, what differs from run to run.
func general(v any) {
	m, ok := v.(map[string]any)
	if !ok {
		return
	}
	for k, v := range m {
		s, text := v.(string)
		switch {
		case k == "s_id" || k == "s_uuid" || k == "s_magic" || k == "instance" || strings.HasSuffix(k, "_b64"):
			delete(m, k)
		case k == "dev" && !text:
			m[k] = "device"
		case text && len(s) == 64 && strings.Trim(s, "0") == "":
			m[k] = "none"
		case text && len(s) == 64:
			m[k] = "some"
		case k == "flags" || k == "shmflg" || k == "semflg" || k == "msqflg" || k == "cmd" && len(m) == 2 && m["perm"] != nil:
			if k != "flags" || m["prot"] != nil {
				m[k] = "argument" // written as 0 by the recorded kernel
			}
		case k == "port" || k == "portid":
			m[k] = "port"
		case k == "capeff" || k == "effective" || k == "permitted":
			m[k] = "capabilities"
		default:
			general(v)
		}
	}
}

// elsewhere matches what functions do that are not run here.
var elsewhere = regexp.MustCompile(`WORK/(suid|nr/root)|"20480".*WORK/nr"`)

// compare wants every act of ours among the kernel's, as often, and every act
// of the kernel's on files of the workload among ours.
func compare(t *testing.T, ours, kernel map[tsem.Type]map[string]int) {
	t.Helper()
	same, other := 0, 0
	for kind := range tsem.All() {
		if besides[kind] != "" {
			continue
		}
		cells := make([]string, 0, len(ours[kind]))
		for cell := range ours[kind] {
			cells = append(cells, cell)
		}
		slices.Sort(cells)
		before := same
		for _, cell := range cells {
			n, want := ours[kind][cell], kernel[kind][cell]
			if n <= want {
				same += n
				continue
			}
			same += want
			other += n - want
			t.Logf("%s: %d times, the kernel %d: %s", kind, n, want, cell)
		}
		if len(cells) > 0 {
			t.Logf("| `%s` | %d | %d |", kind, sum(ours[kind]), same-before)
		}
	}
	missing := 0
	for kind, cells := range kernel {
		for cell, n := range cells {
			if besides[kind] == "" && strings.Contains(cell, "WORK") && !elsewhere.MatchString(cell) && ours[kind][cell] < n {
				missing += n - ours[kind][cell]
				t.Logf("%s: the kernel %d times, ours %d: %s", kind, n, ours[kind][cell], cell)
			}
		}
	}
	if missing > same/50 {
		t.Errorf("%d records of the kernel are missing", missing)
	}
	if share := float64(same) / float64(same+other); share < 0.98 || same < 100 {
		t.Errorf("%d of %d records are the kernel's", same, same+other)
	} else {
		t.Logf("%d of %d records are the kernel's", same, same+other)
	}
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}
