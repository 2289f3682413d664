// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"quixote-export/internal/mqtt/mqtttest"
)

// Brokers that do not do what they should, and such that can do little, hold
// nobody up, and one line tells of each.
func TestBrokersInTrouble(t *testing.T) {
	needSeccomp(t)
	t.Parallel() // they take their time, and little of the machine's
	small := func(t *testing.T) string {
		return mqtttest.New(t, "allow_anonymous true", "max_packet_size 600").Address
	}
	memory := func(limits func(*mochi.Capabilities)) func(*testing.T) string {
		return func(t *testing.T) string { return mqtttest.NewMemory(t, limits).Address }
	}
	for _, row := range []struct {
		name   string
		broker func(*testing.T) string // its address
		flags  []string
		status int
		want   []string // a part of each line
	}{
		{"never acknowledges", answeringBroker(func(*bufio.ReadWriter, packets.Packet) bool { return true }), nil, 123,
			[]string{"are not delivered to"}},
		{"is stuck", acceptingBroker(func(rw *bufio.ReadWriter, gone <-chan struct{}) { <-gone }), nil, 123,
			[]string{"are not delivered to"}},
		{"closes on each message", answeringBroker(func(*bufio.ReadWriter, packets.Packet) bool { return false }), nil, 123,
			[]string{"it closed the connection; what it has not acknowledged is kept", "are not delivered to"}},
		{"closes behind each acknowledgement", answeringBroker(func(rw *bufio.ReadWriter, pk packets.Packet) bool {
			acknowledge(rw, pk)
			return false
		}), []string{"--drain", "500ms"}, 123, []string{"it closed the connection; what it has not acknowledged is kept", "are not delivered to"}},
		{"is slow", answeringBroker(func(rw *bufio.ReadWriter, pk packets.Packet) bool {
			time.Sleep(5 * time.Millisecond) // what is tested is time
			acknowledge(rw, pk)
			return true
		}), []string{"--drain", "2m"}, 0, []string{"speaks MQTT 3.1.1"}},
		{"takes one at a time", memory(func(c *mochi.Capabilities) { c.ReceiveMaximum = 1 }), []string{"--mqtt-version", "5"}, 0, nil},
		{"takes small packets", small, []string{"--mqtt-version", "5"}, 123,
			[]string{"packet too large; what is refused is counted as lost", "message_too_large"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir, address := openDir(t), row.broker(t)
			flags := slices.Concat([]string{"-X", "-w", "demo", "-b", address, "-t", "test", "--spool", "spool", "-o", "a.exp"}, row.flags)
			if !slices.Contains(flags, "--drain") {
				flags = append(flags, "--drain", "1s")
			}
			if !slices.Contains(flags, "--mqtt-version") {
				flags = append(flags, "--mqtt-version", "3.1.1")
			}
			said := publish(t, dir, row.status, append(flags, "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do : > f; done; : > ran")...)
			if !exists(dir, "ran") {
				t.Error("the workload has not run to its end")
			}
			lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
			lines = slices.DeleteFunc(lines, func(line string) bool {
				return line == "" || row.status != 0 && strings.Contains(line, "speaks MQTT 3.1.1") ||
					strings.Contains(line, "it has acknowledged nothing for 20s") // on a slow machine
			})
			if len(lines) != len(row.want) {
				t.Fatalf("said %q, want %q", said, row.want)
			}
			for i, want := range row.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("said %q, want %q", lines[i], want)
				}
			}
		})
	}
}

// acceptingBroker is a broker that accepts a client, and then does what is said. gone
// is closed when the client may be waited for no longer.
func acceptingBroker(then func(rw *bufio.ReadWriter, gone <-chan struct{})) func(*testing.T) string {
	return func(t *testing.T) string {
		gone := make(chan struct{})
		t.Cleanup(func() { close(gone) })
		return listenTCP(t, func(c net.Conn) {
			rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
			if pk, err := readPacket(rw); err != nil || pk.FixedHeader.Type != packets.Connect {
				return
			}
			rw.Write([]byte{packets.Connack << 4, 2, 0, 0})
			rw.Flush()
			then(rw, gone)
		})
	}
}

// answeringBroker is a broker that does something with each message; false: it closes
// the connection.
func answeringBroker(answer func(*bufio.ReadWriter, packets.Packet) bool) func(*testing.T) string {
	return acceptingBroker(func(rw *bufio.ReadWriter, _ <-chan struct{}) {
		for {
			pk, err := readPacket(rw)
			if err != nil || pk.FixedHeader.Type == packets.Publish && !answer(rw, pk) {
				return
			}
		}
	})
}

func acknowledge(rw *bufio.ReadWriter, pk packets.Packet) {
	rw.Write([]byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)})
	rw.Flush()
}

