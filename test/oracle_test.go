// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quixote-export/tsem"
)

// everyday are workloads of which strace tells the same as we do. Each runs in
// a folder of its own, with what prepare has made there.
var everyday = []struct {
	name    string
	tools   []string
	prepare string
	script  string
}{
	{"find", []string{"find"}, "", "find /etc -type f -newer /etc/hostname > list"},
	{"tar", []string{"tar"}, "", "tar cf a.tar -C / etc/default etc/ssl 2>&1; mkdir x; tar xf a.tar -C x; rm -r x"},
	{"copies", []string{"cp", "chmod"}, "", "cp -a /etc/default d; mv d e; chmod -R u+w e; touch -d yesterday e/*; ln -s e l; ls -lR l/ > list; cp list list2; truncate -s 3 list2; ln list hard; mv -f list2 hard; rm -r e l list hard"},
	{"make", []string{"make", "gcc"},
		`for i in 1 2 3; do echo "#include <stdio.h>
int f$i(void) { return $i; }" > f$i.c; done
printf 'int main(void) { return 0; }\n' > main.c
printf 'p: f1.o f2.o f3.o main.o\n\tgcc -o p f1.o f2.o f3.o main.o\n%%.o: %%.c\n\tgcc -c -o $@ $<\n' > Makefile`,
		"make && ./p"},
	{"python", []string{"/usr/bin/python3"}, "",
		`/usr/bin/python3 -B -c '
import json, os, tempfile, subprocess, threading
d = tempfile.mkdtemp(dir=".")
for i in range(20):
    with open(f"{d}/{i}", "w") as f: json.dump([i], f)
os.rename(f"{d}/1", f"{d}/2")
t = threading.Thread(target=lambda: os.listdir(d)); t.start(); t.join()
subprocess.run(["cat", f"{d}/2"], stdout=subprocess.DEVNULL)
subprocess.run("exit 3", shell=True)
for i in os.listdir(d): os.unlink(f"{d}/{i}")
os.rmdir(d)'`},
	// Git reads again what has changed in the same moment as its index: hence
	// the old dates.
	{"git", []string{"git"}, "", `export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git init -q r; cd r; git config gc.auto 0; git config maintenance.auto false; echo one > f; touch -d 2020-01-01 f; git add f; git commit -q -m first; echo two >> f; touch -d 2020-01-02 f; git commit -q -a -m second; git checkout -q -b side HEAD~1; git log --stat > ../log`},
}

// temporary matches what is named by chance.
var temporary = regexp.MustCompile(`/tmp/cc[A-Za-z0-9]{6}|/tmp[a-z0-9_]{8}\b|(tmp_obj|tmp_idx|tmp_pack)_[A-Za-z0-9]{6}|\.git/t[A-Za-z0-9]{6}\b|/proc/\d+`)

// What strace sees succeed and what we record are the same.
func TestBesideStrace(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	need(t, "strace")
	for _, w := range everyday {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			need(t, w.tools...)
			prepared := func() string {
				dir := openDir(t)
				c := exec.Command("sh", "-c", w.prepare)
				c.Dir = dir
				if out, err := c.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				return dir
			}
			dir := prepared()
			ours := recorded(run(t, options{dir: dir, noisy: true}, "sh", "-c", w.script))
			theirs := traced(t, prepared(), w.script)
			compareActs(t, ours, theirs)
		})
	}
}

func compareActs(t *testing.T, ours, theirs map[string]int) {
	t.Helper()
	sums := make(map[string]int)
	for act, n := range ours {
		kind, _, _ := strings.Cut(act, " ")
		sums[kind] += n
	}
	t.Logf("%v", sums)
	all := maps.Clone(ours)
	maps.Copy(all, theirs)
	for _, act := range slices.Sorted(maps.Keys(all)) {
		if ours[act] != theirs[act] {
			t.Errorf("%-60s recorded %d times, strace has %d", act, ours[act], theirs[act])
		}
	}
	if len(ours) == 0 {
		t.Error("nothing is recorded")
	}
}

// recorded counts acts of the kinds that strace can tell of, by type and path.
func recorded(s *stream) map[string]int {
	acts := make(map[string]int)
	add := func(kind tsem.Type, p []byte) {
		path := strings.ReplaceAll(string(p), s.dir, "WORK")
		acts[kind.String()+" "+temporary.ReplaceAllString(path, "TEMP")]++
	}
	for _, e := range s.events {
		switch c := e.Cell.(type) {
		case *tsem.FileCell:
			if e.Type == tsem.FileOpen && c.File.Flags != execFlags {
				path := c.File.Path.Pathname
				if string(path) == "nodev:/" {
					path = []byte("PROC")
				}
				add(e.Type, path)
			}
		case *tsem.RemoveCell, *tsem.RenameCell, *tsem.SymlinkCell, *tsem.LinkCell, *tsem.GetattrCell:
			add(e.Type, nil)
		case *tsem.CreateCell:
			if e.Type == tsem.InodeMkdir {
				add(e.Type, nil)
			}
		case *tsem.SetattrCell:
			if c.Valid&(1<<15) == 0 { // not of O_TRUNC
				add(e.Type, nil)
			}
		}
	}
	return acts
}

