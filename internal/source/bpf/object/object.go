// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package object compiles the BPF programs, and tells whether the compiled
// object is that of their sources. It is not part of the program.
package object

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Names within the folder of the source.
const (
	File    = "hooks.o"
	sum     = "hooks.sum"
	program = "c/hooks.bpf.c"
)

var sources = []string{program, "c/tasks.h", "c/look.h", "c/record.h", "c/kernel.h", "c/wire.h", "c/events.h"}

// Compile compiles the programs of the folder dir into the file out.
func Compile(dir, out string) error {
	clang := exec.Command("clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror",
		"-Wno-unused-function", "-Wno-missing-declarations", "-D__TARGET_ARCH_x86", "-fdebug-compilation-dir=.", "-c", program, "-o", out)
	clang.Dir = dir
	if text, err := clang.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot compile %s: %w\n%s", program, err, text)
	}
	strip := exec.Command("llvm-strip", "-g", out)
	if text, err := strip.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot strip %s: %w\n%s", out, err, text)
	}
	return nil
}

// Compiler is the version of clang on this host, "" if there is none.
func Compiler() string {
	text, err := exec.Command("clang", "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// hashes are those of the sources and of the object, one a line.
func hashes(dir string) (string, error) {
	var b bytes.Buffer
	for _, name := range append(sources, File) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(text), name)
	}
	return b.String(), nil
}

// Make compiles the object of dir and writes down what it was made from.
func Make(dir string) error {
	abs, err := filepath.Abs(filepath.Join(dir, File))
	if err != nil {
		return err
	}
	if err := Compile(dir, abs); err != nil {
		return err
	}
	text, err := hashes(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, sum), []byte("# "+Compiler()+"\n"+text), 0o666)
}

// MadeBy is the compiler that made the object of dir.
func MadeBy(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, sum))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(line, "# ")
}

// Current tells whether the object of dir was made from the sources that are
// there.
func Current(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, sum))
	if err != nil {
		return err
	}
	_, want, _ := strings.Cut(string(text), "\n")
	is, err := hashes(dir)
	if err == nil && is != want {
		err = fmt.Errorf("%s is not made from its sources (make generate)", filepath.Join(dir, File))
	}
	return err
}