// readPacket reads a packet of version 3.1.1.
func readPacket(rw *bufio.ReadWriter) (pk packets.Packet, err error) {
	first, err := rw.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(rw); err != nil {
		return pk, err
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(rw, body); err != nil {
		return pk, err
	}
	pk.ProtocolVersion = 4
	if pk.FixedHeader.Type == packets.Publish {
		err = pk.PublishDecode(body)
	}
	return pk, err
}

// spooled is how many bytes are in the spool of dir.
func spooled(dir string) (all int64) {
	segments, _ := filepath.Glob(filepath.Join(dir, "spool", "*", "*"))
	for _, path := range segments {
		all += size(path)
	}
	return all
}

// fullSpool waits until a spool of 16 MiB takes no more: a batch that does not
// fit can be large.
func fullSpool(t *testing.T, dir string) {
	t.Helper()
	last, since := int64(0), time.Now()
	until(t, "the spool is full", func() bool {
		if now := spooled(dir); now != last {
			last, since = now, time.Now()
		}
		return last > 6<<20 && time.Since(since) > time.Second
	})
}

// A spool that is full holds up the workload until the broker is back, and
// nothing is lost.
func TestFullSpoolBlocks(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true", "max_inflight_messages 0", "persistence true", "persistence_location DIR/")
	dir := openDir(t)
	came := listen(t, m, dir)
	calm(t, m, came) // who is not connected yet would give up
	m.Stop()
	const events = 45_000 // 30 MB, and there is room for 16, and 10 in memory
	r := beginExport(t, dir, events, nil, "-b", m.Address, "-t", "test", "-o", "a.exp", "--offline-start", "--spool-limit", "16M", "--on-full", "block", "--drain", "5m")
	fullSpool(t, dir)
	select {
	case <-r.done:
		t.Fatalf("the workload was not held up: %s", r.said())
	default:
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	r.wait(0)
	if file := contents(t, dir, "a.exp"); len(file) < 26<<20 {
		t.Errorf("%d bytes were recorded, which is no more than fits", len(file))
	} else {
		checkNumbers(t, whatCame(t, m, came), file)
	}
}

var lostMembers = regexp.MustCompile(`"after": "([0-9]*)", "count": "([0-9]*)", "cause": "([a-z_]+)", "sink": "([^"]*)"`)

// A spool that is full loses what it has no room for when it is told to. That
// is counted, in its place in this stream alone.
func TestFullSpoolDrops(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true", "max_inflight_messages 0", "persistence true", "persistence_location DIR/")
	dir := openDir(t)
	came := listen(t, m, dir)
	calm(t, m, came) // who is not connected yet would give up
	m.Stop()
	r := beginExport(t, dir, -20_000, nil, "-b", m.Address, "-t", "test", "-o", "a.exp", "--offline-start", "--spool-limit", "16M", "--on-full", "drop", "--drain", "5m")
	until(t, "the spool is full", func() bool { return strings.Contains(r.said(), "the workload goes on") })
	before := size(filepath.Join(dir, "a.exp"))
	until(t, "the workload has gone on", func() bool { return size(filepath.Join(dir, "a.exp")) > before+100<<10 })
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the broker has everything", func() bool { return strings.Contains(r.said(), "is back, and has everything") })
	if err := os.WriteFile(filepath.Join(dir, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait(123)
	file := contents(t, dir, "a.exp")
	if bytes.Contains(file, []byte(`"type": "lost"`)) {
		t.Error("the file tells of a loss, but has lost nothing")
	}
	next, lost, told := 1, 0, 0
	for line := range strings.Lines(string(whatCame(t, m, came))) {
		if l := lostMembers.FindStringSubmatch(line); l != nil {
			after, _ := strconv.Atoi(l[1])
			count, _ := strconv.Atoi(l[2])
			if after != next-1 || count == 0 || l[3] != "spool_full" || l[4] != "mqtt://"+m.Address {
				t.Errorf("behind event %d: %s", next-1, line)
			}
			next += count
			lost += count
			told++
			continue
		}
		if n := numberMember.FindStringSubmatch(line); n != nil {
			if got, _ := strconv.Atoi(n[1]); got == next {
				next++
			} else if got > next {
				t.Fatalf("event %d comes behind event %d", got, next-1)
			}
		}
	}
	all := numberMember.FindAllSubmatch(file, -1)
	if want := fmt.Sprint(next - 1); string(all[len(all)-1][1]) != want || lost == 0 {
		t.Errorf("the stream ends with event %s, %d of them lost; the file with %s", want, lost, all[len(all)-1][1])
	}
	if told > 20 {
		t.Errorf("%d records of loss", told)
	}
	if said := r.said(); !strings.Contains(said, fmt.Sprintf("%d spool_full", lost)) {
		t.Errorf("%d are lost, said %q", lost, said)
	}
}
