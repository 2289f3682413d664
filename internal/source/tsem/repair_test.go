// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"quixote-export/tsem"
)

// exported is what becomes of a record, given with its line feed.
func exported(t testing.TB, s *shaper, raw []byte) (line []byte, repaired bool) {
	t.Helper()
	room := append(make([]byte, s.ahead, s.ahead+2*len(raw)+64), raw...)
	var h header
	h.read(room[s.ahead:])
	s.measure(room[s.ahead:], &h)
	line, repaired = s.shape(room, &h)
	line, found := bytes.CutSuffix(line, []byte{'\n'})
	if !found || !json.Valid(line) || !utf8.Valid(line) || bytes.IndexByte(line, '\n') >= 0 {
		t.Fatalf("no line of JSON: %q\nfrom %q", line, raw)
	}
	return line, repaired
}

// unescapedEvent writes an event as a kernel does that escapes nothing.
func unescapedEvent(e *tsem.Event, texts map[string]string) []byte {
	line := e.AppendJSON(nil)
	for mark, text := range texts {
		line = bytes.ReplaceAll(line, []byte(mark), []byte(text))
	}
	return append(line, '\n')
}

func rename(from, to, process string) (raw []byte, want *tsem.RenameCell) {
	dentry := func(mark string) tsem.Dentry {
		return tsem.Dentry{
			HasInode: true, Inode: tsem.Inode{Mode: 0o100644, Magic: 0xef53, SID: []byte("vda")},
			Path: tsem.Path{HasDev: true, Dev: tsem.Dev{Major: 254}, Type: "root", Pathname: []byte(mark)},
		}
	}
	e := tsem.Event{PID: 1, TNum: 2, Context: 3, Number: 4, Process: []byte("PROCESS"), TaskID: make([]byte, 32), PTaskID: make([]byte, 32)}
	cell := &tsem.RenameCell{Old: dentry("FROM"), New: dentry("TO")}
	e.SetCell(tsem.InodeRename, cell)
	raw = unescapedEvent(&e, map[string]string{"PROCESS": process, "FROM": from, "TO": to})
	return raw, cell
}

// hostile are names that break, or look like, what is around them.
var hostile = []string{
	"plain", `qu"ote`, `""`, `"`, `back\slash`, `\`, `\\"`, "tab\tand\x01", "line\nfeed", "\n", "\xff\xfe", "caf\xc3\xa9\xc3",
	`x"}, "digest": "00"}}}`, `", "pathname": "/y`, `"}}, "new_dir": {"uid": "0`, `a"}}}}`, "}\n", `{"export": {"type": "event"}, }`,
	`", "type": "root", "pathname": "z`, `\u12`, `"}, "mode": "00"}}`,
}

func TestNamesComeBack(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32})
	var p tsem.Parser
	for _, from := range hostile {
		for _, to := range hostile {
			raw, _ := rename(from, to, "p")
			line, _ := exported(t, &s, raw)
			if len(from)+len(to) > 0 && bytes.Equal(line, bytes.TrimSuffix(raw, []byte("\n"))) {
				continue // it is JSON as it is
			}
			r, err := p.Parse(line)
			if err != nil || r.Event == nil {
				t.Fatalf("%q, %q: %v: %s", from, to, err, line)
			}
			c := r.Event.Cell.(*tsem.RenameCell)
			if got := string(c.Old.Path.Pathname); got != from {
				t.Errorf("of %q and %q came %q: %s", from, to, got, line)
			}
			if got := string(c.New.Path.Pathname); got != to {
				t.Errorf("of %q and %q came, second, %q: %s", from, to, got, line)
			}
		}
	}
}

// A name of a process can look like the members behind it, and is valid JSON
// then: only its place tells.
func TestForgedProcess(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32})
	var p tsem.Parser
	for _, name := range []string{`a", "type": "b`, `", "ttd": "1`, `"}, "COE": {`, "x\ny", `",`, "\xf0\x9f"} {
		raw, _ := rename("/a", "/b", name)
		line, repaired := exported(t, &s, raw)
		r, err := p.Parse(line)
		if err != nil || !repaired {
			t.Fatalf("%q: %v, repaired %v: %s", name, err, repaired, line)
		}
		if got := string(r.Event.Process); got != name || r.Event.Type != tsem.InodeRename || r.Event.Number != 4 {
			t.Errorf("got %q of %q: %s", got, name, line)
		}
	}
}

