// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quixote-export/internal/mqtt/mqtttest"
	"quixote-export/internal/source/tsem/standin"
	"quixote-export/tsem"
)

// The state of a run is a retained message: that it runs, how it has ended, and
// that it was lost when nobody said so.
func TestBrokerStatusTopic(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	type state struct{ State, Host, Workload, Run, Started, Ended, Status, Waiting string }
	retained := func() (s state) {
		t.Helper()
		address, port, _ := net.SplitHostPort(m.Address)
		out, err := exec.Command("mosquitto_sub", "-h", address, "-p", port, "-t", "state/#", "--retained-only", "-C", "1", "-W", "60", "-F", "%t %p").Output()
		if err != nil {
			t.Fatalf("mosquitto_sub: %v", err)
		}
		topic, text, _ := strings.Cut(string(out), " ")
		if topic != "state/demo" {
			t.Errorf("the topic is %s", topic)
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return s
	}
	need(t, "mosquitto_sub")
	flags := []string{"-b", m.Address, "-t", "test", "--status-topic", "state/{workload}", "-o", "a.exp"}

	dir := openDir(t)
	r := beginExport(t, dir, 0, nil, flags...)
	until(t, "something is recorded", func() bool { return size(filepath.Join(dir, "a.exp")) > 0 })
	running := retained()
	if running.State != "running" || running.Host != host || running.Workload != "demo" || running.Started == "" || running.Ended != "" {
		t.Errorf("got %+v", running)
	}
	if err := os.WriteFile(filepath.Join(dir, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait(0)
	ended := retained()
	if ended.State != "ended" || ended.Run != running.Run || ended.Started != running.Started || ended.Ended == "" || ended.Status != "0" || ended.Waiting != "0" {
		t.Errorf("got %+v", ended)
	}
	if !strings.Contains(string(contents(t, dir, "a.exp")), `"run": "`+running.Run+`"`) {
		t.Errorf("the run %s is not that of the stream", running.Run)
	}

	dir = openDir(t)
	r = beginExport(t, dir, 0, nil, flags...)
	until(t, "something is recorded", func() bool { return size(filepath.Join(dir, "a.exp")) > 0 })
	running = retained()
	r.cmd.Process.Kill()
	<-r.done
	until(t, "the broker has noticed", func() bool { return retained().State == "lost" })
	if lost := retained(); lost.Run != running.Run || lost.Started != running.Started || running.State != "running" {
		t.Errorf("got %+v after %+v", lost, running)
	}
}

// Two runs at once with the same broker, topic and workload, and a third with
// another topic: none takes the connection of another.
func TestBrokerRunsAtOnce(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true")
	s := subscribe(t, m)
	spool := openDir(t)
	sharing := func() string {
		dir := openDir(t)
		if err := os.Symlink(spool, filepath.Join(dir, "spool")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	const id = "chosen"
	for _, chosen := range []bool{false, true} {
		flags := func(topic string) []string {
			all := []string{"-b", m.Address, "-t", topic, "-o", "a.exp"}
			if chosen {
				all = append(all, "--client-id", id)
			}
			return all
		}
		first, all := sharing(), []byte(nil)
		r := beginExport(t, first, 0, nil, flags("test/a")...)
		until(t, "the first has begun", func() bool { return size(filepath.Join(first, "a.exp")) > 0 })
		for _, topic := range []string{"test/a", "test/b"} {
			dir := sharing()
			second := beginExport(t, dir, 100, nil, flags(topic)...)
			second.wait(0)
			if said := second.said(); chosen {
				oneLine(t, said, `another run uses the client identifier "`+id+`"`)
			} else if said != "" {
				t.Errorf("the second says %q", said)
			}
			all = append(all, contents(t, dir, "a.exp")...)
		}
		if err := os.WriteFile(filepath.Join(first, "enough"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.wait(0)
		if said := r.said(); said != "" {
			t.Errorf("the first says %q", said)
		}
		all = append(all, contents(t, first, "a.exp")...)
		lines := func(text []byte) []string { return slices.Sorted(strings.Lines(string(text))) }
		if got := s.take(bytes.Count(all, []byte{'\n'})); !slices.Equal(lines(got), lines(all)) {
			t.Error("what came is not what the files have")
		}
	}
	if left := entries(t, spool, "."); len(left) != 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

// A message is what a subscriber is given.
type message struct {
	topic   string
	records []string
}

// messages waits until n records have come, and gives the messages they came in.
// came is the file of a listener that writes topic and payload in hexadecimal.
func messages(t *testing.T, came string, n int) (all []message) {
	t.Helper()
	until(t, "all records have come", func() bool {
		all = nil
		text, err := os.ReadFile(came)
		if err != nil {
			t.Fatal(err)
		}
		records := 0
		for line := range strings.Lines(string(text)) {
			topic, coded, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			payload, err := hex.DecodeString(coded)
			if err != nil {
				continue // it is being written
			}
			all = append(all, message{topic, strings.Split(string(payload), "\n")})
			records += len(all[len(all)-1].records)
		}
		return records >= n
	})
	return all
}

// The root context of a TSEM kernel comes several records a message, which are
// of one type where the topic has that.
func TestBrokerGetsTheRootContext(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	records := madeUp(0, 1, 250)
	for i := 100; i < 150; i++ {
		e := tsem.Event{
			PID: 1, TNum: 1, Context: 0, Number: uint64(i + 1), Process: []byte("made"),
			TaskID: make(tsem.Digest, 32), PTaskID: make(tsem.Digest, 32), TS: uint64(i),
		}
		e.SetCell(tsem.FileOpen, tsem.NewCell(tsem.FileOpen))
		records[i] = append(e.AppendJSON(nil), '\n')
	}
	for _, row := range []struct {
		name  string
		flags []string
		sizes map[string][]int // of the messages of a topic
	}{
		{"hundreds", []string{"-t", "test/{host}/{workload}"}, map[string][]int{"test/" + host + "/root": {100, 100, 50}}},
		{"thirties", []string{"-t", "test", "-q", "30"}, map[string][]int{"test": {30, 30, 30, 30, 30, 30, 30, 30, 10}}},
		{"by type", []string{"-t", "test/{type}"}, map[string][]int{"test/task_kill": {100, 100}, "test/file_open": {50}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := mqtttest.New(t, "allow_anonymous true")
			came := listen(t, m, openDir(t), "-F", "%t %x")
			p := tsemPlane(t, standin.Options{RootExport: true})
			p.Kernel.Root().Push(records...)
			out, said, status := watchTSEM(t, p, append([]string{"-R", "--no-markers", "-b", m.Address, "--spool", openDir(t)}, row.flags...))
			if status != 0 || said != "" || !bytes.Equal(out, bytes.Join(records, nil)) {
				t.Fatalf("status %d, said %q, %d bytes", status, said, len(out))
			}
			text, most := "", 0
			sizes := make(map[string][]int)
			for _, one := range messages(t, came, len(records)) {
				text += strings.Join(one.records, "\n") + "\n"
				sizes[one.topic] = append(sizes[one.topic], len(one.records))
			}
			for topic, want := range row.sizes {
				most = max(most, slices.Max(want))
				// What there is goes out at once, so the first can be smaller.
				if sum(sizes[topic]) != sum(want) || slices.Max(sizes[topic]) > most || len(sizes[topic]) > len(want)+2 {
					t.Errorf("%s: messages of %v records, want %v", topic, sizes[topic], want)
				}
			}
			if text != string(out) || len(sizes) != len(row.sizes) {
				t.Errorf("%d bytes came, the file has %d; topics %v", len(text), len(out), sizes)
			}
		})
	}
}

func sum(all []int) (n int) {
	for _, one := range all {
		n += one
	}
	return n
}

// A container's stream comes as its file has it.
func TestBrokerGetsAContainer(t *testing.T) {
	b := newBundle(t, "echo out; mkdir /tmp/d; exit 7")
	m := mqtttest.New(t, "allow_anonymous true")
	s := subscribe(t, m)
	r := b.run("-b", m.Address, "-t", "test/{workload}/{type}", "--spool", openDir(t))
	if r.status != 7 || r.out != "out\n" || r.errs != "" {
		t.Errorf("status %d, output %q, errors %q", r.status, r.out, r.errs)
	}
	file := contents(t, b.magazine, ".exp")
	text, topics := "", make(map[string]int)
	for line := range strings.Lines(string(s.run("-C", fmt.Sprint(bytes.Count(file, []byte{'\n'})), "-W", "120", "-F", "%t %p"))) {
		topic, record, _ := strings.Cut(line, " ")
		topics[topic]++
		text += record
	}
	if text != string(file) {
		t.Errorf("%d bytes came, the file has %d", len(text), len(file))
	}
	of := func(kind string) int { return topics["test/"+strings.ReplaceAll(b.name, "+", "_")+"/"+kind] }
	if of("start") != 1 || of("end") != 1 || of("inode_mkdir") != 1 || of("file_open") == 0 {
		t.Errorf("topics %v", topics)
	}
}
