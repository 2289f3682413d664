// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/mqtt/mqtttest"
)

// outagePatience is how long a test waits for what must come.
const outagePatience = 3 * time.Minute

// opener is a workload that opens a file n times, and if n is not positive then
// goes on slowly until a file called enough is there.
const opener = `import os, sys, time
n = int(sys.argv[1])
for i in range(abs(n)):
    os.close(os.open("f", 0))
if n <= 0:
    while not os.path.exists("enough"):
        os.close(os.open("f", 0))
        time.sleep(0.001)
`

// An exporting is an export that runs.
type exporting struct {
	t    *testing.T
	cmd  *exec.Cmd
	errs string // file of its standard error
	done chan error
}

// beginExport starts a command that exports an opener into dir.
func beginExport(t *testing.T, dir string, n int, command []string, args ...string) *exporting {
	t.Helper()
	need(t, "/usr/bin/python3")
	for name, text := range map[string]string{"open.py": opener, "f": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command = append(command, exportProgram(t), "-X", "-w", "demo", "--spool", "spool")
	command = append(command, args...)
	command = append(command, "--", "/usr/bin/python3", "-S", "open.py", strconv.Itoa(n))
	r := &exporting{t: t, cmd: exec.Command(command[0], command[1:]...), errs: filepath.Join(dir, "errs"), done: make(chan error, 1)}
	errs, err := os.Create(r.errs)
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	r.cmd.Dir, r.cmd.Stderr = dir, errs
	r.cmd.Env = append(os.Environ(), "TSEM_PASSWORD=")
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.done <- r.cmd.Wait() }()
	t.Cleanup(func() { r.cmd.Process.Kill() })
	return r
}

// wait waits for the end and checks the exit status.
func (r *exporting) wait(status int) {
	r.t.Helper()
	select {
	case err := <-r.done:
		if got := r.cmd.ProcessState.ExitCode(); got != status {
			r.t.Fatalf("status %d (%v), want %d: %s", got, err, status, r.said())
		}
	case <-time.After(outagePatience):
		r.t.Fatalf("it does not end: %s", r.said())
	}
}

func (r *exporting) said() string {
	text, _ := os.ReadFile(r.errs)
	return string(text)
}

// until waits for something that files show.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(outagePatience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func size(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

var numberMember = regexp.MustCompile(`"number": "([0-9]+)"`)

// checkNumbers wants the events 1 to the last of the file, in order but for
// repeats of what has come before.
func checkNumbers(t *testing.T, got, file []byte) {
	t.Helper()
	last := func(text []byte) int {
		all := numberMember.FindAllSubmatch(text[max(0, len(text)-8<<10):], -1)
		if len(all) == 0 {
			t.Fatal("there are no events")
		}
		n, _ := strconv.Atoi(string(all[len(all)-1][1]))
		return n
	}
	next, repeats := 1, 0
	for line := range bytes.Lines(got) {
		m := numberMember.FindSubmatch(line)
		if m == nil {
			continue
		}
		switch n, _ := strconv.Atoi(string(m[1])); {
		case n == next:
			next++
		case n < next:
			repeats++
		default:
			t.Fatalf("event %d comes behind event %d", n, next-1)
		}
	}
	if want := last(file); next-1 != want {
		t.Errorf("%d events came, of %d", next-1, want)
	}
	t.Logf("%d events, %d repeats", next-1, repeats)
}

