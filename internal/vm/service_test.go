// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	_ "embed"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quixote-export/tsem"
)

//go:embed testdata/service.sh
var serviceScript []byte

// TestService installs the Debian package in a machine with systemd.
func TestService(t *testing.T) {
	if os.Getenv("SERVICE_IN_VM") == "" {
		t.Skip("it takes a quarter of an hour in an emulated machine: set SERVICE_IN_VM=1")
	}
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "quixote-export")
	build := exec.Command("go", "build", "-o", program, "quixote-export/cmd/quixote-export")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the program: %v\n%s", err, text)
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no Debian packages are made on this host: ", err)
	}
	made, err := exec.Command("../../scripts/deb", program, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "service.sh")
	if err := os.WriteFile(script, serviceScript, 0o644); err != nil {
		t.Fatal(err)
	}
	image, err := Prepare(t.Context(), "6.12", func(what string) { t.Log(what) })
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &results{dir: filepath.Join(dir, "out")}
	defer func() {
		if t.Failed() {
			for _, name := range []string{"errors", "install.log", "start.log", "journal"} {
				if text, err := os.ReadFile(filepath.Join(r.dir, name)); err == nil {
					t.Logf("%s:\n%s", name, text)
				}
			}
		}
	}()
	var words bytes.Buffer
	status, err := runAgain(t, image, Command{
		Args: []string{"bash", "/service.sh"}, Systemd: true,
		Files:  []Copy{{strings.TrimSpace(string(made)), "/quixote-export.deb"}, {script, "/service.sh"}},
		Get:    []Copy{{"/out", r.dir}},
		Stdout: &words, Stderr: &words,
	})
	if err != nil || status != 0 {
		t.Fatalf("status %d, %v\n%s", status, err, words.Bytes())
	}
	if text, err := os.ReadFile(filepath.Join(r.dir, "gave-up")); err == nil {
		t.Errorf("%s", text)
	}
	for name, want := range map[string]string{
		"install.status": "0", "start.status": "0", "collector": "active", "stop.status": "0", "stopped": "Result=success",
		"remove.status": "0", "left.processes": "", "left.pins": "", "left.files": "",
	} {
		r.equal(t, name, want)
	}
	for _, want := range []string{"Type=notify", "ActiveState=active", "WatchdogUSec=1min"} {
		if text := r.text(t, "started"); !strings.Contains(text, want) {
			t.Errorf("it is not %s:\n%s", want, text)
		}
	}
	// From the first event on, each follows the one before, through the kill.
	first := uint64(0)
	var p tsem.Parser
	for line := range strings.Lines(r.text(t, "host.exp")) {
		if rec, err := p.Parse([]byte(strings.TrimSuffix(line, "\n"))); err == nil && rec.Kind == tsem.KindEvent {
			first = rec.Event.Number
			break
		}
	}
	if first != 1 {
		t.Errorf("the first event has the number %d", first)
	}
	if s := r.read(t, "host.exp", 0); s.lost > 0 {
		t.Errorf("lost %d", s.lost)
	}
}
