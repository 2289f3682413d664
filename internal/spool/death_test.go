// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childFolder makes the test binary a writer and reader of the folder it names.
const childFolder = "QUIXOTE_EXPORT_TEST_SPOOL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := child(dir, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child appends numbered records from the number it is told, acknowledges some,
// and says each time when that is done.
func child(dir string, in io.Reader, out io.Writer) error {
	var number int
	if _, err := fmt.Fscan(in, &number); err != nil {
		return err
	}
	q, err := Open(dir, Options{Limit: 1 << 20})
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(uint64(number), 2))
	for {
		var lines []string
		for i := range 1 + random.IntN(20) {
			lines = append(lines, fmt.Sprintf("%d %s", number+i, strings.Repeat("-", random.IntN(2000))))
		}
		err := q.Append(batch(lines...))
		if err == nil {
			number += len(lines)
			fmt.Fprintf(out, "appended %d\n", number)
		} else if !errors.Is(err, ErrFull) {
			return err
		}
		buf, ends, err := q.Next(1 + random.IntN(20))
		if err != nil {
			return err
		}
		if len(ends) == 0 {
			continue
		}
		last := strings.TrimSuffix(string(buf[:ends[len(ends)-1]]), "\n")
		last = last[strings.LastIndexByte(last, '\n')+1:]
		fmt.Fprintf(out, "acknowledging %s\n", strings.Fields(last)[0])
		if err := q.Ack(len(ends)); err != nil {
			return err
		}
		fmt.Fprintf(out, "acknowledged %s\n", strings.Fields(last)[0])
	}
}

// A process that is killed with SIGKILL at any moment loses nothing that was
// appended, and nothing that it had acknowledged comes out again.
func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	deaths := 15
	if testing.Short() {
		deaths = 5
	}
	next := 0 // number of the next record to append
	for range deaths {
		appended, acknowledging, acknowledged := live(t, dir, next, time.Duration(rand.Int64N(int64(30*time.Millisecond))))
		q := open1(t, dir, Options{Limit: 1 << 20})
		d := q.Damage()
		if d.Records != 0 || d.Unknown {
			t.Fatalf("damage %+v", d)
		}
		first, last, n := -1, -1, 0
		for _, line := range take(t, q, 1<<20) {
			number, err := strconv.Atoi(strings.Fields(line)[0])
			if err != nil || last >= 0 && number != last+1 {
				t.Fatalf("%q behind %d", line, last)
			}
			if first < 0 {
				first = number
			}
			last, n = number, n+1
		}
		if n != q.Len() || q.Damage() != d {
			t.Fatalf("%d records, length %d, damage %+v", n, q.Len(), q.Damage())
		}
		if n > 0 {
			// What was appended without being told yet may be there.
			if last < appended-1 {
				t.Fatalf("the last record is %d, and %d were appended", last, appended)
			}
			if first != acknowledged+1 && first != acknowledging+1 && acknowledged >= 0 {
				t.Fatalf("begins with %d, acknowledged up to %d, perhaps %d", first, acknowledged, acknowledging)
			}
			appended = last + 1
		} else if appended > 0 && acknowledging < appended-1 {
			t.Fatalf("empty, and %d appended, at most %d acknowledged", appended, acknowledging)
		}
		next = max(next, appended)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if next == 0 {
		t.Error("no child has come to append anything")
	}
}

// live lets a child work for a while, kills it, and returns what it has said.
func live(t *testing.T, dir string, number int, span time.Duration) (appended, acknowledging, acknowledged int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFolder+"="+dir)
	cmd.Stdin = strings.NewReader(fmt.Sprintln(number))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	appended, acknowledging, acknowledged = number, -1, -1
	lines := bufio.NewScanner(out)
	var kill *time.Timer
	for lines.Scan() {
		if kill == nil { // the moment is counted from the first record
			kill = time.AfterFunc(span, func() { cmd.Process.Signal(unix.SIGKILL) })
		}
		word, digits, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(digits)
		if err != nil {
			break // cut off
		}
		switch word {
		case "appended":
			appended = n
		case "acknowledging":
			acknowledging = n
		case "acknowledged":
			acknowledged = n
		}
	}
	if err := cmd.Wait(); err == nil || kill == nil {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return appended, acknowledging, acknowledged
}

// On a full disk a batch is refused and leaves nothing; when there is room
// again, the queue goes on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a tmpfs")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	dir := filepath.Join(disk, "spool")
	q := open1(t, dir, Options{})
	line := strings.Repeat("x", 10_000)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = q.Append(batch(line, line, line))
	}
	n = 3 * (n - 1)
	if !errors.Is(err, ErrDiskFull) || !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), "\n") {
		t.Fatal(err)
	}
	t.Log(err)
	if info, err := os.Stat(filepath.Join(dir, "00000000000000000000.seg")); err != nil || info.Size() != q.Bytes() {
		t.Fatalf("%d bytes on disk, want %d", info.Size(), q.Bytes())
	}
	if got := len(take(t, q, 1000)); got != n || q.Len() != n {
		t.Fatalf("%d records, length %d, want %d", got, q.Len(), n)
	}
	// No room even for the file that keeps the head: what is acknowledged is
	// so for this owner.
	if err := q.Ack(n - 3); err == nil {
		t.Log("the file system had room for the head")
	}
	if q.Len() != 3 {
		t.Fatalf("length %d, want 3", q.Len())
	}
	if err := q.Ack(3); err == nil {
		t.Log("the file system had room for the head")
	}
	put(t, q, numbered(0, 5)...)
	wantLines(t, take(t, q, 9), numbered(0, 5))
	if err := q.Ack(5); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if names := files(t, disk); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}
