// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"

	"quixote-export/internal/broker"
	"quixote-export/internal/mqtt"
	"quixote-export/internal/mqtt/mqtttest"
	"quixote-export/internal/record"
	"quixote-export/internal/spool"
	"quixote-export/tsem"
)

const patience = time.Minute

// event is record number n, as a source writes it.
func event(n int, t tsem.Type) string {
	e := tsem.Event{PID: 1, Context: 3, Number: uint64(n), Process: []byte("p")}
	e.SetCell(t, tsem.NewCell(t))
	return string(e.AppendJSON(nil))
}

// batch is of the events first to last, of two types.
func batch(first, last int) *record.Batch {
	b := &record.Batch{Context: 3}
	for n := first; n <= last; n++ {
		t := typeOf(n)
		b.Append(t, []byte(event(n, t)))
	}
	return b
}

func typeOf(n int) tsem.Type {
	if n%3 == 0 {
		return tsem.TaskKill
	}
	return tsem.FileOpen
}

// A bench is a sink for a test, with its spool and what it tells.
type bench struct {
	*Sink
	t    *testing.T
	dir  string // of the spool
	mu   sync.Mutex
	said []string
}

func (b *bench) notice(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, line)
}

func (b *bench) notices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.said)
}

// newBench makes a sink; change may change its options. The test closes it.
func newBench(t *testing.T, address, topic string, change func(*Options)) *bench {
	t.Helper()
	return reopen(t, filepath.Join(t.TempDir(), "spool"), address, topic, change)
}

func reopen(t *testing.T, dir, address, topic string, change func(*Options)) *bench {
	t.Helper()
	parsed, err := broker.ParseTopic(topic)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir}
	o := Options{
		Name: "mqtt://" + address, Topic: parsed, Path: dir, Drain: patience, Notice: b.notice,
		Broker: mqtt.Options{
			Address: address, ClientID: "test", QoS: 1,
			MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond,
		},
	}
	if change != nil {
		change(&o)
	}
	if o.Spool == nil {
		o.Spool = openSpool(t, dir, 0)
	}
	b.Sink = New(o)
	return b
}

func openSpool(t *testing.T, dir string, limit int64) *spool.Queue {
	t.Helper()
	q, err := spool.Open(dir, spool.Options{Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func (b *bench) connect() *bench {
	b.t.Helper()
	if err := b.Connect(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return b
}

// write gives the sink events first to last, in batches.
func (b *bench) write(first, last int) {
	b.t.Helper()
	for ; first <= last; first += 100 {
		if err := b.Write(batch(first, min(first+99, last))); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Error(err)
	}
}

// lines are the records in messages, without those that came before.
func lines(got []mqtttest.Got) []string {
	var all []string
	seen := make(map[string]bool)
	for _, g := range got {
		if g.Retain {
			continue // a state
		}
		for line := range strings.SplitSeq(string(g.Payload), "\n") {
			if !seen[line] {
				seen[line] = true
				all = append(all, line)
			}
		}
	}
	return all
}

// checkEvents wants the events first to last and no others, in order.
func checkEvents(t *testing.T, got []string, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		i := n - first
		if i == len(got) {
			t.Fatalf("%d records, want %d", len(got), last-first+1)
		}
		if want := event(n, typeOf(n)); got[i] != want {
			t.Fatalf("record %d is %.200s\nwant %.200s", i, got[i], want)
		}
	}
	if len(got) > last-first+1 {
		t.Errorf("%d records, want %d", len(got), last-first+1)
	}
}

func TestEveryRecordIsAMessage(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			m := mqtttest.NewMemory(t, nil)
			b := newBench(t, m.Address, "test", func(o *Options) { o.Broker.QoS = qos }).connect()
			const n = 3000
			b.write(1, n)
			if err := b.Flush(); err != nil {
				t.Error(err)
			}
			if held := b.Held(); held != 0 {
				t.Errorf("%d bytes are held after Flush", held)
			}
			b.close()
			got := m.Got()
			if len(got) != n || got[0].Topic != "test" || got[0].Retain {
				t.Errorf("%d messages, the first to %q", len(got), got[0].Topic)
			}
			checkEvents(t, lines(got), 1, n)
			if lost := b.Lost(); !lost.None() || b.Waiting() != 0 || len(b.notices()) != 0 {
				t.Errorf("lost %v, %d waiting, said %q", lost, b.Waiting(), b.notices())
			}
			if left, _ := filepath.Glob(b.dir); left != nil {
				t.Error("an empty spool is left")
			}
		})
	}
}