func TestMalformedEvents(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32})
	raw, _ := rename("/a", "/b", "p")
	header := string(raw[len(`{"export": {"type": "event"}, `):bytes.Index(raw, []byte(`"inode_rename": {`))])
	header = strings.Replace(header, "inode_rename", "tun_dev_attach_queue", 1)
	const cell = `"tun_dev_attach_queue": {`
	sock := `"sock": {"family": "3", "type": "4", "protocol": "5", "owner": "` + strings.Repeat("0", 64) + `"}}}`
	for _, row := range []struct{ name, raw, want string }{
		{"tun_dev_attach", `{"export": {"type": "event"}, }`, `{"export": {"type": "event"}}`},
		{"tun_dev_attach_queue", `{"export": {"type": "event"}, ` + header + cell + `}` + header + cell + sock, `{"export": {"type": "event"}, ` + header + cell + sock},
		{
			"a name of a log", `{"export": {"type": "log"}, "log": {"process": "a"b", "event": "mmap_file", "action": "LOG"}}`,
			`{"export": {"type": "log"}, "log": {"process": "a\"b", "event": "mmap_file", "action": "LOG"}}`,
		},
		{
			"nothing to understand", `{"export": {"type": "event"}, "event": {"pid`,
			`{"export": {"type": "unreadable"}, "unreadable": {"record_b64": "eyJleHBvcnQiOiB7InR5cGUiOiAiZXZlbnQifSwgImV2ZW50IjogeyJwaWQ="}}`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			line, repaired := exported(t, &s, []byte(row.raw+"\n"))
			if string(line) != row.want || !repaired {
				t.Errorf("repaired %v\ngot  %s\nwant %s", repaired, line, row.want)
			}
		})
	}
}

// recordedStream gives the records of a real kernel.
func recordedStream(t testing.TB, name string) (records [][]byte) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "streams", name+".jsonl.gz"))
	if os.IsNotExist(err) {
		t.Skipf("needs the recorded streams, which are kept beside the project: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(all) {
		records = append(records, line)
	}
	return records
}

func TestRecordedStreamsPassUnchanged(t *testing.T) {
	for name, broken := range map[string]int{
		"a_export_sha256_workload": 19, "d1_userns_nsref_current": 0, "d2_userns_nsref_initial": 0, "e_external_with_log_and_aggregate": 0,
	} {
		t.Run(name, func(t *testing.T) {
			s := newShaper(orders{Context: true, Digest: 32})
			n := 0
			for i, raw := range recordedStream(t, name) {
				whole := bytes.TrimSuffix(raw, []byte{'\n'})
				line, repaired := exported(t, &s, raw)
				isJSON := json.Valid(whole) && utf8.Valid(whole)
				if repaired == isJSON || isJSON && !bytes.Equal(line, whole) {
					t.Errorf("line %d: repaired %v, JSON %v:\n%s\n%s", i+1, repaired, isJSON, whole, line)
				}
				if repaired {
					n++
				}
			}
			if n < broken {
				t.Errorf("%d lines were repaired, %d are broken", n, broken)
			}
		})
	}
}

// What the kernel writes is as the forms say, so that it is told from a forged
// record at a glance.
func TestRecordedStreamsFitTheirForms(t *testing.T) {
	for _, name := range []string{"a_export_sha256_workload", "d1_userns_nsref_current", "e_external_with_log_and_aggregate"} {
		for i, raw := range recordedStream(t, name) {
			line := bytes.TrimSuffix(raw, []byte{'\n'})
			if !json.Valid(line) || !utf8.Valid(line) {
				continue
			}
			var h header
			h.read(line)
			if f := formOf(line, &h); f == nil && !bytes.Contains(line, []byte(`"aggregate"`)) || f != nil && !new(checker).fits(f, line, h.typed) {
				t.Errorf("%s, line %d: %s", name, i+1, line)
			}
		}
	}
}

