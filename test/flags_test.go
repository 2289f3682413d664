// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// -a adds the time of each event, UTC with nanoseconds, as the second member.
func TestTimestamps(t *testing.T) {
	t.Parallel()
	before := time.Now()
	s := run(t, options{flags: []string{"-a"}, env: []string{"TZ=Asia/Tokyo"}}, "/bin/true")
	after := time.Now()
	form := regexp.MustCompile(`^\{"export": \{"type": "(async_)?event", "time": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"\}, "event": `)
	var last time.Time
	for _, line := range bytes.Split(s.raw, []byte("\n")) {
		if bytes.Contains(line, []byte(`"event": {`)) && !form.Match(line) {
			t.Errorf("%s", line)
		}
	}
	for _, e := range s.events {
		if e.Time.Before(before) || e.Time.After(after) || e.Time.Before(last) {
			t.Errorf("event %d was at %v, behind %v", e.Number, e.Time, last)
		}
		last = e.Time
	}
}

// The ids of a task in a user namespace are those of ours, or with -u its own.
func TestUserNamespace(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "unshare")
	for _, row := range []struct {
		flags       []string
		uid, unseen uint32
		nsref       string
	}{
		{nil, nobody, 0, "initial"},
		{[]string{"-u"}, 0, noID, "current"},
	} {
		dir := openDir(t)
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		s := run(t, options{dir: dir, flags: row.flags, noisy: true}, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
			"unshare", "-Ur", "sh", "-c", "echo > f; cat /etc/hostname > /dev/null; rm f")
		if strings.Contains(s.stderr, "unshare") {
			t.Skipf("needs user namespaces: %s", s.stderr)
		}
		if s.start.NSRef != row.nsref {
			t.Errorf("nsref is %s", s.start.NSRef)
		}
		e := s.created("f")
		c := e.Cell.(*tsem.CreateCell)
		if e.COE.UID != row.uid || e.COE.EGID != row.uid || e.COE.FSUID != row.uid || c.Dir.UID != row.uid || e.COE.CapEff == 0 {
			t.Errorf("%q: made by %+v in a folder of %d", row.flags, e.COE, c.Dir.UID)
		}
		for _, e := range s.opens(filepath.Join(dir, "f")) {
			if f := e.Cell.(*tsem.FileCell).File; f.Inode.UID != row.uid || f.Inode.GID != row.uid {
				t.Errorf("%q: f is of %d, %d", row.flags, f.Inode.UID, f.Inode.GID)
			}
		}
		opens := s.opens("/etc/hostname")
		if len(opens) != 1 {
			t.Fatalf("/etc/hostname is opened %d times", len(opens))
		}
		if f := opens[0].Cell.(*tsem.FileCell).File; f.Inode.UID != row.unseen || f.Inode.GID != row.unseen {
			t.Errorf("%q: /etc/hostname is of %d, %d, want %d", row.flags, f.Inode.UID, f.Inode.GID, row.unseen)
		}
	}
}

// Digests and identities are of the hash that was asked for: that is checked
// for every stream, here of the digest of a file.
func TestDigests(t *testing.T) {
	t.Parallel()
	content := []byte("some content")
	for _, name := range []string{"md5", "sha1", "sha256", "sha512", "sm3", "rmd160", "blake2b-160", "sha3-224"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alg, err := tsem.AlgorithmByName(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := openDir(t)
			if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o644); err != nil {
				t.Fatal(err)
			}
			s := run(t, options{dir: dir, flags: []string{"-h", name}}, "/bin/cat", "f")
			h := alg.New()
			h.Write(content)
			open := s.opens(filepath.Join(dir, "f"))
			if len(open) != 1 || !bytes.Equal(open[0].Cell.(*tsem.FileCell).File.Digest, h.Sum(nil)) || s.start.Digest != name {
				t.Errorf("f is opened: %+v", open)
			}
			if len(open) == 1 && len(open[0].TaskID) != alg.Size {
				t.Errorf("identities of %d bytes", len(open[0].TaskID))
			}
		})
	}
}

