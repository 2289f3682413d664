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
	if err := buildProgram(path, "-race"); err != nil {
		return "", err
	}
	return path, os.Chmod(dir, 0o755)
})

// programReady names a program that has been built already, for machines
// without Go.
const programReady = "QUIXOTE_TEST_PROGRAM"

// buildProgram builds the program, or copies the one that is ready.
func buildProgram(path string, flags ...string) error {
	args := append([]string{"go", "build", "-o", path}, append(flags, "quixote-export/cmd/quixote-export")...)
	if ready := os.Getenv(programReady); ready != "" {
		args = []string{"install", "-D", ready, path}
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the program: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

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
