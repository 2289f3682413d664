// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// fileOpen is an ordinary event.
func fileOpen() *Event {
	digest := func(c byte) Digest { return bytes.Repeat([]byte{c}, 32) }
	e := &Event{
		PID: 1234, TNum: 77, Context: 1, Number: 5, Process: []byte("demo"),
		TTD: 42, PTTD: 41, TaskID: digest(0x11), PTaskID: digest(0x22), TS: 123456789,
		COE: COE{1, 2, 3, 4, 5, 6, 7, 8, 0x1ffffffffff},
	}
	e.SetCell(FileOpen, &FileCell{File{
		Flags: 32768,
		Inode: Inode{
			Mode: 0o100644, Magic: 0xef53, SID: []byte("vda1"),
			UUID: [16]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
		},
		Path:   Path{HasDev: true, Dev: Dev{254, 1}, Type: PathRoot, Pathname: []byte("/etc/hostname")},
		Digest: digest(0x33),
	}})
	return e
}

const (
	head = `"event": {"pid": "1234", "tnum": "77", "context": "1", "number": "5", "process": "demo", "type": "file_open", "ttd": "42", "p_ttd": "41", ` +
		`"task_id": "1111111111111111111111111111111111111111111111111111111111111111", "p_task_id": "2222222222222222222222222222222222222222222222222222222222222222", "ts": "123456789"}, ` +
		`"COE": {"uid": "1", "euid": "2", "suid": "3", "gid": "4", "egid": "5", "sgid": "6", "fsuid": "7", "fsgid": "8", "capeff": "0x1ffffffffff"}, `
	inode    = `"inode": {"uid": "0", "gid": "0", "mode": "0100644", "s_magic": "0xef53", "s_id": "vda1", "s_uuid": "00112233445566778899aabbccddeeff"}, `
	path     = `"path": {"dev": {"major": "254", "minor": "1"}, "type": "root", "pathname": "/etc/hostname"}, `
	digest   = `"digest": "3333333333333333333333333333333333333333333333333333333333333333"`
	openLine = `{"export": {"type": "event"}, ` + head + `"file_open": {"file": {"flags": "32768", ` + inode + path + digest + `}}}`
)

func TestAppendEvent(t *testing.T) {
	cell := func(e *Event) *File { return &e.Cell.(*FileCell).File }
	tests := []struct {
		name     string
		change   func(e *Event)
		old, new string // what differs in the line
	}{
		{"as it is", func(e *Event) {}, "", ""},
		{"async", func(e *Event) { e.Async = true }, `"event"}`, `"async_event"}`},
		{"log", func(e *Event) { e.Log = true }, `"event"}`, `"log"}`},
		{
			"time", func(e *Event) { e.Time = time.Date(2025, 3, 1, 1, 2, 3, 40, time.FixedZone("", 3600)) },
			`"event"}`, `"event", "time": "2025-03-01T00:02:03.000000040Z"}`,
		},
		{"no pid", func(e *Event) { e.PID = 0 }, `"pid": "1234", "tnum": "77", `, ``},
		{"no type of path", func(e *Event) { cell(e).Path.Type = "" }, `"type": "root", `, ``},
		{"other type of path", func(e *Event) { cell(e).Path.Type = "a\nb" }, `"type": "root"`, `"type": "a\nb"`},
		{"missing path", func(e *Event) { cell(e).Path.Missing = "unreadable" }, `"/etc/hostname"`, `"", "path_missing": "unreadable"`},
		{"missing digest", func(e *Event) { cell(e).DigestMissing = "gone" }, digest, `"digest": "", "digest_missing": "gone"`},
		{"no digest", func(e *Event) { cell(e).Digest = nil }, digest, `"digest": ""`},
		{"absolute path", func(e *Event) { cell(e).Path.Abspath = []byte("/x/etc") }, `/hostname"`, `/hostname", "abspath": "/x/etc"`},
		{"empty absolute path", func(e *Event) { cell(e).Path.Abspath = []byte{} }, `/hostname"`, `/hostname", "abspath": ""`},
		{"mode 0", func(e *Event) { cell(e).Inode.Mode = 0 }, `"0100644"`, `"00"`},
		{
			"created", func(e *Event) {
				cell(e).Path.Created, cell(e).Path.Owner, cell(e).Path.Instance = true, Digest{0xab}, 9
			},
			`"type": "root"`, `"owner": "ab", "instance": "9", "type": "root"`,
		},
		{
			"names that are not UTF-8",
			func(e *Event) {
				e.Process, cell(e).Inode.SID, cell(e).Path.Pathname = []byte("\xff"), []byte("\xff"), []byte("\xff")
			},
			"", "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := fileOpen()
			test.change(e)
			got := string(e.AppendJSON(nil))
			if test.old != "" || test.name == "as it is" {
				want := openLine
				if test.old != "" {
					want = strings.Replace(openLine, test.old, test.new, 1)
				}
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("not JSON: %s", got)
			}
			r, err := new(Parser).Parse([]byte(got))
			if err != nil {
				t.Fatal(err)
			}
			if again := string(r.AppendJSON(nil)); again != got {
				t.Errorf("read and written again: %s\nwas %s", again, got)
			}
		})
	}
}

