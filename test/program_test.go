// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is the program, made once for all tests.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "quixote-export")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "quixote-export")
	out, err := exec.Command("go", "build", "-race", "-o", path, "quixote-export/cmd/quixote-export").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot build the program: %w: %s", err, bytes.TrimSpace(out))
	}
	return path, os.Chmod(dir, 0o755)
})

func exportProgram(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sources is what the program says of this host.
var sources = sync.OnceValues(func() (string, error) {
	path, err := built()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, "--sources").Output()
	return string(out), err
})

// needSeccomp skips a test where the host has no seccomp source.
func needSeccomp(t *testing.T) {
	t.Helper()
	out, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "seccomp  available") {
		t.Skipf("needs the seccomp source: %s", out)
	}
}

// need skips a test that lacks a program.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s, which is not installed", p)
		}
	}
}
