// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"fmt"
	"strings"

	"quixote-export/tsem"
)

// maxCommand is how long a command may be, with its line feed.
const maxCommand = 127

// MaxCache bounds the structures of a context's cache. Much larger numbers
// make kernels crash.
const MaxCache = 4096

// Request is the context that is wanted.
type Request struct {
	Current   bool // ids as in the task's own user namespace
	Algorithm *tsem.Algorithm
	Cache     int    // 0 for the kernel's default
	Model     string // "" for the kernel's own
}

// Check refuses what must not be written to a kernel, or cannot be.
func (r Request) Check() error {
	if _, err := tsem.AlgorithmByName(r.Algorithm.Name); err != nil {
		return err // a hash that is no plain one can crash a kernel
	}
	if r.Cache < 0 || r.Cache > MaxCache {
		return fmt.Errorf("a cache of %d structures is not possible: at most %d", r.Cache, MaxCache)
	}
	if strings.ContainsFunc(r.Model, func(c rune) bool { return c <= ' ' || c == '=' || c >= 0x7f }) {
		return fmt.Errorf("-M %q: the name of a model has no blanks, no = and only ASCII characters", r.Model)
	}
	if len(r.command())+1 > maxCommand {
		return fmt.Errorf("-M %s: the name is too long for the kernel's command, which may have %d bytes", r.Model, maxCommand)
	}
	return nil
}

// command is what makes the context.
func (r Request) command() string {
	nsref := "initial"
	if r.Current {
		nsref = "current"
	}
	line := "export nsref=" + nsref + " digest=" + r.Algorithm.Name
	if r.Cache != 0 {
		line += fmt.Sprintf(" cache=%d", r.Cache)
	}
	if r.Model != "" && r.Model != DefaultModel {
		line += " model=" + r.Model
	}
	return line
}

// DefaultModel is the name of what a kernel does without a model.
const DefaultModel = "default"