// Two hundred thousand records, every byte of which is compared.
func TestBrokerGetsEveryByte(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true", "max_inflight_messages 0")
	dir := openDir(t)
	came := listen(t, m, dir)
	calm(t, m, came)
	before := size(came)
	beginExport(t, dir, 200_000, nil, "-b", m.Address, "-t", "test", "-o", "a.exp").wait(0)
	file, err := os.ReadFile(filepath.Join(dir, "a.exp"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(file, []byte{'\n'})
	got := whatCame(t, m, came)[before:]
	if !bytes.HasPrefix(got, file) || lines < 200_000 || bytes.Contains(got[len(file):], []byte("{")) {
		t.Errorf("%d bytes came, the file has %d in %d lines", len(got), len(file), lines)
	}
}

// listen has a subscriber with a persistent session write what comes to a file.
// It returns when that is subscribed.
func listen(t *testing.T, m *mqtttest.Mosquitto, dir string, more ...string) (path string) {
	t.Helper()
	need(t, "mosquitto_sub", "mosquitto_pub")
	path = filepath.Join(dir, "came")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	host, port, _ := net.SplitHostPort(m.Address)
	args := append([]string{"-h", host, "-p", port, "-i", "subscriber", "-c", "-q", "1", "-t", "test/#"}, more...)
	if text, err := exec.Command("mosquitto_sub", append(args, "-E")...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_sub: %v: %s", err, text)
	}
	cmd := exec.Command("mosquitto_sub", args...)
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return path
}

// calm waits until the broker has passed on all that it was given: until no
// event comes before a mark.
func calm(t *testing.T, m *mqtttest.Mosquitto, came string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(m.Address)
	f, err := os.Open(came)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		mark, start, sent := fmt.Sprintf("mark %d", time.Now().UnixNano()), size(came), time.Time{}
		var text []byte
		until(t, "a mark has come", func() bool {
			// Who has not subscribed yet misses the first.
			if time.Since(sent) > time.Second {
				sent = time.Now()
				if out, err := exec.Command("mosquitto_pub", "-h", host, "-p", port, "-q", "1", "-t", "test", "-m", mark).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			text = make([]byte, size(came)-start)
			n, _ := f.ReadAt(text, start)
			text = text[:n]
			return bytes.HasSuffix(text, []byte(mark+"\n"))
		})
		if !numberMember.Match(text) {
			return
		}
	}
}

// whatCame is what the broker has passed on when it has passed on all.
func whatCame(t *testing.T, m *mqtttest.Mosquitto, came string) []byte {
	t.Helper()
	calm(t, m, came)
	text, err := os.ReadFile(came)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// outageEvents is how many events are recorded while a broker is killed; the
// environment can ask for more than is fit for everyday.
func outageEvents(t *testing.T) int {
	t.Helper()
	text := os.Getenv("OUTAGE_EVENTS")
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10_000 {
		t.Fatalf("OUTAGE_EVENTS is %q, not a number from 10000 on", text)
	}
	return n
}

// The broker is killed ten times while events are recorded. It keeps what it
// has acknowledged in its own memory, so before each time it must have passed
// that on; but in its sockets is what it has not read.
func TestBrokerIsKilledTenTimes(t *testing.T) {
	needSeccomp(t)
	const kills = 10
	events := outageEvents(t)
	m := mqtttest.New(t, "allow_anonymous true", "persistence true", "persistence_location DIR/", "max_inflight_messages 0")
	dir := openDir(t)
	came, file := listen(t, m, dir), filepath.Join(dir, "a.exp")
	calm(t, m, came)
	m.Stop() // it saves the subscription
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	r := beginExport(t, dir, events, nil, "-b", m.Address, "-t", "test", "-o", "a.exp")
	each := int64(events) * 600 / (kills + 1) // bytes of the file, and fewer than there will be
	for i := int64(1); i <= kills; i++ {
		until(t, "more is recorded", func() bool { return size(file) > i*each })
		r.cmd.Process.Signal(unix.SIGSTOP)
		calm(t, m, came)
		unix.Kill(m.PID(), unix.SIGSTOP)
		r.cmd.Process.Signal(unix.SIGCONT)
		until(t, "the broker lags behind", func() bool { return size(file) > i*each+each/4 })
		m.Kill()
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
	}
	r.wait(0)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, whatCame(t, m, came), text)
}

// What was recorded in an outage is there though quixote-export is killed.
func TestKilledInAnOutage(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true", "persistence true", "persistence_location DIR/")
	dir := openDir(t)
	came, file := listen(t, m, dir), filepath.Join(dir, "a.exp")
	calm(t, m, came)
	r := beginExport(t, dir, 1_000_000, nil, "-b", m.Address, "-t", "test", "-o", "a.exp")
	until(t, "something is recorded", func() bool { return size(file) > 1<<20 })
	m.Stop()
	until(t, "more is recorded", func() bool { return size(file) > 20<<20 })
	r.cmd.Process.Kill()
	<-r.done
	// The watchdog completes both outputs.
	ended := func() bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text[max(0, len(text)-2048):], []byte(`"type": "end"`))
	}
	until(t, "the file is ended", ended)
	until(t, "the watchdog has told", func() bool { return strings.Contains(r.said(), "--drain-spool sends them") })
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	said := publish(t, dir, 0, "--drain-spool", "--spool", "spool")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var n, of int
	if _, rest, ok := strings.Cut(said, "quixote-export: "); ok {
		fmt.Sscanf(rest, "%d of %d records delivered", &n, &of)
	}
	if n == 0 || n != of {
		t.Fatalf("said %q", said)
	}
	checkNumbers(t, whatCame(t, m, came), text)
}