func TestNoMarkersAndAppend(t *testing.T) {
	t.Parallel()
	output := filepath.Join(openDir(t), "o")
	if err := os.WriteFile(output, []byte("{\"before\": \"\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{output: output, flags: []string{"--no-markers", "--append"}, plain: true}
	c := command(t, &o, "/bin/true")
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(b, []byte("{\"before\": \"\"}\n"))
	if !ok || bytes.Contains(b, []byte(`"start"`)) || bytes.Contains(b, []byte(`"end"`)) {
		t.Errorf("the output is %.300s", b)
	}
	s := &stream{t: t}
	s.read(rest)
	s.check(&o)
	if info, err := os.Stat(output); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the output has the mode %v (%v)", info.Mode(), err)
	}
}

// Two streams in one file, one behind the other, of two contexts.
func TestAppendTwice(t *testing.T) {
	t.Parallel()
	output := filepath.Join(openDir(t), "o")
	first := run(t, options{output: output, flags: []string{"--append"}}, "/bin/true")
	o := options{output: output, flags: []string{"--append"}}
	if out, err := command(t, &o, "/bin/true").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(b, first.raw)
	if !ok {
		t.Fatal("the first stream is not there any more")
	}
	second := &stream{t: t}
	second.read(rest)
	second.check(&o)
	if first.start.Context == second.start.Context || first.start.Run == second.start.Run || first.start.BootID != second.start.BootID {
		t.Errorf("the streams begin with %+v and %+v", first.start, second.start)
	}
	if len(first.events) != len(second.events) {
		t.Errorf("%d events, and then %d", len(first.events), len(second.events))
	}
}

// -o -: records on standard output, what the workload writes there on standard
// error.
func TestStandardOutput(t *testing.T) {
	t.Parallel()
	o := options{output: "-"}
	c := command(t, &o, "sh", "-c", "echo said")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if errs.String() != "said\n" {
		t.Errorf("standard error: %q", errs.String())
	}
	s := &stream{t: t}
	s.read(out.Bytes())
	s.check(&o)
}

func TestDescriptorAsOutput(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o := options{output: "/dev/fd/3", extra: []*os.File{w}}
	c := command(t, &o, "sh", "-c", "echo said")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil || out.String() != "said\n" || errs.Len() > 0 {
		t.Errorf("%v; standard output: %q; standard error: %q", err, out.String(), errs.String())
	}
	s := &stream{t: t}
	s.read(b)
	s.check(&o)
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := run(t, options{flags: []string{"--stats", "-w", "the name"}, stderr: "the name: "}, "/bin/true")
	if s.start.Workload != "the name" {
		t.Errorf("the workload is %q", s.start.Workload)
	}
	count := make(map[string]int)
	for _, e := range s.events {
		count[e.Type.String()]++
	}
	count["all"] = len(s.events)
	for line := range strings.Lines(s.stderr) {
		f := strings.Fields(line)
		if n, err := strconv.Atoi(f[0]); err == nil && len(f) == 2 {
			if count[f[1]] != n {
				t.Errorf("%s, but there are %d", strings.TrimSpace(line), count[f[1]])
			}
			delete(count, f[1])
		}
	}
	if len(count) > 0 {
		t.Errorf("not in the table: %v", count)
	}
	if want := fmt.Sprintf("%d events, ", len(s.events)); !strings.Contains(s.stderr, want) || !strings.Contains(s.stderr, "nothing lost") {
		t.Errorf("the closing line is not right: %s", s.stderr)
	}
}

func TestDebugLog(t *testing.T) {
	t.Parallel()
	log := filepath.Join(openDir(t), "log")
	run(t, options{flags: []string{"-d", log}}, "/bin/true")
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("ERROR")) || bytes.Contains(b, []byte("panic")) {
		t.Errorf("the debug log is\n%s", b)
	}
}

// --abspath adds the path from the root where that of the file system differs.
func TestAbsolutePaths(t *testing.T) {
	needRoot(t)
	t.Parallel()
	point := openDir(t)
	if err := unix.Mount("tmpfs", point, "tmpfs", 0, ""); err != nil {
		t.Skipf("needs mounts: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
	s := run(t, options{flags: []string{"--abspath"}}, "sh", "-c", fmt.Sprintf("mkdir d; mkdir %s/d; rmdir %s/d", point, point))
	var got []string
	for _, e := range s.events {
		switch c := e.Cell.(type) {
		case *tsem.CreateCell:
			got = append(got, fmt.Sprintf("%s %s %s", e.Type, c.Dentry.Path.Pathname, c.Dentry.Path.Abspath))
		case *tsem.RemoveCell:
			got = append(got, fmt.Sprintf("%s %s %s", e.Type, c.Dentry.Path.Pathname, c.Dentry.Path.Abspath))
		}
	}
	want := fmt.Sprintf("inode_mkdir %s/d \ninode_mkdir /d %s/d\ninode_rmdir /d %s/d", s.dir, point, point)
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
