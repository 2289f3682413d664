// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMove(t *testing.T) {
	dir := t.TempDir()
	a, b := open1(t, filepath.Join(dir, "a"), Options{}), open1(t, filepath.Join(dir, "b"), Options{})
	put(t, a, numbered(0, 3)...)
	put(t, b, "gone")
	for i := range 30 {
		put(t, b, fmt.Sprint(i, strings.Repeat("x", 1<<20)))
	}
	take(t, b, 2)
	if err := b.Ack(1); err != nil {
		t.Fatal(err)
	}
	n, err := a.Move(b)
	if err != nil || n != 30 || b.Len() != 0 || a.Len() != 33 {
		t.Fatalf("moved %d, %v; %d and %d are there", n, err, a.Len(), b.Len())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	got := take(t, a, 99)
	wantLines(t, got[:3], numbered(0, 3))
	for i, line := range got[3:] {
		if strings.TrimRight(line, "x") != fmt.Sprint(i) {
			t.Errorf("record %d is %.20q", i, line)
		}
	}
}

func TestMoveToAQueueWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	a, b := open1(t, filepath.Join(dir, "a"), Options{Limit: 64 << 10}), open1(t, filepath.Join(dir, "b"), Options{})
	for range 100 {
		put(t, b, strings.Repeat("x", 1000))
	}
	n, err := a.Move(b)
	if !errors.Is(err, ErrFull) || n == 0 || a.Len() != n || b.Len() != 100-n {
		t.Errorf("moved %d, %v; %d and %d are there", n, err, a.Len(), b.Len())
	}
}

// A label is there as long as there are records, and is that of the first.
func TestLabel(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	want := func(text string) {
		t.Helper()
		got, err := Label(dir)
		if err != nil || string(got) != text || (text == "") != (got == nil) {
			t.Fatalf("got %q, %v, want %q", got, err, text)
		}
	}
	want("")
	q := open1(t, dir, Options{Label: []byte("first")})
	want("")
	put(t, q, "a")
	want("first")
	q.Close()
	q = open1(t, dir, Options{Label: []byte("second")})
	put(t, q, "b")
	want("first")
	take(t, q, 2)
	q.Ack(2)
	q.Close()
	want("")
	// One that was killed before its records were there does not count.
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeBytes(t, filepath.Join(dir, labelName), []byte("fir"))
	q = open1(t, dir, Options{Label: []byte("third")})
	put(t, q, "a")
	want("third")
}
