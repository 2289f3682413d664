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
	"strings"
	"testing"
	"time"

	"quixote-export/internal/mqtt/mqtttest"
)

// A subscriber has a persistent session at a broker: it gets what is published
// while it is not there.
type subscriber struct {
	t          *testing.T
	host, port string
	more       []string // arguments
}

func subscribe(t *testing.T, m *mqtttest.Mosquitto, more ...string) *subscriber {
	t.Helper()
	need(t, "mosquitto_sub")
	host, port, _ := net.SplitHostPort(m.Address)
	s := &subscriber{t, host, port, more}
	s.run("-E") // end when subscribed
	return s
}

func (s *subscriber) run(more ...string) []byte {
	s.t.Helper()
	args := append([]string{"-h", s.host, "-p", s.port, "-i", "subscriber", "-c", "-q", "1", "-t", "test/#"}, s.more...)
	out, err := exec.Command("mosquitto_sub", append(args, more...)...).Output()
	if err != nil {
		s.t.Fatalf("mosquitto_sub: %v", err)
	}
	return out
}

// take waits for n messages, and returns them a line each.
func (s *subscriber) take(n int) []byte {
	s.t.Helper()
	return s.run("-C", fmt.Sprint(n), "-W", "120")
}

// publish runs the program with what is needed to publish to a broker, and
// returns its standard error. status is what it must end with.
func publish(t *testing.T, dir string, status int, args ...string) string {
	t.Helper()
	return publishWith(t, "", dir, status, args...)
}

// publishWith is publish with a password in the environment.
func publishWith(t *testing.T, password, dir string, status int, args ...string) string {
	t.Helper()
	cmd := publisher(t, dir, args...)
	cmd.Env = append(cmd.Env, "TSEM_PASSWORD="+password)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	timer := time.AfterFunc(outagePatience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("status %d (%v), want %d: %s", got, err, status, errs.String())
	}
	return errs.String()
}

func publisher(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(exportProgram(t), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// oneLine checks that there is one line, with that text.
func oneLine(t *testing.T, said, want string) {
	t.Helper()
	if strings.Count(said, "\n") != 1 || !strings.Contains(said, want) {
		t.Errorf("said %q, want one line with %q", said, want)
	}
}

// contents is what a file of dir holds.
func contents(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// Every byte of the file's lines comes to a subscriber, as a message each.
func TestBrokerGetsWhatTheFileGets(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true")
	s := subscribe(t, m)
	dir := openDir(t)
	publish(t, dir, 0, "-X", "-b", m.Address, "-t", "test/{workload}", "--spool", "spool", "-o", "a.exp",
		"--", "sh", "-c", "i=0; while [ $i -lt 500 ]; do : > f; i=$((i+1)); done")
	file, err := os.ReadFile(filepath.Join(dir, "a.exp"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(file, []byte{'\n'})
	if got := s.take(lines); !bytes.Equal(got, file) || lines < 500 {
		t.Errorf("%d bytes came, the file has %d in %d lines", len(got), len(file), lines)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "spool")); len(left) != 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

// What cannot be delivered waits, is told, and is sent by --drain-spool, or
// first in the next run.
func TestBrokerThatIsAway(t *testing.T) {
	needSeccomp(t)
	m := mqtttest.New(t, "allow_anonymous true", "persistence true", "persistence_location DIR/")
	s := subscribe(t, m)
	m.Stop()
	dir := openDir(t)
	args := []string{"-X", "-w", "demo", "-b", m.Address, "-t", "test", "--spool", "spool", "--drain", "0s"}
	// Not without being asked to.
	errs := publish(t, dir, 125, append(args, "--", "touch", "ran")...)
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil || strings.Count(errs, "\n") != 1 {
		t.Errorf("it has run: %v; %s", err, errs)
	}
	lines := 0
	for i := range 2 {
		name := fmt.Sprintf("%d.exp", i)
		errs = publish(t, dir, 123, append(args, "--offline-start", "-o", name, "--", "true")...)
		if !strings.Contains(errs, "not delivered") || !strings.Contains(errs, "spool/") || strings.Count(errs, "\n") != 2 {
			t.Errorf("not told: %s", errs)
		}
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(file, []byte{'\n'})
	}
	errs = publish(t, dir, 123, "--drain-spool", "--spool", "spool")
	if strings.Contains(errs, "\n\n") || !strings.Contains(errs, m.Address) {
		t.Errorf("drained without a broker: %s", errs)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	errs = publish(t, dir, 0, "--drain-spool", "--spool", "spool")
	if want := fmt.Sprintf("%d of %d records delivered", lines, lines); !strings.Contains(errs, want) {
		t.Errorf("want %q: %s", want, errs)
	}
	var files []byte
	for i := range 2 {
		file, _ := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.exp", i)))
		files = append(files, file...)
	}
	if got := s.take(lines); !bytes.Equal(got, files) {
		t.Errorf("%d bytes came, the files have %d", len(got), len(files))
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "spool")); len(left) != 0 {
		t.Errorf("left in the spool: %v", left)
	}
	publish(t, dir, 0, "--drain-spool", "--spool", "spool")
}
