// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Look finds the runtime.
func Look() (string, error) {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	// Where distributions put it, which is not in everybody's PATH.
	return lookIn(append(dirs, "/usr/local/sbin", "/usr/sbin", "/sbin"))
}

func lookIn(dirs []string) (string, error) {
	var closed string
	for _, dir := range dirs {
		path := filepath.Join(dir, "runc")
		if found, err := exec.LookPath(path); err == nil {
			return filepath.Abs(found)
		} else if errors.Is(err, fs.ErrPermission) && closed == "" {
			closed = path
		}
	}
	if closed != "" {
		return "", fmt.Errorf("cannot run a container: %s is not executable", closed)
	}
	return "", errors.New("cannot run a container: runc is not installed")
}

// runtime is the program runc.
type runtime struct{ path string }

// state of a container, nil if there is none of that name.
func (r runtime) state(name string) (*specs.State, error) {
	out, err := r.ask("state", name)
	if e := (*refusal)(nil); errors.As(err, &e) && strings.Contains(e.text, "does not exist") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for a container %q: %w", name, err)
	}
	var st specs.State
	if err := json.Unmarshal(out, &st); err != nil {
		return nil, fmt.Errorf("cannot understand what runc says of the container %q: %w", name, err)
	}
	return &st, nil
}

// remove stops and removes a container, if there is one.
func (r runtime) remove(name string) error {
	if _, err := r.ask("delete", "--force", name); err != nil {
		return fmt.Errorf("cannot remove the container %q: %w", name, err)
	}
	return nil
}

// refusal is what the runtime says when it fails.
type refusal struct{ text string }

func (e *refusal) Error() string { return e.text }

func (r runtime) ask(words ...string) ([]byte, error) {
	cmd := exec.Command(r.path, append([]string{"--log-format", "json"}, words...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		if text := lastError(errs.Bytes()); text != "" {
			return nil, &refusal{text}
		}
	}
	return out.Bytes(), err
}

// logLine is a line of the runtime's log.
type logLine struct{ Level, Msg string }

// lastError is the last error that a log tells of.
func lastError(log []byte) string {
	text := ""
	for line := range bytes.Lines(log) {
		var l logLine
		if err := json.Unmarshal(line, &l); err == nil && (l.Level == "error" || l.Level == "fatal") {
			text = strings.Join(strings.Fields(l.Msg), " ")
		}
	}
	return text
}

// StartError is a container whose program did not start, for a reason that the
// runtime has told on standard error.
type StartError struct{ text string }

func (e *StartError) Error() string { return e.text }

// NotFound tells that there is no such program in the container.
func (e *StartError) NotFound() bool {
	return strings.Contains(e.text, "exec") &&
		(strings.Contains(e.text, "not found in $PATH") || strings.Contains(e.text, "no such file or directory"))
}

// NotExecutable tells that the program in the container is none.
func (e *StartError) NotExecutable() bool {
	return strings.Contains(e.text, "exec") &&
		(strings.Contains(e.text, "permission denied") || strings.Contains(e.text, "exec format error"))
}

func failure(log string) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return nil
	}
	if last := lastError(text); strings.Contains(last, "runc run failed") {
		return &StartError{last}
	}
	return nil
}
