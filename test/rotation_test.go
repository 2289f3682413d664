// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hup sends SIGHUP to quixote-export.
func (u *under) hup() {
	u.t.Helper()
	if err := u.cmd.Process.Signal(unix.SIGHUP); err != nil {
		u.t.Fatal(err)
	}
}

// Twenty rotations of a workload that acts as fast as it can: each part is a
// stream of its own, and no event is in none of them or in two.
func TestRotation(t *testing.T) {
	t.Parallel()
	const rotations = 20
	u := begin(t, options{}, `trap "echo hup" HUP; echo up; `+busy+"; exit 0")
	path := u.o.output
	old := func(n int) string { return fmt.Sprintf("%s.%d", path, n) }
	for n := 1; n <= rotations; n++ {
		u.holds(path, `"type": "event"`)
		if err := os.Rename(path, old(n)); err != nil {
			t.Fatal(err)
		}
		u.hup()
		u.holds(path, `"type": "start"`)
		u.holds(old(n), `"type": "end"`)
	}
	u.stop()
	u.ended(0)
	if u.out.String() != "up\n" {
		t.Errorf("the workload was told: %q", u.out.String())
	}
	next, run := uint64(1), ""
	for n := 1; n <= rotations+1; n++ {
		name := old(n)
		if n > rotations {
			name = path
		}
		s := u.stream(name)
		s.checkMarkers(&options{lost: true})
		next = s.account(next)
		if run == "" {
			run = s.start.Run
		}
		part, status := uint64(n), ""
		if n == 1 {
			part = 0
		}
		if n > rotations {
			status = "0"
		}
		if s.start.Part != part || s.start.Run != run || s.end.Status != status || s.end.Lost != "0" {
			t.Errorf("part %d begins with %+v and ends with %+v", n, s.start, s.end)
		}
	}
}

// Killed in the midst of rotations: the watchdog ends the part that is being
// written, or the one that was to follow, and no recorded event is in none.
func TestRotationIsKilled(t *testing.T) {
	t.Parallel()
	for round := range 6 {
		u := begin(t, options{flags: []string{"--sync-interval=10ms"}}, busy)
		path := u.o.output
		old := func(n int) string { return fmt.Sprintf("%s.%d", path, n) }
		parts := 0
		u.holds(path, `"type": "event"`)
		for kill := time.Now().Add(time.Duration(20+round*70) * time.Millisecond); time.Now().Before(kill); {
			if os.Rename(path, old(parts+1)) == nil {
				parts++
				u.hup()
			}
		}
		u.cmd.Process.Kill()
		u.cmd.Wait()
		u.told("killed, and with it the workload")
		next, whole := uint64(1), 0
		var last *stream
		for n := 1; n <= parts+1; n++ {
			name := old(n)
			if n > parts {
				name = path
			}
			if st, err := os.Stat(name); os.IsNotExist(err) || err == nil && st.Size() == 0 {
				continue // renamed before it was begun
			}
			last = u.stream(name)
			if last.start == nil || last.end == nil || last.end.Events != uint64(len(last.events)) || whole > 0 && last.start.Part != uint64(whole+1) {
				t.Fatalf("round %d, part %d of %d: start %+v, end %+v, %d events", round, n, parts+1, last.start, last.end, len(last.events))
			}
			whole++
			for _, e := range last.events {
				if e.Number != next {
					t.Fatalf("round %d, part %d: event %d where %d should be", round, n, e.Number, next)
				}
				next++
			}
		}
		if last == nil || last.end.Cut == "" || len(last.lost) == 0 {
			t.Errorf("round %d: the last of %d parts does not say that it was cut", round, whole)
		}
	}
}

