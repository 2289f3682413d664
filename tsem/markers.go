// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "time"

// Schema is the version of the format of our records.
const Schema = "1"

// StartPrefix and EndPrefix are how the markers of a stream begin.
const (
	StartPrefix = `{"export": {"type": "start"}, "start": {`
	EndPrefix   = `{"export": {"type": "end"}, "end": {`
)

// Start is the first record of a stream, and of each part of one.
type Start struct {
	Schema   string // empty is written as Schema
	Run      string // UUID of the run
	Host     string
	BootID   string // UUID of the boot
	Workload string
	Source   string // what the events come from: tsem, bpf, …
	Digest   string // name of the Algorithm
	NSRef    string // initial or current: the user namespace of the ids
	Context  uint64
	Started  time.Time // written in UTC with nanoseconds, empty if zero
	Part     uint64    // of the run, where its stream is split over files; not written below 2
}

// AppendJSON appends the record, without a line feed.
func (s *Start) AppendJSON(b []byte) []byte {
	schema := s.Schema
	if schema == "" {
		schema = Schema
	}
	b = appendString(append(b, StartPrefix+`"schema": "`...), "schema", schema)
	b = appendString(append(b, `, "run": "`...), "run", s.Run)
	b = appendString(append(b, `, "host": "`...), "host", s.Host)
	b = appendString(append(b, `, "boot_id": "`...), "boot_id", s.BootID)
	b = appendString(append(b, `, "workload": "`...), "workload", s.Workload)
	b = appendString(append(b, `, "source": "`...), "source", s.Source)
	b = appendString(append(b, `, "digest": "`...), "digest", s.Digest)
	b = appendString(append(b, `, "nsref": "`...), "nsref", s.NSRef)
	b = appendUint(append(b, `, "context": "`...), s.Context)
	b = appendOptionalTime(append(b, `", "started": "`...), s.Started)
	if s.Part > 1 {
		b = appendUint(append(b, `", "part": "`...), s.Part)
	}
	return append(b, `"}}`...)
}

func (s *Start) read(p *Parser) {
	for at := p.begin(); p.more(&at); {
		p.str("schema", &s.Schema)
		p.str("run", &s.Run)
		p.str("host", &s.Host)
		p.str("boot_id", &s.BootID)
		p.str("workload", &s.Workload)
		p.str("source", &s.Source)
		p.str("digest", &s.Digest)
		p.str("nsref", &s.NSRef)
		p.u64("context", &s.Context)
		p.optionalTime("started", &s.Started)
		p.u64("part", &s.Part)
	}
}

// End is the last record of a stream, or of a part of it.
type End struct {
	Run    string    // as in Start
	Events uint64    // in this stream or part
	Bytes  uint64    // of it before this record, line feeds included
	Lost   string    // how many events of the run were lost so far, empty if that is not known
	Status string    // exit status of the workload, empty if another part follows
	Ended  time.Time // written in UTC with nanoseconds, empty if zero
	// Cut is a word for why the export was broken off before it was complete;
	// empty is not written.
	Cut string
}

// AppendJSON appends the record, without a line feed.
func (e *End) AppendJSON(b []byte) []byte {
	b = appendString(append(b, EndPrefix+`"run": "`...), "run", e.Run)
	b = appendUint(append(b, `, "events": "`...), e.Events)
	b = appendUint(append(b, `", "bytes": "`...), e.Bytes)
	b = appendString(append(b, `", "lost": "`...), "lost", e.Lost)
	b = appendString(append(b, `, "status": "`...), "status", e.Status)
	b = appendOptionalTime(append(b, `, "ended": "`...), e.Ended)
	b = append(b, '"')
	if e.Cut != "" {
		b = appendString(append(b, `, "cut": "`...), "cut", e.Cut)
	}
	return append(b, `}}`...)
}

func (e *End) read(p *Parser) {
	for at := p.begin(); p.more(&at); {
		p.str("run", &e.Run)
		p.u64("events", &e.Events)
		p.u64("bytes", &e.Bytes)
		p.str("lost", &e.Lost)
		p.str("status", &e.Status)
		p.optionalTime("ended", &e.Ended)
		p.word("cut", &e.Cut)
	}
}

// Lost says that events are missing at this place of the stream.
type Lost struct {
	Context uint64
	After   uint64 // number of the last event before
	Count   string // how many, in decimal; empty if that cannot be known
	Cause   string // a word
	Sink    string // the sink that alone did not get them; empty is not written
}

// AppendJSON appends the record, without a line feed.
func (l *Lost) AppendJSON(b []byte) []byte {
	b = appendUint(append(b, `{"export": {"type": "lost"}, "lost": {"context": "`...), l.Context)
	b = appendUint(append(b, `", "after": "`...), l.After)
	b = appendString(append(b, `", "count": "`...), "count", l.Count)
	b = appendString(append(b, `, "cause": "`...), "cause", l.Cause)
	if l.Sink != "" {
		b = appendString(append(b, `, "sink": "`...), "sink", l.Sink)
	}
	return append(b, `}}`...)
}

func (l *Lost) read(p *Parser) {
	for at := p.begin(); p.more(&at); {
		p.u64("context", &l.Context)
		p.u64("after", &l.After)
		p.str("count", &l.Count)
		p.word("cause", &l.Cause)
		p.word("sink", &l.Sink)
	}
}

// Aggregate is the platform measurement that begins the stream of a context
// whose events are modeled outside the kernel.
type Aggregate struct {
	Value Digest
}

// AppendJSON appends the record, without a line feed.
func (a *Aggregate) AppendJSON(b []byte) []byte {
	b = appendHex(append(b, `{"export": {"type": "aggregate"}, "aggregate": {"value": "`...), a.Value)
	return append(b, `"}}`...)
}

func (a *Aggregate) read(p *Parser) {
	for at := p.begin(); p.more(&at); {
		p.digest("value", &a.Value)
	}
}

// Log tells of an event of a task that is not trusted. Newer kernels give the
// whole event instead: see Event.
type Log struct {
	Process []byte // the task's comm
	Event   []byte // name of the event's type
	Action  []byte // LOG or DENY
}

// AppendJSON appends the record, without a line feed.
func (l *Log) AppendJSON(b []byte) []byte {
	b = appendText(append(b, `{"export": {"type": "log"}, "log": {"process": "`...), "process", l.Process)
	b = appendText(append(b, `, "event": "`...), "event", l.Event)
	b = appendText(append(b, `, "action": "`...), "action", l.Action)
	return append(b, `}}`...)
}

func (l *Log) read(p *Parser) {
	for at := p.begin(); p.more(&at); {
		p.text("process", &l.Process)
		p.text("event", &l.Event)
		p.text("action", &l.Action)
	}
}

func appendOptionalTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendTime(b, t)
}

// optionalTime is time, or an empty text.
func (p *Parser) optionalTime(name string, to *time.Time) {
	if p.is(name) && p.pos+1 < len(p.line) && p.line[p.pos] == '"' && p.line[p.pos+1] == '"' {
		p.skip()
		p.advance()
		return
	}
	p.time(name, to)
}