// A name that is not escaped can bring members of its own into a record that is
// valid JSON. They are told from true ones.
func TestForgedMembers(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32})
	var p tsem.Parser
	const inode = `"uid": "0", "gid": "0", "mode": "0100644", "s_magic": "0xef53", "s_id": "vda", "s_uuid": "00000000000000000000000000000000"`
	for _, name := range []string{
		`x", "x": "y`, `x", "pathname": "/etc/passwd`, `x", "owner": "00", "instance": "1`, `x"}, "inode": {"uid": "0`,
		`x"}}, "new_dir": {` + inode + `}, "new_dentry": {"inode": {` + inode + `}, "path": {"type": "root", "pathname": "/y`,
		`x"}}, "new_dir": {` + inode + `}, "new_dentry": {"path": {"type": "root", "pathname": "/y"}}}, "z": {"a": {"b": "`,
		`x", "a\u0041": "`,
	} {
		for _, first := range []bool{true, false} {
			from, to := name, "/b"
			if !first {
				from, to = "/a", name
			} else if strings.Contains(name, "new_dentry") {
				continue // what is the first name then cannot be known
			}
			raw, _ := rename(from, to, "p")
			line, repaired := exported(t, &s, raw)
			r, err := p.Parse(line)
			if err != nil || r.Event == nil || !repaired {
				t.Fatalf("%q: %v, repaired %v: %s", name, err, repaired, line)
			}
			c := r.Event.Cell.(*tsem.RenameCell)
			if string(c.Old.Path.Pathname) != from || string(c.New.Path.Pathname) != to || !bytes.Equal(r.Event.AppendJSON(nil), line) {
				t.Errorf("of %q and %q came %s", from, to, line)
			}
		}
	}
}

// Of the kinds of an address there is one.
func TestForgedAddress(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32})
	const name = `x"}, "af_other": {"address": "`
	e := tsem.Event{PID: 1, TNum: 2, Context: 3, Number: 4, Process: []byte("p"), TaskID: make([]byte, 32), PTaskID: make([]byte, 32)}
	e.SetCell(tsem.SocketConnect, &tsem.SockAddrCell{Sock: tsem.Sock{Family: 1, Owner: make([]byte, 32)}, Addr: tsem.Addr{Family: tsem.AddrUnix, Path: []byte("NAME")}})
	line, repaired := exported(t, &s, unescapedEvent(&e, map[string]string{"NAME": name}))
	var p tsem.Parser
	r, err := p.Parse(line)
	if err != nil || r.Event == nil || !repaired {
		t.Fatalf("%v, repaired %v: %s", err, repaired, line)
	}
	if got := string(r.Event.Cell.(*tsem.SockAddrCell).Addr.Path); got != name {
		t.Errorf("got %q", got)
	}
}

// Kernels of another year write other members. What is valid JSON passes.
func TestOtherFormsPass(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32})
	for _, raw := range []string{
		`{"export": {"type": "event"}, "event": {"context": "1", "number": "4", "process": "p", "type": "file_open", "ttd": "0"}, "COE": {"uid": "0"}, "file_open": {"file": {"pathname": "/a"}}}`,
		`{"export": {"type": "event"}, "event": {"context": "1", "number": "4", "process": "p", "type": "new_hook", "ttd": "0"}, "COE": {}, "new_hook": {"list": ["1", 2, null]}}`,
		`{"export": {"type": "log"}, "log": {"process": "p", "event": "file_open", "action": "LOG", "why": "new"}}`,
		`{"export": {"type": "aggregate"}, "aggregate": {"value": "00"}}`,
		`{"export": {"type": "other"}}`,
	} {
		if line, repaired := exported(t, &s, []byte(raw+"\n")); repaired || string(line) != raw {
			t.Errorf("repaired %v\ngot  %s\nfrom %s", repaired, line, raw)
		}
	}
}

func BenchmarkShape(b *testing.B) {
	raw, _ := rename("/tmp/some/folder/a-file", "/tmp/some/folder/another-file", "bench")
	s := newShaper(orders{Context: true, Digest: 32})
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	var h header
	for b.Loop() {
		h.read(raw)
		if _, repaired := s.shape(raw, &h); repaired {
			b.Fatal("a good record was repaired")
		}
	}
}

