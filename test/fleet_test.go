// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quixote-export/internal/mqtt/mqtttest"
)

// guide gives the block of doc/fleet.md that begins with that line.
func guide(t *testing.T, begin string) string {
	t.Helper()
	text, err := os.ReadFile("../doc/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n```\n"+begin)
	block, _, closed := strings.Cut(begin+rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("doc/fleet.md has no block that begins with %q", begin)
	}
	return block + "\n"
}

// What the guide says of certificates, the broker, its access rules and the
// command makes hosts that can publish under their own names only.
func TestFleetGuide(t *testing.T) {
	needSeccomp(t)
	need(t, "openssl", "mosquitto_sub")
	dir := openDir(t)
	// The broker is on this machine.
	here := strings.NewReplacer("broker.example", "localhost", "/etc/mosquitto/events", dir).Replace
	commands := exec.Command("sh", "-e", "-c", here(guide(t, "openssl req -x509")))
	commands.Dir = dir
	if out, err := commands.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	collector := exec.Command("sh", "-e", "-c", strings.NewReplacer(`$(uname -n)`, "collector", "host.", "collector.").Replace(
		strings.Join(strings.Split(guide(t, "openssl req -x509"), "\n")[4:], "\n")))
	collector.Dir = dir
	if out, err := collector.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(guide(t, "pattern write")), 0o644); err != nil {
		t.Fatal(err)
	}
	config := strings.Split(strings.TrimSpace(here(guide(t, "listener 8883"))), "\n")
	m := mqtttest.New(t, append(config[1:], "persistence_location DIR/")...) // with a port of the test
	_, port, _ := net.SplitHostPort(m.Address)
	sub := func(name string, more ...string) *exec.Cmd {
		args := []string{"-h", "localhost", "-p", port, "-i", name, "-c", "-q", "1", "-V", "5",
			"--cafile", filepath.Join(dir, "ca.crt"), "--cert", filepath.Join(dir, name+".crt"), "--key", filepath.Join(dir, name+".key"),
			"-t", "quixote/#"}
		return exec.Command("mosquitto_sub", append(args, more...)...)
	}
	if out, err := sub("collector", "-E").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	line := here(strings.TrimSpace(guide(t, "quixote-export -X")))
	line = strings.Replace(line, "quixote-export", exportProgram(t)+" --spool spool -o a.exp -p "+port, 1)
	run := func(line string) (said string, status int) {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TSEM_PASSWORD=")
		var errs strings.Builder
		cmd.Stderr = &errs
		cmd.Run()
		return errs.String(), cmd.ProcessState.ExitCode()
	}
	if said, status := run(line); status != 0 || said != "" {
		t.Fatalf("%s: status %d, said %q", line, status, said)
	}
	file := contents(t, dir, "a.exp")
	out, err := sub("collector", "-C", fmt.Sprint(strings.Count(string(file), "\n")), "-W", "60").Output()
	if err != nil || string(out) != string(file) {
		t.Errorf("%v: %d bytes came to the collector, the file has %d", err, len(out), len(file))
	}
	// Under the name of another it may not, and nobody comes without a certificate.
	said, status := run(strings.Replace(line, "{host}", "elsewhere", 1))
	if status != 123 || !strings.Contains(said, "it refuses messages to the topic quixote/elsewhere/web/start (not authorised)") {
		t.Errorf("status %d, said %q", status, said)
	}
	said, status = run(strings.NewReplacer("--cert host.crt", "", "--key host.key", "", "-w web", "-w other").Replace(line))
	if status != 125 || !strings.Contains(said, "certificate required") {
		t.Errorf("status %d, said %q", status, said)
	}
}

// systemd finds nothing wrong with the unit of the guide.
func TestFleetUnit(t *testing.T) {
	need(t, "systemd-analyze")
	path := filepath.Join(openDir(t), "quixote-export.service")
	unit := strings.ReplaceAll(guide(t, "[Unit]"), "/usr/local/sbin/quixote-export", exportProgram(t))
	unit = strings.ReplaceAll(unit, "Documentation=man:quixote-export(1)\n", "") // it is not installed
	if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "quixote-export.service") {
		t.Errorf("%v: %s", err, out)
	}
}
