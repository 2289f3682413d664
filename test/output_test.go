// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// busy makes events until there is a file called stop.
const busy = `: > f; while [ ! -e stop ]; do : < f; done`

// under is a run that goes on while something is done to its output.
type under struct {
	t      *testing.T
	o      options
	cmd    *exec.Cmd
	out    bytes.Buffer
	errors string // file of the standard error
}

// begin starts a script with an output.
func begin(t *testing.T, o options, script string, wrap ...string) *under {
	t.Helper()
	u := &under{t: t, o: o}
	c := command(t, &u.o, "sh", "-c", script)
	if len(wrap) > 0 {
		words := append(wrap, c.Args...)
		wrapped := exec.Command(words[0], words[1:]...)
		wrapped.Dir, wrapped.Env = c.Dir, c.Env
		c = wrapped
	}
	u.errors = filepath.Join(openDir(t), "stderr")
	file, err := os.Create(u.errors)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c.Stdout, c.Stderr = &u.out, file
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	u.cmd = c
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return u
}

// told waits until standard error contains the text.
func (u *under) told(text string) {
	u.t.Helper()
	eventually(u.t, "standard error with "+text, func() bool { return strings.Contains(u.content(u.errors), text) })
}

// holds waits until a file contains the text.
func (u *under) holds(path, text string) {
	u.t.Helper()
	eventually(u.t, path+" with "+text, func() bool { return strings.Contains(u.content(path), text) })
}

func (u *under) content(path string) string {
	u.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		u.t.Fatal(err)
	}
	return string(b)
}

// stop ends the script.
func (u *under) stop() {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.o.dir, "stop"), nil, 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// ended waits for the end of the run. Standard error has a line for each text,
// and contains it.
func (u *under) ended(status int, texts ...string) {
	u.t.Helper()
	timer := time.AfterFunc(2*time.Minute, func() { u.cmd.Process.Kill() })
	defer timer.Stop()
	u.cmd.Wait()
	if got := u.cmd.ProcessState.ExitCode(); got != status {
		u.t.Errorf("status %d, want %d", got, status)
	}
	said := u.content(u.errors)
	lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
	// On a slow machine two syncs can pass between a rename and the signal.
	const renamed = "has been renamed or deleted: records go on"
	if !slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, "renamed") }) && strings.Contains(said, renamed) {
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, renamed) })
		if len(lines) == 0 {
			lines = []string{""}
		}
	}
	if len(texts) == 0 {
		texts = []string{""}
	}
	if len(lines) != len(texts) {
		u.t.Fatalf("standard error: %q, want %d lines", lines, len(texts))
	}
	for i, text := range texts {
		if !strings.Contains(lines[i], text) || text == "" && lines[i] != "" {
			u.t.Errorf("standard error: %q, want %q", lines[i], text)
		}
	}
}

// stream reads what was written.
func (u *under) stream(path string) *stream {
	u.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		u.t.Fatal(err)
	}
	s := &stream{t: u.t, dir: u.o.dir, status: u.cmd.ProcessState.ExitCode()}
	s.read(b)
	return s
}

// account checks that every number from first on is that of an event, or in
// the count of a lost record at its place, and returns the next one.
func (s *stream) account(first uint64) uint64 {
	s.t.Helper()
	lost := s.lost
	skip := func() {
		for ; len(lost) > 0 && lost[0].After == first-1 && lost[0].Count != "0"; lost = lost[1:] {
			n, err := strconv.ParseUint(lost[0].Count, 10, 64)
			if err != nil {
				s.t.Fatalf("a lost record with the count %q", lost[0].Count)
			}
			first += n
		}
	}
	for _, e := range s.events {
		skip()
		if e.Number != first {
			s.t.Fatalf("event %d where %d should be", e.Number, first)
		}
		first++
	}
	skip()
	if len(lost) > 0 {
		s.t.Errorf("a lost record that is not at its place: %+v", lost[0])
	}
	return first
}

// missing adds up what lost records say.
func (s *stream) missing() (n int) {
	for _, l := range s.lost {
		n += number(s.t, l.Count)
	}
	return n
}