func TestSeveralRecordsInAMessage(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "test", func(o *Options) { o.Batch = 7 }).connect()
	b.write(1, 1000)
	b.close()
	got := m.Got()
	for _, g := range got {
		n := strings.Count(string(g.Payload), "\n") + 1
		if n > 7 || strings.HasSuffix(string(g.Payload), "\n") {
			t.Fatalf("a message of %d records, it ends in %q", n, g.Payload[len(g.Payload)-3:])
		}
	}
	if len(got) > 300 {
		t.Errorf("%d messages for 1000 records", len(got))
	}
	checkEvents(t, lines(got), 1, 1000)
}

func TestTopicsByType(t *testing.T) {
	for _, size := range []int{1, 10} {
		m := mqtttest.NewMemory(t, nil)
		b := newBench(t, m.Address, "a/{type}", func(o *Options) { o.Batch = size }).connect()
		b.write(1, 300)
		own := &record.Batch{Own: true}
		lost := tsem.Lost{Context: 3, Cause: "c"}
		own.Append(0, lost.AppendJSON(nil))
		if err := b.Write(own); err != nil {
			t.Fatal(err)
		}
		b.close()
		got := m.Got()
		for _, g := range got {
			for line := range strings.SplitSeq(string(g.Payload), "\n") {
				if want := "a/" + string(kindOf([]byte(line))); g.Topic != want {
					t.Fatalf("%s goes to %s", want, g.Topic)
				}
			}
		}
		if last := got[len(got)-1]; last.Topic != "a/lost" {
			t.Errorf("the lost record goes to %s", last.Topic)
		}
		all := lines(got)
		checkEvents(t, all[:len(all)-1], 1, 300)
	}
}

// The broker goes away for long: all is kept in the spool, comes in order, and
// then goes through memory again.
func TestOutage(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "test", nil).connect()
	b.write(1, 500)
	m.Stop()
	const n = 20_000 // more than memory takes
	b.write(501, n)
	if b.Held() != 0 {
		t.Errorf("%d bytes are in memory alone", b.Held())
	}
	if w := b.Waiting(); w < n-500 || w > n {
		t.Errorf("%d records wait", w)
	}
	if err := b.Flush(); err != nil {
		t.Error(err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	b.write(n+1, n+1000)
	b.until(func() bool { return b.Waiting() == 0 })
	b.write(n+1001, n+1010)
	b.Sink.mu.Lock()
	spooled := b.spooled
	b.Sink.mu.Unlock()
	if spooled {
		t.Error("records go to the spool though it is empty")
	}
	b.close()
	checkEvents(t, lines(m.Got()), 1, n+1010)
	said := b.notices()
	if len(said) != 2 || !strings.Contains(said[0], "kept, if need be in "+b.dir) || !strings.Contains(said[1], "is back, and has everything") {
		t.Errorf("said %q", said)
	}
	if lost := b.Lost(); !lost.None() {
		t.Errorf("lost: %v", lost)
	}
}

// until waits for something that settling messages brings about.
func (b *bench) until(is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !is(); {
		if time.Now().After(end) {
			b.t.Fatalf("%d records wait", b.Waiting())
		}
		b.Sink.mu.Lock()
		b.await(10 * time.Millisecond)
		b.Sink.mu.Unlock()
	}
}

// Short outages do not touch the spool.
func TestShortOutage(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "test", nil).connect()
	for i := range 5 {
		m.Stop()
		b.write(100*i+1, 100*i+100)
		b.Sink.mu.Lock()
		if b.spooled {
			t.Error("records are in the spool")
		}
		b.Sink.mu.Unlock()
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		b.until(func() bool { return b.Waiting() == 0 })
	}
	b.close()
	checkEvents(t, lines(m.Got()), 1, 500)
	if said := b.notices(); len(said) != 2 {
		t.Errorf("said %q", said)
	}
}

