// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed testdata/service.sh
var serviceScript []byte

// TestService installs the Debian package in a machine with systemd, for which one
// kernel is enough.
func TestService(t *testing.T) {
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
	for _, kernel := range kernels[:1] {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			image := prepare(t, kernel)
			r := &results{dir: filepath.Join(t.TempDir(), "out")}
			var words bytes.Buffer
			status, err := runAgain(t, image, Command{
				Args: []string{"bash", "/service.sh"}, Systemd: true, Before: []string{"bash", "/service.sh", "before"},
				Files:  []Copy{{strings.TrimSpace(string(made)), "/quixote-export.deb"}, {script, "/service.sh"}},
				Get:    []Copy{{"/out", r.dir}},
				Stdout: &words, Stderr: &words,
			})
			defer func() {
				if t.Failed() {
					for _, name := range []string{"errors", "install.log", "journal"} {
						if text, err := os.ReadFile(filepath.Join(r.dir, name)); err == nil {
							t.Logf("%s:\n%s", name, text)
						}
					}
				}
			}()
			if text, err := os.ReadFile(filepath.Join(r.dir, "gave-up")); err == nil {
				t.Fatalf("%s", text)
			}
			if err != nil || status != 0 {
				t.Fatalf("status %d, %v\n%s", status, err, words.Bytes())
			}
			checkService(t, r)
		})
	}
}

func checkService(t *testing.T, r *results) {
	for name, want := range map[string]string{
		"running": "running", "started": "Type=notify\nWatchdogUSec=20s\nActiveState=active",
		"stop.status": "0", "stopped": "success", "remove.status": "0", "purge.status": "0",
		"left.processes": "", "left.pins": "", "left.files": "", "left.units": "", "left.users": "",
	} {
		r.equal(t, name, want)
	}
	// The collector is there before what is not needed for the start.
	order := strings.Fields(r.text(t, "order"))
	if len(order) != 2 || order[0] == "0" || len(order[0]) > len(order[1]) || len(order[0]) == len(order[1]) && order[0] > order[1] {
		t.Errorf("the collector and the basic system were there at %v", order)
	}
	// A slow machine may find the watchdog once more often.
	restarts := strings.Fields(r.text(t, "restarts"))
	if len(restarts) != 2 || restarts[0] == "0" || restarts[0] == restarts[1] {
		t.Errorf("it was started again %v times", restarts)
	}
	// From the first event on, each follows the one before, through all of it.
	s := r.read(t, "came", 0)
	if s.lost > 0 {
		t.Errorf("lost %d", s.lost)
	}
	for _, name := range []string{"first", "second", "third", "fourth"} {
		s.wants(t, map[string]int{"bash file_open /work/" + name: 1})
	}
	s.none(t, "mosquitto")
	s.none(t, "quixote-export ")
	for _, line := range []string{
		"cannot mkdir /usr/sbin/probe", "cannot mkdir /etc/probe", "cannot mkdir /var/lib/probe", "cannot mkdir /root/probe",
		"cannot mkdir /work/probe", "cannot mkdir /sys/fs/bpf/probe", "can mkdir /run/quixote-export/probe",
		"can mkdir /var/lib/Quixote/probe", "can cat /root/secret", "cannot mount -t tmpfs none /mnt", "cannot unshare --net true",
		"cannot chown mosquitto /var/lib/Quixote", "cannot dd if=/dev/vda of=/dev/null count=1",
		"cannot dd if=/dev/kmsg of=/dev/null count=1 iflag=nonblock", "cannot tee /proc/sys/kernel/panic", "cannot hostname other",
		"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t000000c200280004",
	} {
		if !strings.Contains(r.text(t, "within"), line+"\n") {
			t.Errorf("what the unit may do has no line %q:\n%s", line, r.text(t, "within"))
		}
	}
}