// Who rotates without a pause, and without a record in between, gets a file for
// each rotation that is not the same as before.
func TestRotationWithoutRecords(t *testing.T) {
	t.Parallel()
	u := begin(t, options{}, `: > f; while [ ! -e stop ]; do sleep 0.2; done`)
	path := u.o.output
	u.holds(path, `"type": "event"`)
	u.hup() // the path leads to the same file
	u.hup()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	u.hup()
	u.hup()
	u.holds(path, `"part": "2"`)
	u.stop()
	u.ended(0)
	first, second := u.stream(path+".1"), u.stream(path)
	if first.end == nil || second.end == nil || second.start.Part != 2 {
		t.Errorf("ends %+v, %+v", first.end, second.end)
	}
	second.account(first.account(1))
}

// A new file that cannot be had costs nothing.
func TestRotationThatFails(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	path := filepath.Join(dir, "gone", "out.exp")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	u := begin(t, options{output: path}, busy)
	u.holds(path, `"type": "event"`)
	if err := os.Rename(filepath.Dir(path), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	u.hup()
	u.told("no such file or directory (records go on into the file that was open)")
	u.stop()
	u.ended(0, "cannot open "+path+" anew: ", "has been renamed")
	s := u.stream(filepath.Join(dir, "moved", "out.exp"))
	s.check(&options{})
}

// What is no file that could be opened anew leaves the signal to the workload.
func TestHangupGoesToTheWorkload(t *testing.T) {
	t.Parallel()
	for _, output := range []string{"/dev/null", "/dev/fd/3"} {
		t.Run(output, func(t *testing.T) {
			t.Parallel()
			null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			u := begin(t, options{output: output, extra: []*os.File{null}}, `trap "exit 7" HUP; touch up; while [ ! -e stop ]; do sleep 0.1; done`)
			u.exists(filepath.Join(u.o.dir, "up"))
			u.hup()
			u.ended(7)
		})
	}
}

// exists waits for a file.
func (u *under) exists(path string) {
	u.t.Helper()
	eventually(u.t, path, func() bool { _, err := os.Stat(path); return err == nil })
}

// When the terminal hangs up the workload is told, whatever the output.
func TestHangupOfTheTerminalGoesToTheWorkload(t *testing.T) {
	t.Parallel()
	o := options{}
	// It writes all the time, or the reader of the terminal would keep it open.
	term := onTerminal(t, command(t, &o, "sh", "-c", `trap "exit 7" HUP; echo up; while :; do echo .; sleep 0.1; done`))
	term.await("up")
	if err := term.cmd.Process.Signal(unix.SIGHUP); err != nil { // of somebody who rotates
		t.Fatal(err)
	}
	if err := os.Rename(o.output, o.output+".1"); err != nil {
		t.Fatal(err)
	}
	if err := term.cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new file", func() bool { _, err := os.Stat(o.output); return err == nil })
	term.keys.Close()
	if status := term.status(); status != 7 {
		t.Errorf("status %d, want 7", status)
	}
}

func TestOutputIsRenamed(t *testing.T) {
	t.Parallel()
	u := begin(t, options{flags: []string{"--sync-interval=50ms"}}, busy)
	path := u.o.output
	u.holds(path, `"type": "event"`)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	u.told("has been renamed or deleted: records go on into the file that was opened (SIGHUP begins a new one)")
	u.stop()
	u.ended(0, "has been renamed or deleted")
	u.stream(path + ".1").check(&options{})
}

func TestOutputIsDeleted(t *testing.T) {
	t.Parallel()
	u := begin(t, options{}, busy)
	path := u.o.output
	u.holds(path, `"type": "event"`)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	u.stop()
	u.ended(0, "has been deleted while it was written: it is there again, with all records")
	u.stream(path).check(&options{})
}

// A workload that deletes the record of its deeds, and takes its place.
func TestOutputIsDeletedForGood(t *testing.T) {
	t.Parallel()
	o := options{output: filepath.Join(openDir(t), "out.exp")}
	u := begin(t, o, `rm `+o.output+`; mkdir `+o.output)
	u.ended(123, "has been deleted, and its records with it: ", "output_deleted")
	if !strings.Contains(u.content(u.errors), " events, ") {
		t.Error("the closing line is missing")
	}
}