// mounted is a folder with a file system of its own on it.
func mounted(t *testing.T, source, kind, data string) string {
	t.Helper()
	dir := openDir(t)
	if err := unix.Mount(source, dir, kind, 0, data); err != nil {
		t.Skipf("needs mounts of %s: %v", kind, err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// looped is a folder on which a file is mounted that mkfs has made a file
// system. It gives the loop device, too.
func looped(t *testing.T, image string, mkfs ...string) (dir, device string) {
	t.Helper()
	needRoot(t)
	need(t, mkfs[0], "losetup")
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", mkfs[0], out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	device = strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	kind := strings.TrimPrefix(filepath.Base(mkfs[0]), "mkfs.")
	return mounted(t, device, kind, ""), device
}

// image is an empty file of that size.
func image(t *testing.T, dir string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// limits are what makes an output full, and gives it room again.
var limits = []struct {
	name string
	text string // of the error
	// limit returns the output, what to put before the command, and how room
	// is given to a process.
	limit func(t *testing.T) (path string, wrap []string, give func(pid int))
}{
	{"file system", "no space left on device (free some space", func(t *testing.T) (string, []string, func(int)) {
		dir := mounted(t, "tmpfs", "tmpfs", "size=1m")
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 600<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "out.exp"), nil, func(int) { unix.Mount("", dir, "", unix.MS_REMOUNT, "size=1g") }
	}},
	{"quota", "disk quota exceeded (raise the quota", func(t *testing.T) (string, []string, func(int)) {
		dir, _ := looped(t, image(t, openDir(t), 1<<30), "mkfs.btrfs", "-q")
		btrfs := func(words ...string) {
			if out, err := exec.Command("btrfs", words...).CombinedOutput(); err != nil {
				t.Skipf("needs quotas of btrfs: %v: %s", words, out)
			}
		}
		volume := filepath.Join(dir, "volume")
		btrfs("quota", "enable", dir)
		btrfs("subvolume", "create", volume)
		btrfs("qgroup", "limit", "1M", volume)
		return filepath.Join(volume, "out.exp"), nil, func(int) {
			btrfs("qgroup", "limit", "800M", volume)
			btrfs("filesystem", "sync", dir) // or the old limit counts on for a while
		}
	}},
	{"size limit", "file too large (raise the limit with ulimit -f)", func(t *testing.T) (string, []string, func(int)) {
		need(t, "prlimit")
		return filepath.Join(openDir(t), "out.exp"), []string{"prlimit", "--fsize=400000:1000000000"}, func(pid int) {
			more := unix.Rlimit{Cur: 1_000_000_000, Max: 1_000_000_000}
			if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &more, nil); err != nil {
				t.Error(err)
			}
		}
	}},
}

// A full output ends with what it lacks and an end that counts.
func TestFullOutputStopsTheWorkload(t *testing.T) {
	t.Parallel()
	for _, row := range limits {
		t.Run(row.name, func(t *testing.T) {
			needRoot(t)
			t.Parallel()
			path, wrap, _ := row.limit(t)
			u := begin(t, options{output: path}, busy, wrap...)
			u.ended(123, row.text, fmt.Sprintf("missing from %s: ", path))
			s := u.stream(path)
			s.checkMarkers(&options{lost: true})
			if len(s.events) < 300 || len(s.lost) != 1 || s.lost[0].Cause != "output_full" || s.lost[0].Sink != path {
				t.Fatalf("%d events, losses %+v", len(s.events), s.lost)
			}
			if next := s.account(1); s.end.Lost != s.lost[0].Count || s.end.Status != "143" || next != uint64(len(s.events)+s.missing()+1) {
				t.Errorf("the end is %+v", s.end)
			}
		})
	}
}

// With --on-output-error=continue the workload does not notice, and records
// are written again when there is room.
func TestFullOutputGoesOn(t *testing.T) {
	t.Parallel()
	for _, row := range limits {
		t.Run(row.name, func(t *testing.T) {
			needRoot(t)
			t.Parallel()
			path, wrap, give := row.limit(t)
			u := begin(t, options{output: path, flags: []string{"--on-output-error=continue"}}, busy+"; exit 0", wrap...)
			u.told(row.text)
			give(u.cmd.Process.Pid)
			u.holds(path, `"type": "lost"`)
			u.stop()
			u.ended(123, "the workload goes on", fmt.Sprintf("missing from %s: ", path))
			s := u.stream(path)
			s.checkMarkers(&options{lost: true})
			s.account(1)
			if s.end.Lost != fmt.Sprint(s.missing()) || s.end.Status != "0" || s.missing() == 0 {
				t.Errorf("losses %+v, the end is %+v", s.lost, s.end)
			}
			if last := s.events[len(s.events)-1]; s.lost[len(s.lost)-1].After >= last.Number {
				t.Error("there is no event behind the loss")
			}
		})
	}
}

// What TERM does not end, KILL does.
func TestFullOutputStopsAWorkloadThatWouldNot(t *testing.T) {
	needRoot(t)
	t.Parallel()
	path, wrap, _ := limits[0].limit(t)
	u := begin(t, options{output: path}, `trap "" TERM; `+busy, wrap...)
	u.told("the workload is stopped")
	began := time.Now()
	u.ended(123, "no space left on device", "missing from ")
	if took := time.Since(began); took < 4*time.Second {
		t.Errorf("the workload was ended after %v", took)
	}
	if s := u.stream(path); s.end == nil || s.end.Status != "137" {
		t.Errorf("the end is %+v", s.end)
	}
}

// Nothing of it can be written.
func TestOutputThatIsAlwaysFull(t *testing.T) {
	t.Parallel()
	u := begin(t, options{output: "/dev/full", flags: []string{"--on-output-error=continue"}}, "echo out")
	u.ended(123, "cannot write /dev/full: no space left on device", "missing from /dev/full: ")
	events, lost := 0, 0
	line := u.content(u.errors)
	_, closing, _ := strings.Cut(line, "quixote-export: sh: ")
	if n, err := fmt.Sscanf(closing, "%d events", &events); n != 1 {
		t.Fatalf("%q: %v", closing, err)
	}
	_, closing, _ = strings.Cut(closing, "missing from /dev/full: ")
	if n, err := fmt.Sscanf(closing, "%d output_full", &lost); n != 1 || lost != events || lost == 0 {
		t.Errorf("%d of %d events are missing (%v)", lost, events, err)
	}
	if u.out.String() != "out\n" {
		t.Errorf("the workload wrote %q", u.out.String())
	}
}

// A file system that finds itself damaged lets nobody write to it any more.
func TestOutputThatBecomesReadOnly(t *testing.T) {
	t.Parallel()
	dir, device := looped(t, image(t, openDir(t), 64<<20), "mkfs.ext4", "-q", "-e", "remount-ro")
	trigger := "/sys/fs/ext4/" + filepath.Base(device) + "/trigger_fs_error"
	path := filepath.Join(dir, "out.exp")
	u := begin(t, options{output: path}, busy)
	u.holds(path, `"type": "event"`)
	if err := os.WriteFile(trigger, []byte("an error on purpose"), 0); err != nil {
		t.Skipf("needs a kernel that makes ext4 fail on purpose: %v", err)
	}
	u.ended(123, "read-only file system", fmt.Sprintf("missing from %s: ", path))
	s := u.stream(path)
	if len(s.events) == 0 || s.account(1) != uint64(len(s.events)+1) {
		t.Errorf("%d events, losses %+v", len(s.events), s.lost)
	}
}

// A disk that is smaller than it says takes records that it cannot keep.
func TestOutputThatCannotBeSynced(t *testing.T) {
	t.Parallel()
	thin := mounted(t, "tmpfs", "tmpfs", "size=10m")
	disk := image(t, thin, 64<<20)
	dir, _ := looped(t, disk, "mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0")
	ballast, err := os.Create(filepath.Join(thin, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	path := filepath.Join(dir, "out.exp")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unix.Sync()
	for buf := make([]byte, 4096); err == nil; {
		_, err = ballast.Write(buf)
	}
	u := begin(t, options{output: path, flags: []string{"--sync-interval=50ms"}}, busy)
	u.ended(123, "cannot sync "+path, "sync_error")
	s := u.stream(path)
	s.checkMarkers(&options{lost: true})
	if len(s.lost) == 0 || s.lost[0].Cause != "sync_error" || s.lost[0].Count != "" || s.end.Lost != "" {
		t.Errorf("losses %+v, the end is %+v", s.lost, s.end)
	}
}

// The reader of a FIFO leaves, and another comes.
func TestOutputWhoseReaderLeaves(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"stop", "continue"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(openDir(t), "fifo")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			u := begin(t, options{output: path, flags: []string{"--on-output-error=" + how}}, busy)
			reader, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 20)
			if _, err := reader.Read(line); err != nil || string(line) != `{"export": {"type": ` {
				t.Fatalf("the reader got %q, %v", line, err)
			}
			reader.Close()
			if how == "stop" {
				u.ended(123, "its reader ended before the workload", "output_closed")
				return
			}
			u.told("its reader ended before the workload); the workload goes on")
			if reader, err = os.Open(path); err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			var got bytes.Buffer
			for b := make([]byte, 4096); !bytes.Contains(got.Bytes(), []byte(`"type": "lost"`)); {
				n, err := reader.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				got.Write(b[:n])
			}
			u.stop()
			if _, err := got.ReadFrom(reader); err != nil {
				t.Fatal(err)
			}
			u.ended(123, "the workload goes on", "missing from "+path+": at least ")
			_, rest, _ := bytes.Cut(got.Bytes(), []byte{'\n'}) // begun by the first reader
			if i := bytes.Index(rest, []byte(`{"export": {"type": "lost"}`)); i >= 0 {
				rest = rest[i:]
			}
			s := &stream{t: t}
			s.read(rest)
			if len(s.lost) == 0 || len(s.events) == 0 || s.lost[0].Cause != "output_closed" || s.end == nil {
				t.Fatalf("%d events, losses %+v, end %+v", len(s.events), s.lost, s.end)
			}
			s.account(s.lost[0].After + 1)
			if s.events[0].Type == tsem.FileOpen && s.end.Lost != "" {
				t.Errorf("the end is %+v: nobody knows what the first reader has read", s.end)
			}
		})
	}
}
