// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// shared opens a file of the collection that is kept beside the project. The
// test is skipped without it.
func shared(t testing.TB, elements ...string) *os.File {
	t.Helper()
	name := filepath.Join(append([]string{"..", "..", "shared"}, elements...)...)
	f, err := os.Open(name)
	if os.IsNotExist(err) {
		t.Skipf("%s is not there", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// stream returns the lines of a recorded stream, without their line feeds.
func stream(t testing.TB, name string) [][]byte {
	t.Helper()
	unzipped, err := gzip.NewReader(shared(t, "streams", name+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return lines(t, unzipped)
}

// kept returns the lines of a file of our own.
func kept(t testing.TB, name string) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return lines(t, f)
}

func lines(t testing.TB, r io.Reader) (all [][]byte) {
	t.Helper()
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		all = append(all, bytes.Clone(scanner.Bytes()))
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
