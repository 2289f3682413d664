// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// hostileNames are names that a writer of JSON could stumble over.
var hostileNames = []string{
	`q"uote`, `"`, `back\slash`, `\`, "line\nfeed", "\n", "tab\tcr\r", "ctl\x01\x1f\x7f", "bad\xff\xfeutf8", "\x80",
	"sur\xed\xa0\x80rogate", "over\xc0\xaflong", "cut\xe2\x82", "uni\u2028\u2029é", "\U0001f600", strings.Repeat("x", 255),
	strings.Repeat("\xff", 255), strings.Repeat(`"`, 255), " (deleted)", "f (deleted)", "{}", `{"export": {"type": "end"}}`, `a"b\\"c`,
	"pathname_b64", "\u00a0", "socket:[1]", "%s%n", " ", "-", "~",
}

// hostileActs make a file of each name, and a link that has it for a target.
func hostileActs() (acts []act) {
	for _, name := range hostileNames {
		acts = append(acts, act{
			name: "file " + name,
			do:   opens(name, unix.O_CREAT|unix.O_WRONLY, 0o644),
			want: makesAndOpens(name, unix.O_CREAT|unix.O_WRONLY, 0o644, 0o644),
		}, act{
			name: "link " + name,
			do:   inFolder("l", func(p string) error { return unix.Symlinkat(name, unix.AT_FDCWD, p) }),
			want: linked("l", name),
		}, act{
			name:    "removed " + name,
			prepare: func(s *scene) { s.write(name, "x", 0o644) },
			before:  func(dir string) (int, error) { return unix.Open(dir+"/"+name, unix.O_RDONLY, 0) },
			do: func(dir string, fd int) error {
				if err := unlinkAt(dir + "/" + name); err != nil {
					return err
				}
				return fstat(dir, fd)
			},
			want: func(s *scene) []record { return append(removed(tsem.InodeUnlink, s, name), looked(name)(s)...) },
		})
	}
	// The longest path that a call takes, and deeper ones from where one stands.
	long := strings.Repeat(strings.Repeat("d", 200)+"/", 25)
	acts = append(acts, act{
		name: "the longest path",
		before: func(dir string) (int, error) {
			return -1, os.MkdirAll(filepath.Dir(longest(dir, long)), 0o755)
		},
		do: func(dir string, _ int) error {
			return unlessErr(openAt(unix.AT_FDCWD, longest(dir, long), unix.O_CREAT|unix.O_WRONLY, 0o644))
		},
		want: func(s *scene) []record {
			name := longest(s.dir, long)
			rel := strings.TrimPrefix(name, s.dir+"/")
			d := s.newName(rel)
			s.own(&d.Path, 1)
			return []record{
				{tsem.InodeCreate, &tsem.CreateCell{Dir: s.newInode(unix.S_IFDIR | 0o755), Dentry: d, Mode: s.asked(unix.S_IFREG | 0o644)}},
				opened(s.newFile(rel, unix.O_CREAT|unix.O_WRONLY|largeFile, 0o644, 1)),
			}
		},
	}, act{
		name: "one byte more",
		do: func(dir string, _ int) error {
			return unlessErr(openAt(unix.AT_FDCWD, longest(dir, long)+"x", unix.O_CREAT, 0))
		}, errno: unix.ENAMETOOLONG, want: none,
	})
	return acts
}

func unlessErr(_ int, err error) error { return err }

// longest is a path of 4,095 bytes in dir.
func longest(dir, long string) string {
	path := dir + "/" + long
	path = path[:4095]
	if path[4094] == '/' {
		path = path[:4094] + "z"
	}
	return path
}

func TestHostileNames(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "hostile", options{})
}

// Deeper than any path can tell, there are still records.
func TestDeeperThanPaths(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	script := `import os
for i in range(30):
    os.mkdir("d"*200); os.chdir("d"*200)
open("f", "w").close()
os.stat("f")
os.rename("f", "g")
os.unlink("g")
`
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Skip("needs /usr/bin/python3")
	}
	s := run(t, options{}, python, "-c", script)
	count := map[tsem.Type]int{}
	deep := 0
	for _, e := range s.events {
		switch c := e.Cell.(type) {
		case *tsem.CreateCell:
			count[e.Type]++
			if c.Dentry.Path.Missing != "" {
				deep++
			}
		case *tsem.RemoveCell, *tsem.RenameCell:
			count[e.Type]++
		}
	}
	if count[tsem.InodeMkdir] != 30 || count[tsem.InodeCreate] != 1 || count[tsem.InodeRename] != 1 || count[tsem.InodeUnlink] != 1 || deep == 0 {
		t.Errorf("events: %v; %d of too long a path", count, deep)
	}
}

// bearName has the actor take names, and open its folder's f under each.
func bearName(names []string) error {
	runtime.LockOSThread() // a name is a thread's
	for _, name := range names {
		setName(name)
		if _, err := openAt(unix.AT_FDCWD, "f", 0, 0); err != nil {
			return err
		}
	}
	return nil
}

func TestHostileProcessNames(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range hostileNames {
		if name != "-" {
			names = append(names, name)
		}
	}
	s := run(t, options{dir: dir}, anActor(t, append([]string{"name"}, names...)...)...)
	opens := s.opens(filepath.Join(dir, "f"))
	if len(opens) != len(names) {
		t.Fatalf("%d opens, want %d", len(opens), len(names))
	}
	for i, e := range opens {
		if want := []byte(names[i])[:min(15, len(names[i]))]; !bytes.Equal(e.Process, want) {
			t.Errorf("the process is %q, want %q", e.Process, want)
		}
	}
}