// A spool that is full holds the workload up, but not its end.
func TestFullSpoolDoesNotHoldUpTheEnd(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true")
	m.Stop()
	dir := openDir(t)
	r := beginExport(t, dir, 1_000_000, nil, "-b", m.Address, "-t", "test", "--offline-start", "--spool-limit", "16M", "--drain", "100ms")
	fullSpool(t, dir)
	r.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(outagePatience):
		t.Fatalf("it does not end: %s", r.said())
	}
	if said := r.said(); !strings.Contains(said, "not delivered to") {
		t.Errorf("said %q", said)
	}
}

// The link to the broker is cut for half a minute, which is longer than
// acknowledgements may take.
func TestLinkIsCut(t *testing.T) {
	needSeccomp(t)
	t.Parallel() // it waits, most of the time
	need(t, "ip")
	ip := func(args ...string) error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	}
	id := os.Getpid() % 10000
	space, here, there := fmt.Sprint("qe", id), fmt.Sprintf("qe%dh", id), fmt.Sprintf("qe%dt", id)
	subnet := fmt.Sprintf("10.%d.%d.", 64+id/200, id%200)
	if err := ip("netns", "add", space); err != nil {
		t.Skipf("needs a network namespace: %v", err)
	}
	t.Cleanup(func() { ip("netns", "del", space) })
	for _, args := range [][]string{
		{"link", "add", here, "type", "veth", "peer", "name", there},
		{"link", "set", there, "netns", space},
		{"addr", "add", subnet + "1/24", "dev", here},
		{"link", "set", here, "up"},
		{"-n", space, "addr", "add", subnet + "2/24", "dev", there},
		{"-n", space, "link", "set", there, "up"},
		{"-n", space, "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			t.Skipf("needs a pair of network devices: %v", err)
		}
	}
	const port = "18839" // of an address that is ours alone
	m := mqtttest.New(t, "allow_anonymous true", "listener "+port+" "+subnet+"1", "allow_anonymous true")
	dir := openDir(t)
	came, file := listen(t, m, dir), filepath.Join(dir, "a.exp")
	calm(t, m, came)
	r := beginExport(t, dir, 0, []string{"ip", "netns", "exec", space}, "-b", subnet+"1:"+port, "-t", "test", "-o", "a.exp")
	until(t, "something is recorded", func() bool { return size(file) > 100<<10 })
	cut := time.Now()
	if err := ip("link", "set", here, "down"); err != nil {
		t.Fatal(err)
	}
	until(t, "the connection is given up", func() bool { return strings.Contains(r.said(), "acknowledged nothing") })
	before := size(file)
	until(t, "the workload goes on meanwhile", func() bool { return size(file) > before+100<<10 })
	until(t, "half a minute is over", func() bool { return time.Since(cut) > 30*time.Second })
	if err := ip("link", "set", here, "up"); err != nil {
		t.Fatal(err)
	}
	until(t, "the broker has everything", func() bool { return strings.Contains(r.said(), "is back, and has everything") })
	if err := os.WriteFile(filepath.Join(dir, "enough"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait(0)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checkNumbers(t, whatCame(t, m, came), text)
}
