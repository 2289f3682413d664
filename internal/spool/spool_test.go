// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// batch makes a batch of lines.
func batch(lines ...string) (buf []byte, ends []int) {
	for _, line := range lines {
		buf = append(buf, line...)
		buf = append(buf, '\n')
		ends = append(ends, len(buf))
	}
	return buf, ends
}

func open1(t *testing.T, dir string, options Options) *Queue {
	t.Helper()
	q, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

func put(t *testing.T, q *Queue, lines ...string) {
	t.Helper()
	if err := q.Append(batch(lines...)); err != nil {
		t.Fatal(err)
	}
}

// take reads up to n records.
func take(t *testing.T, q *Queue, n int) []string {
	t.Helper()
	var lines []string
	for len(lines) < n {
		buf, ends, err := q.Next(n - len(lines))
		if err != nil {
			t.Fatal(err)
		}
		if len(ends) == 0 {
			break
		}
		start := 0
		for _, end := range ends {
			lines = append(lines, strings.TrimSuffix(string(buf[start:end]), "\n"))
			start = end
		}
	}
	return lines
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func numbered(from, to int) []string {
	var lines []string
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf("record %d", i))
	}
	return lines
}

func wantLines(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %d records %.200q, want %d %.200q", len(got), got, len(want), want)
	}
}

func TestRecordsComeOutInOrderAndStayUntilAcknowledged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "spool")
	q := open1(t, dir, Options{})
	put(t, q, numbered(0, 3)...)
	put(t, q, numbered(3, 5)...)
	if n := q.Len(); n != 5 {
		t.Errorf("length %d, want 5", n)
	}
	wantLines(t, take(t, q, 2), numbered(0, 2))
	wantLines(t, take(t, q, 9), numbered(2, 5))
	put(t, q, numbered(5, 6)...)
	wantLines(t, take(t, q, 9), numbered(5, 6))
	q.Rewind()
	wantLines(t, take(t, q, 1), numbered(0, 1))
	if err := q.Ack(1); err != nil {
		t.Fatal(err)
	}
	q.Rewind()
	wantLines(t, take(t, q, 9), numbered(1, 6))
	if err := q.Ack(3); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open1(t, dir, Options{})
	if n := q.Len(); n != 2 {
		t.Errorf("length %d after Open, want 2", n)
	}
	wantLines(t, take(t, q, 9), numbered(4, 6))
	if err := q.Ack(2); err != nil {
		t.Fatal(err)
	}
	if d := q.Damage(); d != (Damage{}) {
		t.Errorf("damage %+v", d)
	}
}

func TestAnEmptyQueueLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "spool")
	for _, records := range []int{0, 1, 5000} {
		q := open1(t, dir, Options{})
		for i := range records {
			put(t, q, fmt.Sprintf("record %d", i))
		}
		if got := len(take(t, q, records)); got != records {
			t.Fatalf("%d records, want %d", got, records)
		}
		if err := q.Ack(records); err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if names := files(t, parent); len(names) != 0 {
			t.Errorf("left after %d records: %v", records, names)
		}
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{})
	put(t, q, "a", "b")
	take(t, q, 1)
	if err := q.Ack(1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		dir: os.ModeDir | 0o700, dir + "/head": 0o600, dir + "/00000000000000000000.seg": 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestOneOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second owner: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	open1(t, dir, Options{})
}