func TestEveryTypeCanBeRepaired(t *testing.T) {
	f, err := os.ReadFile(filepath.Join("..", "..", "..", "tsem", "testdata", "samples.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(f) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		var h header
		h.read(line)
		if typ, ok := tsem.TypeByName(string(h.typ)); !ok || typ.Info().Export == tsem.NotExported {
			continue
		}
		m := matcher{line: line}
		f := formOf(line, &h)
		if f == nil || !m.matches(f) || !new(checker).valid(line, &h) {
			t.Errorf("%s is not as its form says: %s", h.typ, line)
			continue
		}
		if got := m.rewrite(nil); !bytes.Equal(got, line) {
			t.Errorf("got  %s\nwant %s", got, line)
		}
	}
}

func FuzzRepair(f *testing.F) {
	for i, name := range hostile {
		raw, _ := rename(name, hostile[(i+3)%len(hostile)], "p")
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newShaper(orders{Context: true, Digest: 32})
		exported(t, &s, append(raw, '\n'))
	})
}

// Whatever two paths and a process are called: they come back.
func FuzzNames(f *testing.F) {
	for i, name := range hostile {
		f.Add(name, hostile[(i+5)%len(hostile)], "p")
	}
	f.Fuzz(func(t *testing.T, from, to, process string) {
		if len(process) > maxProcess || strings.Contains(from+to+process, "\x00") {
			return
		}
		s := newShaper(orders{Context: true, Digest: 32})
		raw, _ := rename(from, to, process)
		line, _ := exported(t, &s, raw)
		var p tsem.Parser
		r, err := p.Parse(line)
		if err != nil || r.Event == nil && !bytes.Contains(line, []byte("record_b64")) {
			t.Fatalf("%v: %s", err, line)
		}
	})
}

func TestNumbers(t *testing.T) {
	var n numbers
	n.expect(1)
	for _, number := range []uint64{1, 3, 2, 6, 6, 5} {
		n.came(number)
	}
	if n.late != 2 || n.doubled != 1 || len(n.gaps) != 1 {
		t.Errorf("got %+v", n)
	}
	if _, ok := n.lost(false); ok {
		t.Error("what has just been missed is lost already")
	}
	if g, ok := n.lost(true); !ok || g.first != 4 || g.last != 4 {
		t.Errorf("got %+v %v", g, ok)
	}
	n.came(9)
	for i := range uint64(patience + 1) {
		n.came(10 + i)
	}
	if g, ok := n.lost(false); !ok || g.first != 7 || g.last != 8 {
		t.Errorf("got %+v %v", g, ok)
	}
	if n.open() {
		t.Errorf("got %+v", n)
	}
}

func TestDigestsAreCut(t *testing.T) {
	const zeros32 = "00000000000000000000000000000000"
	const md5 = "0123456789abcdef0123456789abcdef"
	s := newShaper(orders{Context: true, Digest: 16})
	raw := `{"export": {"type": "event"}, "event": {"pid": "1", "tnum": "2", "context": "3", "number": "4", "process": "p", "type": "socket_bind", "ttd": "0", "p_ttd": "0", "task_id": "` + md5 + zeros32 +
		`", "p_task_id": "` + zeros32 + zeros32 + `", "ts": "0"}, "COE": {}, "socket_bind": {"sock": {"owner": "` + md5 + md5 + `"}, "addr": {"af_unix": {"address": "` + md5 + zeros32 + `"}}}}`
	want := strings.Replace(raw, `"task_id": "`+md5+zeros32, `"task_id": "`+md5, 1)
	want = strings.Replace(want, zeros32+zeros32, zeros32, 1)
	if line, _ := exported(t, &s, []byte(raw+"\n")); string(line) != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

func TestTimeOfReading(t *testing.T) {
	s := newShaper(orders{Context: true, Digest: 32, Timestamp: true})
	for _, path := range []string{"/a", `/"`} {
		raw, _ := rename(path, "/b", "p")
		line, _ := exported(t, &s, raw)
		var p tsem.Parser
		r, err := p.Parse(line)
		if err != nil || r.Event.Time.IsZero() || r.Event.Number != 4 {
			t.Errorf("%v: %s", err, line)
		}
		if !bytes.HasPrefix(line, []byte(`{"export": {"type": "event", "time": "20`)) {
			t.Errorf("got %s", line)
		}
	}
}
