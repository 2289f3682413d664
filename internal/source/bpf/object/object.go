// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package object compiles the BPF programs, and tells whether the compiled
// objects are those of their sources. It is not part of the program.
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

// An Object is the name of programs that have one source: hooks is hooks.o, made
// from c/hooks.bpf.c, about which hooks.sum tells. hooks-6.1 is made from the same,
// for kernels before 6.2.
type Object string

// All are the objects that there are.
var All = []Object{"hooks", "trace", "hooks" + old, "trace" + old}

const old = "-6.1"

// File is the name of the object within the folder of the source.
func (o Object) File() string { return string(o) + ".o" }

func (o Object) sum() string    { return string(o) + ".sum" }
func (o Object) source() string { return "c/" + strings.TrimSuffix(string(o), old) + ".bpf.c" }

// Compile compiles the programs of the folder dir into the file out.
func (o Object) Compile(dir, out string) error {
	flags := []string{"-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror",
		"-Wno-unused-function", "-Wno-missing-declarations", "-D__TARGET_ARCH_x86", "-fdebug-compilation-dir=.", "-c", o.source(), "-o", out}
	if !strings.HasSuffix(string(o), old) {
		flags = append(flags, "-DCAST")
	}
	clang := exec.Command("clang", flags...)
	clang.Dir = dir
	if text, err := clang.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot compile %s: %w\n%s", o.source(), err, text)
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
func (o Object) hashes(dir string) (string, error) {
	headers, err := filepath.Glob(filepath.Join(dir, "c", "*.h"))
	if err != nil {
		return "", err
	}
	names := []string{o.source()}
	for _, path := range headers {
		names = append(names, "c/"+filepath.Base(path))
	}
	var b bytes.Buffer
	for _, name := range append(names, o.File()) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(text), name)
	}
	return b.String(), nil
}

// Make compiles the object of dir and writes down what it was made from.
func (o Object) Make(dir string) error {
	abs, err := filepath.Abs(filepath.Join(dir, o.File()))
	if err != nil {
		return err
	}
	if err := o.Compile(dir, abs); err != nil {
		return err
	}
	text, err := o.hashes(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, o.sum()), []byte("# "+Compiler()+"\n"+text), 0o666)
}

// MadeBy is the compiler that made the object of dir.
func (o Object) MadeBy(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, o.sum()))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(line, "# ")
}

// Current tells whether the object of dir was made from the sources that are
// there.
func (o Object) Current(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, o.sum()))
	if err != nil {
		return err
	}
	_, want, _ := strings.Cut(string(text), "\n")
	is, err := o.hashes(dir)
	if err == nil && is != want {
		err = fmt.Errorf("%s is not made from its sources (make generate)", filepath.Join(dir, o.File()))
	}
	return err
}
