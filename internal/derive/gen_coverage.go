// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

//go:build ignore

// gen_coverage writes doc/coverage.md.
package main

import (
	"bytes"
	"log"
	"os"

	"quixote-export/internal/derive"
)

func main() {
	var b bytes.Buffer
	if err := derive.WriteCoverage(&b); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("../../doc/coverage.md", b.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}
