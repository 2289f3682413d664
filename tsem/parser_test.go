// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What differs from the form that we write, and still means the same.
func TestParseTolerates(t *testing.T) {
	spread := strings.NewReplacer(`: `, " :\t", `, `, "\r\n, ", `{`, "{ ", `}`, " }").Replace(openLine)
	tests := []struct{ name, line string }{
		{"line feed", openLine + "\n"},
		{"no white space", strings.NewReplacer(`: `, `:`, `, `, `,`).Replace(openLine)},
		{"much white space", "\t " + spread + " \r\n"},
		{"unknown members", strings.Replace(openLine, `"file": {`, `"x": [1, -0.5e+3, {"y": [], "z": {}}, true, false, null, "\u0041\""], "file": {"": 0, `, 1)},
		{"an unknown member at the end", strings.TrimSuffix(openLine, `}`) + `, "added": {"later": ["on"]}}`},
		{"other order in FILE", strings.Replace(openLine, inode+path+digest, digest+`, `+path+strings.TrimSuffix(inode, `, `), 1)},
		{
			"other order of all",
			`{` + openLine[strings.Index(openLine, `"file_open": {`):len(openLine)-1] + `, ` + head + `"export": {"type": "event"}}`,
		},
		{"escapes in values", strings.Replace(openLine, `/etc/hostname`, `\/etc\u002fhostnam\u0065`, 1)},
		{"escapes in numbers and digests", strings.NewReplacer(`"32768"`, `"\u00332768"`, `"333`, `"\u00333\u0033`).Replace(openLine)},
		{"escapes in names", strings.Replace(openLine, `"pathname"`, `"p\u0061thname"`, 1)},
		{"other bases", strings.NewReplacer(`"32768"`, `"0x8000"`, `"0100644"`, `"33188"`, `"0xef53"`, `"0167523"`).Replace(openLine)},
		{"upper case hex", strings.NewReplacer(`aabbcc`, `AABBCC`, `0xef53`, `0XEF53`).Replace(openLine)},
		{"a cell of another type before", strings.Replace(openLine, `"file_open": {`, `"bpf": {"cmd": "1"}, "file_open": {`, 1)},
		{"a known member twice", strings.Replace(openLine, path, `"path": {"pathname": "/x"}, `+path, 1)},
	}
	var p Parser
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := p.Parse([]byte(test.line))
			if err != nil {
				t.Fatalf("%v: %s", err, test.line)
			}
			if got := string(r.AppendJSON(nil)); r.Kind != KindEvent || got != openLine {
				t.Errorf("got  %s\nfrom %s", got, test.line)
			}
		})
	}
}

