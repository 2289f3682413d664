// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// A program that makes no system call is recorded as executed all the same,
// and soon.
func TestExecOfAQuietProgram(t *testing.T) {
	t.Parallel()
	quiet := program(t, "quiet", "-static", "-nostdlib", "-no-pie")
	prots, _ := segments(t, quiet)
	o := options{status: 128 + 9, noisy: true}
	for _, words := range [][]string{{quiet}, {"/bin/sh", "-c", "exec " + quiet}, {"/bin/sh", "-c", quiet + "; exit $?"}} {
		o := o
		c := command(t, &o, words...)
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		mapped := func() []*tsem.Event {
			return soFar(t, &o, func(e *tsem.Event) bool {
				c, ok := e.Cell.(*tsem.MmapCell)
				return ok && string(c.File.Path.Pathname) == quiet
			})
		}
		eventually(t, "the mappings of a program that computes", func() bool { return len(mapped()) == len(prots) })
		unix.Kill(int(mapped()[0].PID), unix.SIGKILL)
		c.Wait()
		s := finished(t, c, &o, errs.String())
		for _, e := range s.of(tsem.MmapFile) {
			if c := e.Cell.(*tsem.MmapCell); string(c.File.Path.Pathname) == quiet && string(e.Process) != "quiet" {
				t.Errorf("the mappings are those of %s", e.Process)
			}
		}
	}
}

// Scripts that are run by scripts: each is opened, the last program gives the
// identity.
func TestScriptsOfScripts(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	third := write("third", "#!/bin/cat\n")
	second := write("second", "#! "+third+"  -u\n")
	first := write("first", "#!\t"+second+"\n")
	s := run(t, options{dir: dir}, first)
	want := []string{first, second, third, "/usr/bin/cat"}
	for i, path := range want {
		e := s.events[i]
		c, ok := e.Cell.(*tsem.FileCell)
		if !ok || string(c.File.Path.Pathname) != path || c.File.Flags != execFlags || e.TTD != 0 {
			t.Errorf("event %d: %s, want the opening of %s", i+1, text(e.Type, e.Cell), path)
		}
	}
	program := s.events[3].Cell.(*tsem.FileCell).File
	id := tsem.NewHasher(s.algorithm()).TaskID(nil, make(tsem.Digest, 32), &program)
	last := s.events[len(s.events)-1]
	if !bytes.Equal(last.TaskID, id) || string(last.Process) != "first" || last.TTD != 1 {
		t.Errorf("the program that runs is %s, %x, ttd %d, want %x", last.Process, last.TaskID, last.TTD, id)
	}
}

// busyboxRoot makes a folder that can be a root directory.
func busyboxRoot(t *testing.T) string {
	t.Helper()
	need(t, "busybox", "chroot", "unshare")
	root := openDir(t)
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	if _, interpreter := segments(t, box); interpreter != "" {
		t.Skip("needs a static busybox")
	}
	for path, content := range map[string][]byte{"bin/sh": b, "etc/file": []byte("inside")} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Paths of a task with another root directory begin at the root of the mount
// tree, and say so.
func TestChroot(t *testing.T) {
	needRoot(t)
	t.Parallel()
	root := busyboxRoot(t)
	s := run(t, options{}, "chroot", root, "/bin/sh", "-c", "read x < /etc/file; cd /etc; read x < ../etc/../../etc/file; echo > /etc/new; /bin/sh -c :; chroot /etc /sh 2>&1 || :; mkdir d")
	opens := s.opens(filepath.Join(root, "etc/file"))
	if len(opens) != 2 {
		t.Errorf("%d opens of etc/file", len(opens))
	}
	for _, e := range opens {
		if p := e.Cell.(*tsem.FileCell).File.Path; p.Type != tsem.PathChroot {
			t.Errorf("the path is %s", p.Type)
		}
	}
	var made []string
	for _, e := range s.of(tsem.InodeCreate, tsem.InodeMkdir) {
		p := e.Cell.(*tsem.CreateCell).Dentry.Path
		made = append(made, string(p.Type)+" "+strings.TrimPrefix(string(p.Pathname), root))
	}
	if got := strings.Join(made, ", "); got != "chroot /etc/new, chroot /etc/d" {
		t.Errorf("made: %s", got)
	}
	if e := s.opens(filepath.Join(root, "bin/sh")); len(e) == 0 || e[0].Cell.(*tsem.FileCell).File.Path.Type != tsem.PathChroot {
		t.Errorf("the program is opened %d times, or as a path of another kind", len(e))
	}
}

func TestMountNamespace(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "unshare", "mount")
	dir := openDir(t)
	s := run(t, options{dir: dir}, "unshare", "-m", "sh", "-c", "mkdir m; mount -t tmpfs none m; echo > m/f; cat m/f; mkdir m/d; mount --bind m/d m; echo > m/g")
	for name, path := range map[string]string{"f": "/f", "g": "/d/g"} {
		var found bool
		for _, e := range s.of(tsem.InodeCreate) {
			if p := e.Cell.(*tsem.CreateCell).Dentry.Path; string(p.Pathname) == path && p.Type == tsem.PathNamespace {
				found = true
			}
		}
		if !found {
			t.Errorf("nobody makes %s", path)
		}
		opens := s.opens(filepath.Join(dir, "m", name))
		if len(opens) == 0 {
			t.Errorf("nobody opens m/%s", name)
		}
		for _, e := range opens {
			p := e.Cell.(*tsem.FileCell).File
			if p.Path.Type != tsem.PathNamespace || p.Inode.Magic != unix.TMPFS_MAGIC || !p.Path.Created || p.Path.Instance != 1 {
				t.Errorf("%s is opened as %+v", name, p)
			}
		}
	}
}

