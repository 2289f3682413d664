// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import "fmt"

// A Kind is what a record is.
type Kind uint8

// The kinds of record, after the type member of the export object.
const (
	KindUnknown    Kind = iota // an export type that is not known here, or none
	KindEvent                  // "event"
	KindAsyncEvent             // "async_event"
	KindAggregate              // "aggregate"
	KindLog                    // "log"
	KindStart                  // "start"
	KindEnd                    // "end"
	KindLost                   // "lost"
	KindEmpty                  // "event" or "async_event" without the event itself
)

// kinds has the export type of each kind.
var kinds = [...]string{
	KindEvent: "event", KindAsyncEvent: "async_event", KindAggregate: "aggregate", KindLog: "log",
	KindStart: "start", KindEnd: "end", KindLost: "lost",
}

// String returns the export type, and "" for KindUnknown and KindEmpty.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return ""
}

// A Record is a record that was read: one of the pointers is set, as Kind says.
type Record struct {
	Kind Kind
	// Export is the export type as it was read.
	Export []byte
	// EventType is the name of the event's type as it was read. Event.Type is
	// 0 and Event.Cell is nil if the table does not have it.
	EventType []byte
	// Malformed: a TSEM kernel wrote what is not JSON, but is understood.
	Malformed bool

	Event     *Event // KindEvent, KindAsyncEvent, and KindLog of newer kernels
	Log       *Log   // KindLog of older kernels
	Aggregate *Aggregate
	Start     *Start
	End       *End
	Lost      *Lost
}

// AppendJSON appends the record anew, without a line feed. A record of which
// not all is known, of KindUnknown or with an event type that is not in the
// table, appends nothing: hand on the line itself.
func (r *Record) AppendJSON(b []byte) []byte {
	switch {
	case r.Event != nil && r.Event.Type != 0:
		return r.Event.AppendJSON(b)
	case r.Log != nil:
		return r.Log.AppendJSON(b)
	case r.Aggregate != nil:
		return r.Aggregate.AppendJSON(b)
	case r.Start != nil:
		return r.Start.AppendJSON(b)
	case r.End != nil:
		return r.End.AppendJSON(b)
	case r.Lost != nil:
		return r.Lost.AppendJSON(b)
	case r.Kind == KindEmpty:
		b = appendText(append(b, `{"export": {"type": "`...), "type", r.Export)
		return append(b, `}}`...)
	}
	return b
}

// A SyntaxError says where a line is no record.
type SyntaxError struct {
	Offset int    // in bytes from the beginning of the line
	What   string // what is wrong there
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("no record: %s at byte %d", e.What, e.Offset)
}

// A Parser reads records. The zero value is ready; reuse it, as it keeps its
// storage: once it has seen a type and a length of line it does not allocate.
type Parser struct {
	scanner
	words map[string]string // see word
	cells [NumTypes + 1]Cell

	record    Record
	event     Event
	log       Log
	aggregate Aggregate
	start     Start
	end       End
	lost      Lost
}

// Parse reads one line, with or without its line feed. The record is the
// parser's until the next Parse; it holds no reference to line.
//
// Members and export types that are not known are ignored, in any order and
// with any white space; members that are missing are left at their zero value.
// Bytes that are not UTF-8 are kept as they are. Of a text member, the form
// with the suffix _b64 counts if it is there.
//
// Two malformed records of TSEM kernels are accepted and marked: an export
// object with a dangling comma and nothing else, which stands for an event of
// which the kernel cannot write anything (tun_dev_attach), is KindEmpty; an
// event written twice into one object without a comma between
// (tun_dev_attach_queue) is the second one. A kernel does not escape names
// either; a name that so breaks the line makes it an error.
//
// The error is a *SyntaxError: the line is not JSON, or a known member is not
// what it should be.
func (p *Parser) Parse(line []byte) (*Record, error) {
	p.reset(line)
	p.record, p.event = Record{}, Event{}
	p.log, p.aggregate = Log{}, Aggregate{}
	p.start, p.end, p.lost = Start{}, End{}, Lost{}
	var seen bool // the event object
	var cellType Type
	for at := p.begin(); p.more(&at); {
		if p.is("export") {
			p.export()
			p.advanceFromExport()
		}
		if p.is("event") {
			seen = true
			p.event = Event{Time: p.event.Time, COE: p.event.COE, Cell: p.event.Cell}
			p.record.EventType = p.event.read(p)
			p.advance()
		}
		if p.is("COE") {
			p.event.COE = COE{}
			for at := p.begin(); p.more(&at); {
				p.coeMembers(&p.event.COE)
			}
			p.advance()
		}
		if t, ok := TypeByName(string(p.name)); ok {
			cellType = t
			p.event.Cell = p.cell(t)
			p.event.Cell.read(p, t)
			p.advanceFromCell(t)
		}
		p.markers()
	}
	p.endOfLine()
	if p.err != nil {
		return nil, p.err
	}
	if cellType != p.event.Type { // a member that is called like another type
		p.event.Cell = nil
	}
	p.classify(seen)
	return &p.record, nil
}

// export reads the export object.
func (p *Parser) export() {
	for at := p.begin(); p.more(&at); {
		p.text("type", &p.record.Export)
		p.time("time", &p.event.Time)
	}
}

// advanceFromExport accepts the dangling comma behind an export object.
func (p *Parser) advanceFromExport() {
	if p.err == nil && p.record.EventType == nil && p.ahead(',', '}') {
		p.record.Malformed = true
		return
	}
	p.advance()
}

// advanceFromCell accepts the missing comma behind the first of two cells.
func (p *Parser) advanceFromCell(t Type) {
	if t == TunDevAttachQueue && p.err == nil && p.peek() == '"' {
		p.record.Malformed = true
		p.key()
		return
	}
	p.advance()
}

// cell is the parser's own cell of type t.
func (p *Parser) cell(t Type) Cell {
	if p.cells[t] == nil {
		p.cells[t] = NewCell(t)
	}
	return p.cells[t]
}

// markers reads the records that consist of one object.
func (p *Parser) markers() {
	switch {
	case p.is("log"):
		p.log.read(p)
	case p.is("aggregate"):
		p.aggregate.read(p)
	case p.is("start"):
		p.start.read(p)
	case p.is("end"):
		p.end.read(p)
	case p.is("lost"):
		p.lost.read(p)
	default:
		return
	}
	p.advance()
}

// classify finds the kind of a record whose members have been read.
func (p *Parser) classify(event bool) {
	r := &p.record
	for k, name := range kinds {
		if k != int(KindUnknown) && string(r.Export) == name {
			r.Kind = Kind(k)
		}
	}
	switch r.Kind {
	case KindEvent, KindAsyncEvent:
		p.event.Async = r.Kind == KindAsyncEvent
		if !event {
			r.Kind = KindEmpty
			return
		}
		r.Event = &p.event
	case KindLog:
		if event {
			p.event.Log = true
			r.Event = &p.event
			return
		}
		r.Log = &p.log
	case KindAggregate:
		r.Aggregate = &p.aggregate
	case KindStart:
		r.Start = &p.start
	case KindEnd:
		r.End = &p.end
	case KindLost:
		r.Lost = &p.lost
	}
}