func TestParseText(t *testing.T) {
	tests := []struct{ name, members, want string }{
		{"escapes", `"process": "\"\\\/\b\f\n\r\t\u00e9\ud83c\udf89"`, "\"\\/\b\f\n\r\té🎉"},
		{"half pairs", `"process": "\ud83c-\udf89\ud83cx\ud83c\u0041"`, "\uFFFD-\uFFFD\uFFFDx\uFFFDA"},
		{"raw bytes", "\"process\": \"bad\xff\xfename\\n\"", "bad\xff\xfename\n"},
		{"base64 behind", `"process": "a", "process_b64": "//4="`, "\xff\xfe"},
		{"base64 before", `"process_b64": "//4=", "process": "a"`, "\xff\xfe"},
		{"base64 alone, without padding", `"process_b64": "//4"`, "\xff\xfe"},
		{"escapes in base64", `"process_b64": "\/\/4\u003d"`, "\xff\xfe"},
		{"another member's base64", `"process": "a", "event_b64": "//4="`, "a"},
	}
	var p Parser
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := p.Parse([]byte(`{"export": {"type": "log"}, "log": {` + test.members + `}}`))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(r.Log.Process); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestParseKinds(t *testing.T) {
	const queue = `"event": {"type": "tun_dev_attach_queue"}, "COE": {}, "tun_dev_attach_queue": {`
	tests := []struct {
		name, line string
		want       Kind
		malformed  bool
		what       func(r *Record) bool
	}{
		{"event", openLine, KindEvent, false, func(r *Record) bool { return r.Event.Type == FileOpen && !r.Event.Async }},
		{
			"async event", strings.Replace(openLine, `"event"`, `"async_event"`, 1), KindAsyncEvent, false,
			func(r *Record) bool { return r.Event.Async },
		},
		{
			"log of a whole event", strings.Replace(openLine, `"event"`, `"log"`, 1), KindLog, false,
			func(r *Record) bool { return r.Event.Log && r.Log == nil },
		},
		{
			"log", `{"export": {"type": "log"}, "log": {"process": "p", "event": "file_open", "action": "LOG"}}`, KindLog, false,
			func(r *Record) bool { return r.Event == nil && string(r.Log.Action) == "LOG" },
		},
		{
			"aggregate", `{"export": {"type": "aggregate"}, "aggregate": {"value": "0f"}}`, KindAggregate, false,
			func(r *Record) bool { return bytes.Equal(r.Aggregate.Value, []byte{15}) },
		},
		{
			"time", `{"export": {"type": "event", "time": "2025-01-02T03:04:05.000000006+00:00"}, "event": {}}`, KindEvent, false,
			func(r *Record) bool { return r.Event.Time.Equal(time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)) },
		},
		{
			"unknown type of event", `{"export": {"type": "event"}, "event": {"type": "file_shred", "number": "7"}, "COE": {}, "file_shred": {}}`, KindEvent, false,
			func(r *Record) bool {
				return r.Event.Type == 0 && r.Event.Cell == nil && string(r.EventType) == "file_shred" && r.Event.Number == 7 && len(r.AppendJSON(nil)) == 0
			},
		},
		{
			"unknown kind", `{"export": {"type": "heartbeat"}, "heartbeat": {"n": 1}}`, KindUnknown, false,
			func(r *Record) bool { return string(r.Export) == "heartbeat" && len(r.AppendJSON(nil)) == 0 },
		},
		{"no export object", `{}`, KindUnknown, false, nil},
		{"empty, dangling comma", `{"export": {"type": "event"}, }`, KindEmpty, true, nil},
		{"empty", `{"export": {"type": "event"}}`, KindEmpty, false, nil},
		{
			"written twice", `{"export": {"type": "event"}, ` + queue + `}` + queue + `"sock": {"family": "3"}}}`, KindEvent, true,
			func(r *Record) bool { return r.Event.Cell.(*SockCell).Sock.Family == 3 },
		},
	}
	var p Parser
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := p.Parse([]byte(test.line))
			if err != nil {
				t.Fatal(err)
			}
			if name := r.Kind.String(); name != "" && name != string(r.Export) {
				t.Errorf("kind %d is called %q", r.Kind, name)
			}
			if r.Kind != test.want || r.Malformed != test.malformed || test.what != nil && !test.what(r) {
				t.Errorf("got kind %d %q, malformed %v: %+v", r.Kind, r.Kind, r.Malformed, r)
			}
			again := r.AppendJSON(nil)
			if len(again) > 0 && !json.Valid(again) {
				t.Errorf("written again: %s", again)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	event := func(members string) string { return `{"export": {"type": "event"}, "event": {` + members + `}}` }
	const base = len(`{"export": {"type": "event"}, "event": {`)
	tests := []struct {
		name, line string
		offset     int
		what       string
	}{
		{"nothing", "", 0, "not an object"},
		{"blank", " \n", 2, "not an object"},
		{"array", "[]", 0, "not an object"},
		{"half", `{"export"`, 9, "no colon behind a member name"},
		{"cut", openLine[:len(openLine)-1], len(openLine) - 1, "neither comma nor brace behind a value"},
		{"two records", openLine + openLine, len(openLine), "text behind the record"},
		{"NUL behind", openLine + "\x00", len(openLine), "text behind the record"},
		{"no quotes", `{export: {}}`, 1, "no member name"},
		{"dangling comma", `{"export": {"type": "event", }}`, 29, "no member name"},
		{"dangling comma behind the event", `{"event": {"type": "a"}, "export": {"type": "event"}, }`, 54, "no member name"},
		{"missing comma", `{"export": {} "event": {}}`, 14, "neither comma nor brace behind a value"},
		{"string without end", event(`"process": "a`), base + 14, ""},
		{"control character", event("\"process\": \"a\x01b\""), base + 13, "a control character in a string"},
		{"raw quote", event(`"process": "a"b"`), base + 14, "neither comma nor brace behind a value"},
		{"bad escape", event(`"process": "a\xb"`), base + 13, "a bad escape"},
		{"bad \\u", event(`"process": "\u12g4"`), base + 12, "a bad escape"},
		{"number without quotes", event(`"pid": 5`), base + 7, "not a string"},
		{"null", event(`"pid": null`), base + 7, "not a string"},
		{"no number", event(`"pid": "5x"`), base + 7, "not a number"},
		{"empty number", event(`"pid": ""`), base + 7, "not a number"},
		{"bad octal", event(`"pid": "08"`), base + 7, "not a number"},
		{"negative", event(`"pid": "-1"`), base + 7, "a number out of range"},
		{"too great for 32 bits", event(`"pid": "4294967296"`), base + 7, "a number out of range"},
		{"too great for 64 bits", event(`"tnum": "18446744073709551616"`), base + 8, "not a number"},
		{"odd digest", event(`"task_id": "123"`), base + 11, "not a digest"},
		{"no digest", event(`"task_id": "0x12"`), base + 11, "not a digest"},
		{"bad base64", event(`"process_b64": "a!"`), base + 15, "not base64"},
		{"object for text", event(`"process": {}`), base + 11, "not a string"},
		{"text for object", `{"export": "event"}`, 11, "not an object"},
		{"bad time", `{"export": {"time": "now"}}`, 20, "not a time of RFC 3339"},
		{"bad literal", `{"x": nil}`, 6, "not a value"},
		{"leading zero", `{"x": 01}`, 7, "neither comma nor brace behind a value"},
		{"no exponent", `{"x": 1e}`, 8, "a number without exponent"},
		{"no fraction", `{"x": 1.}`, 8, "a number without digits behind the point"},
		{"mixed brackets", `{"x": [{]}}`, 8, "no member name"},
		{"open array", `{"x": [1, 2`, 11, "neither comma nor bracket behind a value"},
		{"short UUID", `{"file_open": {"file": {"inode": {"s_uuid": "00"}}}}`, 44, "not 32 hex digits"},
	}
	var p Parser
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := p.Parse([]byte(test.line))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || r != nil {
				t.Fatalf("got %+v, %v", r, err)
			}
			if test.what != "" && (syntax.Offset != test.offset || syntax.What != test.what) {
				t.Errorf("got %v, want %q at byte %d", err, test.what, test.offset)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			if _, err := p.Parse([]byte(openLine)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A line that was cut anywhere is an error, never a panic, and so is a change
// of any byte of a record either understood or an error.
func TestParseCutAndChangedLines(t *testing.T) {
	var p Parser
	for n, line := range kept(t, "samples.jsonl") {
		for i := range line {
			if _, err := p.Parse(line[:i]); err == nil {
				t.Fatalf("accepted: %s", line[:i])
			}
		}
		// What is common to all records need not be changed in each.
		for i := n % 7; i < len(line); i += 7 {
			for _, c := range []byte("\"\\{},0\x00\xff") {
				changed := bytes.Clone(line)
				changed[i] = c
				if _, err := p.Parse(changed); (err == nil) && !json.Valid(changed) {
					t.Fatalf("accepted: %s", changed)
				}
			}
		}
	}
}

func TestParseDepth(t *testing.T) {
	nested := func(n int) []byte {
		return fmt.Appendf(nil, `{"x": %s%s}`, strings.Repeat("[", n), strings.Repeat("]", n))
	}
	var p Parser
	if _, err := p.Parse(nested(maxDepth)); err != nil {
		t.Error(err)
	}
	if _, err := p.Parse(nested(maxDepth + 1)); err == nil {
		t.Error("no limit")
	}
	if _, err := p.Parse(bytes.Repeat([]byte(`{"x":`), 1<<20)); err == nil {
		t.Error("no limit")
	}
}

// The time to parse must grow with the length of the line, not with its
// square: each of these takes a fraction of a second.
func TestParseLongLines(t *testing.T) {
	const n = 1 << 17
	tests := []struct {
		name string
		line string
	}{
		{"unknown members", `{"export": {` + strings.Repeat(`"x": 1, `, n) + `"type": "event"}}`},
		{"known members", `{"COE": {` + strings.Repeat(`"fsgid": "1", "uid": "2", `, n) + `"uid": "1"}}`},
		{"objects", `{` + strings.Repeat(`"COE": {}, `, n) + `"COE": {}}`},
		{"escapes", `{"x": "` + strings.Repeat(`\u0041`, n) + `"}`},
		{"array", `{"x": [` + strings.Repeat(`[], `, n) + `0]}`},
		{"number", `{"event": {"tnum": "` + strings.Repeat(`0`, n) + `"}}`},
		{"white space", `{` + strings.Repeat(` `, n) + `}`},
		{"half pairs", `{"export": {"type": "` + strings.Repeat(`\ud800`, n) + `"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			if _, err := new(Parser).Parse([]byte(test.line)); err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// A record is the parser's, not the line's.
func TestRecordOutlivesItsLine(t *testing.T) {
	line := []byte(openLine)
	r, err := new(Parser).Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	clear(line)
	if got := string(r.AppendJSON(nil)); got != openLine {
		t.Errorf("got %s", got)
	}
}

// Nothing of a record may show up in the next one.
func TestParserForgets(t *testing.T) {
	var p Parser
	samples := kept(t, "samples.jsonl")
	for i, line := range samples {
		if _, err := p.Parse(samples[len(samples)-1-i]); err != nil {
			t.Fatal(err)
		}
		bare := fmt.Sprintf(`{"export": {"type": "event"}, "event": {"type": %q}, %[1]q: {}}`, sampleType(t, line))
		got, err := p.Parse([]byte(bare))
		if err != nil {
			t.Fatal(err)
		}
		text := string(got.AppendJSON(nil))
		want, _ := new(Parser).Parse([]byte(bare))
		if wanted := string(want.AppendJSON(nil)); text != wanted {
			t.Errorf("got  %s\nwant %s", text, wanted)
		}
	}
}

func sampleType(t *testing.T, line []byte) string {
	t.Helper()
	r, err := new(Parser).Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	return r.Event.Type.String()
}

func TestParseDoesNotAllocate(t *testing.T) {
	var p Parser
	samples := kept(t, "samples.jsonl")
	hostile := fileOpen()
	hostile.Time = time.Now()
	hostile.Cell.(*FileCell).File.Path = Path{Type: "other", Pathname: []byte("a\xff\n"), Abspath: []byte("\"")}
	samples = append(samples, hostile.AppendJSON(nil))
	all := func() {
		for _, line := range samples {
			if _, err := p.Parse(line); err != nil {
				t.Fatal(err)
			}
		}
	}
	all()
	if n := testing.AllocsPerRun(20, all); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range kept(f, "samples.jsonl") {
		f.Add(line)
	}
	for _, line := range []string{
		`{"export": {"type": "event"}, }`,
		`{"export": {"type": "log"}, "log": {"process": "p", "event": "e", "action": "LOG"}}`,
		`{"export": {"type": "aggregate"}, "aggregate": {"value": "00"}}`,
		`{"export": {"type": "start"}, "start": {"schema": "1", "run": "r", "started": "2025-01-02T03:04:05.000000006Z"}}`,
		`{"export": {"type": "end"}, "end": {"run": "r", "events": "1", "ended": ""}}`,
		`{"export": {"type": "lost"}, "lost": {"context": "3", "after": "1", "count": "", "cause": "c", "sink": "s"}}`,
		`{"x": [1, {"y": "\ud800"}]}`,
		string(bytes.ReplaceAll([]byte(openLine), []byte("hostname"), []byte("\xff\", \"pathname_b64\": \"/w=="))),
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var p Parser
		r, err := p.Parse(line)
		if err != nil {
			return
		}
		if !r.Malformed && !json.Valid(line) {
			t.Errorf("accepted: %q", line)
		}
		written := r.AppendJSON(nil)
		if len(written) == 0 {
			return
		}
		if !json.Valid(written) {
			t.Fatalf("%q becomes %q", line, written)
		}
		again, err := p.Parse(written)
		if err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		if second := again.AppendJSON(nil); !bytes.Equal(second, written) {
			t.Errorf("got  %q\nwant %q", second, written)
		}
	})
}