// In a pid namespace in which numbers come round soon, nobody is taken for
// somebody who had the number before.
func TestNumbersAreUsedAgain(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "unshare")
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	version := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	major, _ := strconv.Atoi(version[0])
	minor, _ := strconv.Atoi(version[1])
	if major < 6 || major == 6 && minor < 14 {
		t.Skip("needs a kernel with a pid_max of its own in each pid namespace (Linux 6.14)")
	}
	const n = 120 // more than the hundred numbers that there are
	script := `echo 400 > /proc/sys/kernel/pid_max && echo 350 > /proc/sys/kernel/ns_last_pid && exec "$@"`
	o := options{under: []string{"unshare", "-pf", "--mount-proc", "sh", "-c", script, "sh"}}
	c := command(t, &o, life(t, "generations", fmt.Sprint(n))...)
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		t.Skipf("needs pid namespaces with a pid_max of their own: %v: %s", err, errs.String())
	}
	s := finished(t, c, &o, errs.String())
	pids, tasks := make(map[uint32]bool), make(map[uint64]bool)
	parent := s.events[len(s.events)-1]
	for _, e := range s.events {
		if e.PID == s.events[0].PID {
			parent = e
		}
	}
	for i := range n {
		e := s.created(fmt.Sprintf("n%d", i))
		s.inherits(e, parent)
		pids[e.PID], tasks[e.TNum] = true, true
	}
	if len(pids) == n || len(tasks) != n {
		t.Errorf("%d tasks with %d numbers", len(tasks), len(pids))
	}
}

// Who is left behind is still watched, and told of.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		flags []string
		end   syscall.Signal
	}{
		{"until it ends", nil, 0}, {"until SIGINT", nil, unix.SIGINT}, {"no wait", []string{"--no-wait"}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			o := options{flags: row.flags, status: 3, noisy: true}
			c := command(t, &o, "sh", "-c", `sh -c 'trap "echo > ended; exit" TERM; echo $$ > pid; while :; do sleep 0.1; done' & until test -s pid; do :; done; exit 3`)
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c.Stderr = w
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			var line [1000]byte
			if row.flags == nil {
				n, err := r.Read(line[:])
				if err != nil {
					t.Fatal(err)
				}
				pid, err := os.ReadFile(filepath.Join(o.dir, "pid"))
				if err != nil {
					t.Fatal(err)
				}
				said := string(line[:n])
				if !strings.Contains(said, "left") || !strings.Contains(said, strings.TrimSpace(string(pid))) || strings.Count(said, "\n") != 1 {
					t.Errorf("told: %q, want the pid %s", said, pid)
				}
				if row.end != 0 {
					c.Process.Signal(row.end)
				} else {
					n, _ := strconv.Atoi(strings.TrimSpace(string(pid)))
					unix.Kill(n, unix.SIGKILL)
				}
			}
			c.Wait()
			s := finished(t, c, &o, "")
			if row.end != 0 || row.flags != nil {
				s.created("ended")
			}
		})
	}
}