// Owners that come and go while the folder does never meet.
func TestOwnersInTurn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	inside := make(chan struct{}, 1)
	done := make(chan error)
	for range 4 {
		go func() {
			for range 40 {
				q, err := Open(dir, Options{})
				if errors.Is(err, ErrLocked) {
					continue
				}
				if err != nil {
					done <- err
					return
				}
				select {
				case inside <- struct{}{}:
				default:
					done <- errors.New("two owners at a time")
					return
				}
				err = q.Append([]byte("x\n"), []int{2})
				if _, ends, nerr := q.Next(9); err == nil && (nerr != nil || len(ends) != 1) {
					err = fmt.Errorf("%d records, %v", len(ends), nerr)
				}
				if aerr := q.Ack(1); err == nil {
					err = aerr
				}
				<-inside
				if cerr := q.Close(); err == nil {
					err = cerr
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestFoldersThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	os.Mkdir(shared, 0o700)
	os.Chmod(shared, 0o777)
	link := filepath.Join(dir, "link")
	os.Symlink(t.TempDir(), link)
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	paths := []string{shared, link, file, filepath.Join(file, "below")}
	if os.Geteuid() == 0 {
		other := filepath.Join(dir, "other")
		os.Mkdir(other, 0o700)
		os.Chown(other, 12345, 12345)
		paths = append(paths, other)
	}
	for _, path := range paths {
		if _, err := Open(path, Options{}); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), strings.TrimSuffix(path, "/below")) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLimit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{Limit: 1 << 20})
	line := strings.Repeat("x", 999)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = q.Append(batch(line))
	}
	n--
	if !errors.Is(err, ErrFull) || n < 990 || n > 1048 {
		t.Fatalf("%d records, then %v", n, err)
	}
	if q.Bytes() > 1<<20 || q.Len() != n {
		t.Errorf("%d bytes, %d records, want at most %d, and %d", q.Bytes(), q.Len(), 1<<20, n)
	}
	// Room comes back with segments that are acknowledged.
	if got := len(take(t, q, n/2)); got != n/2 {
		t.Fatalf("%d records, want %d", got, n/2)
	}
	if err := q.Ack(n / 2); err != nil {
		t.Fatal(err)
	}
	for range n / 3 {
		put(t, q, line)
	}
	take(t, q, n)
	if err := q.Ack(q.Len()); err != nil {
		t.Fatal(err)
	}
	// All of it: what one segment still takes is no obstacle.
	lines := slices.Repeat([]string{line}, 1000)
	put(t, q, lines...)
	wantLines(t, take(t, q, 2000), lines)
	if err := q.Append(batch(slices.Repeat([]string{line}, 1100)...)); !errors.Is(err, ErrFull) {
		t.Errorf("a batch above the limit: %v", err)
	}
}

func TestWhatCannotBeAppended(t *testing.T) {
	q := open1(t, filepath.Join(t.TempDir(), "spool"), Options{})
	for name, b := range map[string]struct {
		buf  string
		ends []int
	}{
		"empty record":     {"a\n", []int{2, 2}},
		"end behind batch": {"a\n", []int{3}},
		"bytes behind":     {"a\nb", []int{2}},
		"not in order":     {"a\nb\n", []int{4, 2}},
		"begins with none": {"a\n", []int{0, 2}},
	} {
		if err := q.Append([]byte(b.buf), b.ends); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := q.Append(nil, nil); err != nil {
		t.Error(err)
	}
	if n := q.Len(); n != 0 || len(files(t, q.dir.path)) != 0 {
		t.Errorf("%d records, files %v", n, files(t, q.dir.path))
	}
	if err := q.Ack(1); err == nil {
		t.Error("a record that was not read is acknowledged")
	}
	put(t, q, "a")
	if err := q.Ack(1); err == nil {
		t.Error("a record that was not read is acknowledged")
	}
	if err := q.Ack(-1); err == nil {
		t.Error("a negative number is acknowledged")
	}
	q.Close()
	if err := q.Append(batch("b")); err == nil {
		t.Error("a closed queue takes records")
	}
	if _, _, err := q.Next(1); err == nil {
		t.Error("a closed queue gives records")
	}
	if err := q.Ack(0); err == nil {
		t.Error("a closed queue takes acknowledgements")
	}
}

func TestRecordsOfAnySize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	q := open1(t, dir, Options{})
	var want []string
	for _, size := range []int{0, 1, 700, maxFrame - 1, maxFrame, maxFrame + 1, 3 << 20, 5, 5 << 20, 700, 0} {
		want = append(want, strings.Repeat("y", size))
	}
	put(t, q, want...)
	for _, line := range want {
		put(t, q, line)
	}
	want = append(want, want...)
	wantLines(t, take(t, q, 100), want)
	q.Close()
	q = open1(t, dir, Options{})
	wantLines(t, take(t, q, 100), want)
}

func TestBytesAreKeptExactly(t *testing.T) {
	q := open1(t, filepath.Join(t.TempDir(), "spool"), Options{})
	buf := []byte("\x00\xff" + magic + "\nno line\n\n")
	if err := q.Append(buf, []int{3, len(buf)}); err != nil {
		t.Fatal(err)
	}
	got, ends, err := q.Next(9)
	if err != nil || !bytes.Equal(got, buf) || !slices.Equal(ends, []int{3, len(buf)}) {
		t.Errorf("got %q %v %v", got, ends, err)
	}
}
