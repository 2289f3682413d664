// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The package has what it should, and units that systemd understands.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no Debian packages are made on this host: ", err)
	}
	dir := t.TempDir()
	out, err := exec.Command("../scripts/deb", exportProgram(t), dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if text, err := exec.Command("dpkg-deb", "-x", strings.TrimSpace(string(out)), root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, name := range []string{
		"usr/sbin/quixote-export", "usr/share/man/man1/quixote-export.1.gz", "var/lib/Quixote/Magazine",
		"etc/quixote-export/export.conf", "etc/quixote-export/collector.conf",
	} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	if text, err := exec.Command(filepath.Join(root, "usr/sbin/quixote-export"), "--version").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	units, err := filepath.Glob(filepath.Join(root, "lib/systemd/system/*.service"))
	if err != nil || len(units) != 2 {
		t.Errorf("units are %v", units)
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("units are not checked: ", err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("=/usr/sbin/"), []byte("="+root+"/usr/sbin/"))
		if err := os.WriteFile(unit, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...)
	if text, err := check.CombinedOutput(); err != nil || len(text) > 0 {
		t.Errorf("%v: %s", err, text)
	}
}