// calls tells which event the success of a call means.
var calls = map[string]tsem.Type{
	"open": tsem.FileOpen, "openat": tsem.FileOpen, "openat2": tsem.FileOpen, "creat": tsem.FileOpen,
	"unlink": tsem.InodeUnlink, "rmdir": tsem.InodeRmdir, "unlinkat": tsem.InodeUnlink,
	"rename": tsem.InodeRename, "renameat": tsem.InodeRename, "renameat2": tsem.InodeRename,
	"mkdir": tsem.InodeMkdir, "mkdirat": tsem.InodeMkdir,
	"symlink": tsem.InodeSymlink, "symlinkat": tsem.InodeSymlink, "link": tsem.InodeLink, "linkat": tsem.InodeLink,
	"stat": tsem.InodeGetattr, "lstat": tsem.InodeGetattr, "fstat": tsem.InodeGetattr, "newfstatat": tsem.InodeGetattr, "statx": tsem.InodeGetattr,
	"chmod": tsem.InodeSetattr, "fchmod": tsem.InodeSetattr, "fchmodat": tsem.InodeSetattr, "fchmodat2": tsem.InodeSetattr,
	"chown": tsem.InodeSetattr, "lchown": tsem.InodeSetattr, "fchown": tsem.InodeSetattr, "fchownat": tsem.InodeSetattr,
	"utimensat": tsem.InodeSetattr, "utimes": tsem.InodeSetattr, "utime": tsem.InodeSetattr, "futimesat": tsem.InodeSetattr,
	"truncate": tsem.InodeSetattr, "ftruncate": tsem.InodeSetattr,
}

// A line of strace -y: call, arguments, result, and the path of a descriptor.
var straceLine = regexp.MustCompile(`^(\w+)\((.*)\)\s+= (-?\d+)(?:<(.*)>)?(?: (E[A-Z]+) .*)?$`)

// octal is a byte as strace writes it.
var octal = regexp.MustCompile(`\\[0-7]{3}`)

// traced counts the same acts as strace sees them.
func traced(t *testing.T, dir, script string) map[string]int {
	t.Helper()
	logs := openDir(t)
	args := []string{"-ff", "-y", "-s", "4096", "-o", filepath.Join(logs, "log"), "sh", "-c", script}
	c := exec.Command("strace", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "GORACE=atexit_sleep_ms=0")
	if out, err := c.CombinedOutput(); err != nil && strings.Contains(string(out), "strace") {
		t.Skipf("needs a strace that may trace: %v: %s", err, out)
	}
	acts := make(map[string]int)
	entries, err := os.ReadDir(logs)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(logs, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if act := meaning(line, dir); act != "" {
				acts[act]++
			}
		}
	}
	return acts
}

// meaning is the act that a line of strace tells of, or "".
func meaning(line, dir string) string {
	m := straceLine.FindStringSubmatch(strings.TrimSpace(line))
	if m == nil {
		return ""
	}
	name, args, path, errno := m[1], m[2], m[4], m[5]
	kind, ok := calls[name]
	switch {
	case !ok:
		return ""
	case name == "unlinkat" && strings.HasSuffix(args, "AT_REMOVEDIR"):
		kind = tsem.InodeRmdir
	}
	if errno != "" && !(kind == tsem.InodeRmdir && errno == "ENOTEMPTY") {
		return "" // of an open that fails behind the hook we know nothing
	}
	if kind != tsem.FileOpen {
		return kind.String() + " "
	}
	switch {
	case strings.Contains(args, "O_DIRECTORY"), strings.Contains(args, "O_PATH"), strings.Contains(path, "<char"):
		return ""
	case strings.HasPrefix(path, "/proc/"), strings.HasPrefix(path, "/dev/pts"):
		path = "PROC"
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return ""
	}
	path = octal.ReplaceAllStringFunc(path, func(digits string) string {
		n, _ := strconv.ParseUint(digits[1:], 8, 8)
		return string([]byte{byte(n)})
	})
	path = strings.ReplaceAll(strings.TrimSuffix(path, "(deleted)"), dir, "WORK")
	return fmt.Sprintf("%s %s", kind, temporary.ReplaceAllString(path, "TEMP"))
}
