// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "time"

// An Event is a security event: who did what, and to what.
type Event struct {
	// Async: taken in atomic context, exported as "async_event". SetCell sets
	// it from the table.
	Async bool
	// Log: exported as "log", the form in which newer kernels tell of an
	// event of a task that is not trusted. It comes before Async.
	Log bool

	// Time is the wall clock; the zero value is not written. It is written in
	// UTC with nine digits of the second.
	Time time.Time

	PID     uint32 // in the initial pid namespace; 0: neither it nor TNum is written
	TNum    uint64 // serial number of the task
	Context uint64 // of the security modeling namespace; 0 is the root context
	Number  uint64 // within the context, from 1
	Process []byte // the task's comm
	Type    Type
	TTD     uint64 // the task's count of execs, 0 before the first
	PTTD    uint64 // the same of the parent, when it forked
	TaskID  Digest
	PTaskID Digest
	TS      uint64 // nanoseconds since the context was made, suspend included
	COE     COE
	Cell    Cell // of the shape that NewCell(Type) gives; nil is written as that, empty
}

// SetCell makes e an event of type t about c, and sets Async as the table says.
func (e *Event) SetCell(t Type, c Cell) {
	e.Type, e.Cell, e.Async = t, c, t.Info().Async
}

// A Cell is what an event acts on. Pointers to the structs of this package
// whose names end in Cell implement it; types of equal form share one.
type Cell interface {
	// appendTo appends the JSON object of an event of type t.
	appendTo(b []byte, t Type) []byte
	// read replaces the cell by the object at the parser's position.
	read(p *Parser, t Type)
}

// NewCell makes an empty cell for t. It returns nil for no type.
func NewCell(t Type) Cell {
	if make := t.Info().cell; make != nil {
		return make()
	}
	return nil
}

// Export objects up to the place of the time.
const (
	exportEvent = `{"export": {"type": "event"`
	exportAsync = `{"export": {"type": "async_event"`
	exportLog   = `{"export": {"type": "log"`
)

// AppendJSON appends the record of e, without a line feed. It does not
// allocate when b has room.
func (e *Event) AppendJSON(b []byte) []byte {
	switch {
	case e.Log:
		b = append(b, exportLog...)
	case e.Async:
		b = append(b, exportAsync...)
	default:
		b = append(b, exportEvent...)
	}
	if !e.Time.IsZero() {
		b = append(b, `, "time": "`...)
		b = append(appendTime(b, e.Time), '"')
	}
	b = append(b, `}, "event": {`...)
	if e.PID != 0 {
		b = appendUint(append(b, `"pid": "`...), uint64(e.PID))
		b = appendUint(append(b, `", "tnum": "`...), e.TNum)
		b = append(b, `", `...)
	}
	b = appendUint(append(b, `"context": "`...), e.Context)
	b = appendUint(append(b, `", "number": "`...), e.Number)
	b = appendText(append(b, `", "process": "`...), "process", e.Process)
	name := e.Type.String()
	b = append(append(b, `, "type": "`...), name...)
	b = appendUint(append(b, `", "ttd": "`...), e.TTD)
	b = appendUint(append(b, `", "p_ttd": "`...), e.PTTD)
	b = appendHex(append(b, `", "task_id": "`...), e.TaskID)
	b = appendHex(append(b, `", "p_task_id": "`...), e.PTaskID)
	b = appendUint(append(b, `", "ts": "`...), e.TS)
	b = append(b, `"}, "COE": {`...)
	b = e.COE.appendMembers(b)
	b = append(append(b, `}, "`...), name...)
	b = append(b, `": `...)
	cell := e.Cell
	if cell == nil {
		cell = NewCell(e.Type)
	}
	if cell == nil {
		return append(b, `{}}`...)
	}
	return append(cell.appendTo(b, e.Type), '}')
}

// read reads the event object. It returns the name of the event's type.
func (e *Event) read(p *Parser) (name []byte) {
	for at := p.begin(); p.more(&at); {
		p.u32("pid", &e.PID)
		p.u64("tnum", &e.TNum)
		p.u64("context", &e.Context)
		p.u64("number", &e.Number)
		p.text("process", &e.Process)
		p.text("type", &name)
		p.u64("ttd", &e.TTD)
		p.u64("p_ttd", &e.PTTD)
		p.digest("task_id", &e.TaskID)
		p.digest("p_task_id", &e.PTaskID)
		p.u64("ts", &e.TS)
	}
	e.Type, _ = TypeByName(string(name))
	return name
}