// What an earlier run has left goes first.
func TestWhatWasLeftGoesFirst(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	m.Stop()
	b := newBench(t, m.Address, "test", func(o *Options) { o.Drain = 0 })
	if err := b.Connect(t.Context()); err == nil || !MayComeBack(err) || !strings.Contains(err.Error(), "nothing listens on port") {
		t.Fatalf("got %v", err)
	}
	b.Start()
	b.write(1, 2500)
	b.close()
	if b.Waiting() != 2500 {
		t.Errorf("%d records wait", b.Waiting())
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	next := reopen(t, b.dir, m.Address, "test", nil).connect()
	next.write(2501, 3000)
	next.close()
	checkEvents(t, lines(m.Got()), 1, 3000)
}

// A run that never began leaves what it has found, at once.
func TestCloseWithoutARun(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	m.Stop()
	b := newBench(t, m.Address, "test", func(o *Options) { o.Drain = 0 })
	b.Start()
	b.write(1, 10)
	b.close()
	began := time.Now()
	next := reopen(t, b.dir, m.Address, "test", nil)
	if err := next.Connect(t.Context()); err == nil {
		t.Error("there is a broker")
	}
	next.close()
	if took := time.Since(began); took > patience/2 || next.Waiting() != 10 {
		t.Errorf("%d records wait, after %v", next.Waiting(), took)
	}
}

// fill writes events until the spool is full. It returns the number of the
// last one taken, and the error.
func (b *bench) fill() (last int, err error) {
	for n := 1; ; n += 100 {
		err := b.Write(batch(n, n+99))
		if err != nil {
			taken, _ := record.Taken(err, 100)
			return n + taken - 1, err
		}
		last = n + 99
	}
}

func TestDropWhenTheSpoolIsFull(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	dir := t.TempDir()
	b := reopen(t, dir, m.Address, "test", func(o *Options) {
		o.Drop, o.Spool = true, openSpool(t, dir, 4<<20)
	}).connect()
	m.Stop()
	last, err := b.fill()
	var we *record.WriteError
	if !errors.As(err, &we) || we.Cause != record.CauseSpoolFull || !errors.Is(err, spool.ErrFull) {
		t.Fatalf("got %v", err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	b.until(func() bool { return b.Waiting() == 0 })
	b.write(last+1, last+10) // it takes records again
	b.close()
	checkEvents(t, lines(m.Got()), 1, last+10)
}

func TestBlockWhenTheSpoolIsFull(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	dir := t.TempDir()
	b := reopen(t, dir, m.Address, "test", func(o *Options) { o.Spool = openSpool(t, dir, 4<<20) }).connect()
	m.Stop()
	const n = 20_000 // more than fits
	written := make(chan error, 1)
	go func() {
		for first := 1; first <= n; first += 100 {
			if err := b.Write(batch(first, first+99)); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	b.until(func() bool { return b.options.Spool.Bytes() > 3<<20 })
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	b.close()
	checkEvents(t, lines(m.Got()), 1, n)
}

// Waiting for room ends with the run.
func TestBlockingEnds(t *testing.T) {
	for name, end := range map[string]func(*Sink){
		"with the time for draining": func(s *Sink) { s.End("0") },
		"at once":                    func(s *Sink) { s.options.Drain = time.Hour; s.End("0"); s.Hurry() },
	} {
		t.Run(name, func(t *testing.T) {
			m := mqtttest.NewMemory(t, nil)
			dir := t.TempDir()
			b := reopen(t, dir, m.Address, "test", func(o *Options) {
				o.Spool, o.Drain = openSpool(t, dir, 4<<20), 10*time.Millisecond
			}).connect()
			m.Stop()
			full := make(chan error, 1)
			go func() {
				_, err := b.fill()
				full <- err
			}()
			b.until(func() bool { return b.options.Spool.Bytes() > 3<<20 })
			end(b.Sink)
			if err := <-full; !errors.Is(err, spool.ErrFull) {
				t.Errorf("got %v", err)
			}
			b.close()
			if b.Waiting() == 0 {
				t.Error("nothing waits")
			}
		})
	}
}

// A record that the broker does not take is lost, and the stream says so.
func TestRecordsThatAreTooLarge(t *testing.T) {
	m := mqtttest.NewMemory(t, func(c *mochi.Capabilities) { c.MaximumPacketSize = 2000 })
	b := newBench(t, m.Address, "test", nil).connect()
	b.write(1, 50)
	large := &record.Batch{Context: 3}
	for n := 51; n <= 53; n++ {
		e := tsem.Event{PID: 1, Context: 3, Number: uint64(n), Process: bytes.Repeat([]byte("x"), 3000)}
		e.SetCell(tsem.FileOpen, tsem.NewCell(tsem.FileOpen))
		large.Append(tsem.FileOpen, e.AppendJSON(nil))
	}
	if err := b.Write(large); err != nil {
		t.Fatal(err)
	}
	b.write(54, 100)
	b.until(func() bool { return b.Waiting() == 0 })
	b.close()
	var rest []string
	told := 0
	for _, line := range lines(m.Got()) {
		if strings.Contains(line, `"type": "lost"`) {
			if told++; !strings.Contains(line, `"context": "3", "after": "50", "count": "3", "cause": "message_too_large", "sink": "mqtt://`) {
				t.Errorf("got %s", line)
			}
			continue
		}
		rest = append(rest, line)
	}
	checkEvents(t, rest[:50], 1, 50)
	checkEvents(t, rest[50:], 54, 100)
	if got := b.Lost(); got.String() != "3 message_too_large" || told != 1 {
		t.Errorf("lost %v, told %d times", got, told)
	}
	if said := b.notices(); !slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, "packet too large") }) {
		t.Errorf("said %q", said)
	}
}

// The access rules of the broker deny one topic of several.
func TestATopicIsDenied(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	m.Refuse(func(topic string) bool { return topic == "a/task_kill" })
	b := newBench(t, m.Address, "a/{type}", func(o *Options) { o.Broker.Version = mqtt.V5 }).connect()
	b.write(1, 100)
	b.until(func() bool { return b.Waiting() == 0 })
	b.close()
	opened, lost := 0, 0
	for _, line := range lines(m.Got()) {
		switch string(kindOf([]byte(line))) {
		case "file_open":
			opened++
		case "lost":
			lost++
		default:
			t.Errorf("got %.100s", line)
		}
	}
	if opened != 67 || lost == 0 {
		t.Errorf("%d records and %d losses came", opened, lost)
	}
	if got := b.Lost(); got.String() != "33 message_refused" {
		t.Errorf("lost %v", got)
	}
}

// The access rules deny everything: it is kept until they do not.
func TestEverythingIsDenied(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	m.Refuse(func(string) bool { return true })
	b := newBench(t, m.Address, "a", func(o *Options) { o.Broker.Version = mqtt.V5 }).connect()
	b.write(1, 100)
	b.until(func() bool { return len(b.notices()) > 0 })
	if said := b.notices()[0]; !strings.Contains(said, "it refuses messages to the topic a (not authorised") {
		t.Errorf("said %q", said)
	}
	if b.Waiting() != 100 {
		t.Errorf("%d records wait", b.Waiting())
	}
	m.Refuse(nil)
	b.close()
	checkEvents(t, lines(m.Got()), 1, 100)
	if lost := b.Lost(); !lost.None() {
		t.Errorf("lost %v", lost)
	}
}

func TestStatusTopic(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "test", func(o *Options) {
		o.Status = &Status{Topic: "state", Host: "h", Workload: "w", Run: "r", Started: time.Unix(1, 5)}
	}).connect()
	b.write(1, 10)
	m.Wait(t, func(got []mqtttest.Got) bool { return len(got) == 11 })
	b.End("7")
	b.close()
	var states []string
	for _, g := range m.Got() {
		if g.Retain {
			states = append(states, g.Topic+" "+string(g.Payload))
		}
	}
	const head = `","host":"h","workload":"w","run":"r","started":"1970-01-01T00:00:01.000000005Z"`
	want := []string{`state {"state":"running` + head + `}`, `state {"state":"ended` + head + `,"ended":"`}
	if len(states) != 2 || states[0] != want[0] || !strings.HasPrefix(states[1], want[1]) || !strings.HasSuffix(states[1], `","status":"7","waiting":"0"}`) {
		t.Errorf("got  %q\nwant %q", states, want)
	}
}

// What is in memory alone is the end of what was written, to the byte.
func TestHeldIsTheEndOfWhatWasWritten(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	m.Refuse(func(string) bool { return true }) // nothing is acknowledged
	b := newBench(t, m.Address, "test", func(o *Options) { o.Broker.Version = mqtt.V5 }).connect()
	all := int64(0)
	for n := 1; n < 1000; n += 100 {
		part := batch(n, n+99)
		if err := b.Write(part); err != nil {
			t.Fatal(err)
		}
		if all += int64(len(part.Buf)); b.Held() != all {
			t.Fatalf("%d bytes are held of %d", b.Held(), all)
		}
	}
	own := &record.Batch{Own: true}
	own.Append(0, []byte(`{"export": {"type": "start"}}`))
	if err := b.Write(own); err != nil {
		t.Fatal(err)
	}
	if b.Held() != 0 {
		t.Errorf("%d bytes are held behind a record that is in no ledger", b.Held())
	}
	b.Hurry()
	b.close()
}

// With QoS 0 nobody knows what a connection that broke has taken along.
func TestUnconfirmed(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "test", func(o *Options) { o.Broker.QoS = 0 }).connect()
	b.write(1, 10)
	m.Wait(t, func(got []mqtttest.Got) bool { return len(got) == 10 })
	m.Stop()
	b.until(func() bool { return len(b.notices()) > 0 })
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	b.write(11, 20)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	b.close()
	if got := b.Lost(); got.String() != "an unknown number unconfirmed" {
		t.Errorf("lost %v", got)
	}
	all := lines(m.Got())
	if !slices.ContainsFunc(all, func(line string) bool {
		return strings.Contains(line, `"context": "3", "after": "10", "count": "", "cause": "unconfirmed"`)
	}) {
		t.Errorf("no lost record: %q", all)
	}
}

// The heir of a run that was killed keeps what it is given for the next run.
func TestHeir(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	dir := filepath.Join(t.TempDir(), "spool")
	h := NewHeir("mqtt://b", openSpool(t, dir, 0))
	if err := h.Write(batch(1, 20)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Flush(), h.Close()); err != nil || h.Waiting() != 20 {
		t.Fatalf("%d wait, %v", h.Waiting(), err)
	}
	b := reopen(t, dir, m.Address, "test", nil).connect()
	b.write(21, 30)
	b.close()
	checkEvents(t, lines(m.Got()), 1, 30)
}