func TestSetCellTakesAsyncFromTheTable(t *testing.T) {
	for typ := range All() {
		var e Event
		e.SetCell(typ, NewCell(typ))
		if e.Async != typ.Info().Async || e.Type != typ || e.Cell == nil {
			t.Errorf("%v: %+v", typ, e)
		}
	}
	if NewCell(0) != nil || NewCell(NumTypes+1) != nil {
		t.Error("there is a cell for no type")
	}
}

func TestMarkers(t *testing.T) {
	at := time.Date(2025, 12, 31, 23, 59, 59, 999999999, time.UTC)
	tests := []struct {
		name   string
		record interface{ AppendJSON([]byte) []byte }
		want   string
	}{
		{
			"start", &Start{Run: "r", Host: "h", BootID: "b", Workload: "w\xff", Source: "bpf", Digest: "sha256", NSRef: "initial", Context: 3, Started: at},
			`{"export": {"type": "start"}, "start": {"schema": "1", "run": "r", "host": "h", "boot_id": "b", "workload": "w` + "\uFFFD" + `", "workload_b64": "d/8=", "source": "bpf", "digest": "sha256", "nsref": "initial", "context": "3", "started": "2025-12-31T23:59:59.999999999Z"}}`,
		},
		{
			"end", &End{Run: "r", Events: 1, Bytes: 2, Lost: "3", Status: "137", Ended: at},
			`{"export": {"type": "end"}, "end": {"run": "r", "events": "1", "bytes": "2", "lost": "3", "status": "137", "ended": "2025-12-31T23:59:59.999999999Z"}}`,
		},
		{
			"end, not known how many are lost", &End{},
			`{"export": {"type": "end"}, "end": {"run": "", "events": "0", "bytes": "0", "lost": "", "status": "", "ended": ""}}`,
		},
		{
			"lost", &Lost{Context: 3, After: 1234, Count: "17", Cause: "ring_full"},
			`{"export": {"type": "lost"}, "lost": {"context": "3", "after": "1234", "count": "17", "cause": "ring_full"}}`,
		},
		{
			"lost by a sink, not known how many", &Lost{Context: 3, After: 1234, Cause: "away", Sink: "mqtt"},
			`{"export": {"type": "lost"}, "lost": {"context": "3", "after": "1234", "count": "", "cause": "away", "sink": "mqtt"}}`,
		},
		{"aggregate", &Aggregate{Value: Digest{1, 0xff}}, `{"export": {"type": "aggregate"}, "aggregate": {"value": "01ff"}}`},
		{
			"log", &Log{Process: []byte("demo"), Event: []byte("file_open"), Action: []byte("DENY")},
			`{"export": {"type": "log"}, "log": {"process": "demo", "event": "file_open", "action": "DENY"}}`,
		},
	}
	var p Parser
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := string(test.record.AppendJSON(nil))
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			r, err := p.Parse([]byte(got))
			if err != nil {
				t.Fatal(err)
			}
			if again := string(r.AppendJSON(nil)); again != got {
				t.Errorf("read and written again: %s", again)
			}
		})
	}
}

func TestAppendEventDoesNotAllocate(t *testing.T) {
	e := fileOpen()
	e.Time = time.Now()
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() { e.AppendJSON(b) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func BenchmarkAppendFileOpen(b *testing.B) {
	e := fileOpen()
	buffer := e.AppendJSON(nil)
	b.SetBytes(int64(len(buffer)))
	b.ReportAllocs()
	for b.Loop() {
		buffer = e.AppendJSON(buffer[:0])
	}
}

func BenchmarkParseFileOpen(b *testing.B) {
	var p Parser
	line := []byte(openLine)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
