// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/session"
	"quixote-export/tsem"
)

// exported is what one run wrote.
type exported struct {
	status  int
	events  []*tsem.Event
	end     *tsem.End
	stderr  string
	workDir string
}

// program is a link to this test binary under the name that makes it
// quixote-export, in a place that everybody may reach.
func program(t *testing.T) string {
	t.Helper()
	if ok, err := condition(session.SourceSeccomp); err != nil || !ok {
		t.Skip("needs the seccomp source: see quixote-export --sources")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	path := filepath.Join(dir, "quixote-export")
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir is a temporary folder that other users may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "scenario")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// export runs command under quixote-export in dir, as uid, and reads what it
// wrote. What holds for every stream is checked here.
func export(t *testing.T, program, dir string, uid int, flags []string, command ...string) exported {
	t.Helper()
	file := filepath.Join(dir, "out.exp")
	args := append(append([]string{"-X", "-o", file}, flags...), "--")
	c := exec.Command(program, append(args, command...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PATH=/usr/bin:/bin")
	if uid != os.Geteuid() {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	var errs bytes.Buffer
	c.Stderr = &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	x := exported{status: c.ProcessState.ExitCode(), stderr: errs.String(), workDir: dir}
	x.read(t, file)
	return x
}

func (x *exported) read(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; standard error: %s", err, x.stderr)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	for i, line := range lines {
		if !json.Valid(line) {
			t.Fatalf("line %d is not JSON: %s", i+1, line)
		}
		var p tsem.Parser
		r, err := p.Parse(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			t.Fatalf("line %d: %v: %s", i+1, err, line)
		}
		switch r.Kind {
		case tsem.KindStart, tsem.KindEnd:
			if i != 0 && i != len(lines)-1 {
				t.Fatalf("a marker in line %d of %d", i+1, len(lines))
			}
			if r.Kind == tsem.KindEnd {
				x.end = r.End
			}
		case tsem.KindEvent, tsem.KindAsyncEvent:
			x.events = append(x.events, r.Event)
		default:
			t.Fatalf("line %d is of kind %v: %s", i+1, r.Kind, line)
		}
	}
	x.check(t)
}

// check looks for what no stream may have: a gap, an event out of order, an
// identity that changes without an exec.
func (x *exported) check(t *testing.T) {
	t.Helper()
	if x.end == nil || x.end.Lost != "0" || x.end.Events != uint64(len(x.events)) || x.end.Status != fmt.Sprint(x.status) {
		t.Errorf("the end marker is %+v, with %d events and status %d", x.end, len(x.events), x.status)
	}
	last := make(map[uint64]*tsem.Event)
	var ts uint64
	for i, e := range x.events {
		if e.Number != uint64(i+1) {
			t.Fatalf("event %d has the number %d", i+1, e.Number)
		}
		if e.TS < ts {
			t.Errorf("event %d was before event %d", i+1, i)
		}
		ts = e.TS
		if before := last[e.TNum]; before != nil {
			if same := bytes.Equal(before.TaskID, e.TaskID); same != (before.TTD == e.TTD) && !same {
				t.Errorf("event %d: task_id and ttd do not change together", i+1)
			}
			if before.TTD != e.TTD && e.Type != tsem.MmapFile {
				t.Errorf("event %d, a %s, is the first of a new program: its mappings are missing", i+1, e.Type)
			}
			if !bytes.Equal(before.PTaskID, e.PTaskID) {
				t.Errorf("event %d: p_task_id has changed", i+1)
			}
		}
		last[e.TNum] = e
	}
}

// acts are the events of one kind, as "process path" words, of paths in the
// working directory.
func (x *exported) acts(kinds ...tsem.Type) (acts []string) {
	for _, e := range x.events {
		if !slices.Contains(kinds, e.Type) {
			continue
		}
		var paths []string
		for _, p := range pathsOf(e.Cell) {
			if rel, ok := strings.CutPrefix(string(p.Pathname), x.workDir+"/"); ok {
				paths = append(paths, rel)
			}
		}
		if len(paths) > 0 {
			acts = append(acts, fmt.Sprintf("%s %s %s", e.Process, e.Type, strings.Join(paths, " ")))
		}
	}
	return acts
}

func pathsOf(c tsem.Cell) []tsem.Path {
	switch c := c.(type) {
	case *tsem.FileCell:
		return []tsem.Path{c.File.Path}
	case *tsem.CreateCell:
		return []tsem.Path{c.Dentry.Path}
	case *tsem.RemoveCell:
		return []tsem.Path{c.Dentry.Path}
	case *tsem.LinkCell:
		return []tsem.Path{c.Old.Path, c.New.Path}
	case *tsem.RenameCell:
		return []tsem.Path{c.Old.Path, c.New.Path}
	case *tsem.SymlinkCell:
		return []tsem.Path{c.Dentry.Path}
	}
	return nil
}

// find returns the only event of kind by process that names path.
func (x *exported) find(t *testing.T, process string, kind tsem.Type, path string) *tsem.Event {
	t.Helper()
	var found *tsem.Event
	for _, e := range x.events {
		if e.Type != kind || string(e.Process) != process {
			continue
		}
		for _, p := range pathsOf(e.Cell) {
			if string(p.Pathname) == filepath.Join(x.workDir, path) {
				if found != nil {
					t.Fatalf("%s does %s of %s twice", process, kind, path)
				}
				found = e
			}
		}
	}
	if found == nil {
		t.Fatalf("%s does no %s of %s", process, kind, path)
	}
	return found
}

const scenario = `echo hi > f; cat f; cat pre; ln f g; mv g h; rm f h; mkdir d; rmdir d; ln -s /x s
/usr/bin/python3 -c "import socket;s=socket.socket();s.bind((\"127.0.0.1\",0));s.listen(1)"; exit 7`

// A small script does a little of everything: each act is there once, in
// order, with what is known of it.
func TestScenario(t *testing.T) {
	bin := program(t)
	users := map[string]int{"self": os.Geteuid()}
	if os.Geteuid() == 0 {
		users = map[string]int{"root": 0, "nobody": 65534}
	}
	if _, err := os.Stat("/usr/bin/python3"); err != nil {
		t.Skip("needs /usr/bin/python3")
	}
	for name, uid := range users {
		t.Run(name, func(t *testing.T) {
			dir := openDir(t)
			content := []byte("prepared\n")
			if err := os.WriteFile(filepath.Join(dir, "pre"), content, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, uid, uid); err != nil {
				t.Fatal(err)
			}
			x := export(t, bin, dir, uid, nil, "sh", "-c", scenario)
			if x.status != 7 {
				t.Errorf("status %d", x.status)
			}
			x.checkActs(t)
			x.checkFiles(t, uid, content)
			x.checkSocket(t)
		})
	}
}

func (x *exported) checkActs(t *testing.T) {
	t.Helper()
	want := []string{
		"sh inode_create f", "sh file_open f", "cat file_open f", "cat file_open pre", "ln inode_link f g",
		"mv inode_rename g h", "rm inode_unlink f", "rm inode_unlink h", "mkdir inode_mkdir d",
		"rmdir inode_rmdir d", "ln inode_symlink s",
	}
	got := x.acts(tsem.InodeCreate, tsem.FileOpen, tsem.InodeLink, tsem.InodeRename, tsem.InodeUnlink,
		tsem.InodeMkdir, tsem.InodeRmdir, tsem.InodeSymlink)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (x *exported) checkFiles(t *testing.T, uid int, content []byte) {
	t.Helper()
	create := x.find(t, "sh", tsem.InodeCreate, "f")
	made := create.Cell.(*tsem.CreateCell)
	if !made.Dentry.Path.Created || !bytes.Equal(made.Dentry.Path.Owner, create.TaskID) || made.Dentry.Path.Instance != 1 {
		t.Errorf("f is created as %+v", made.Dentry.Path)
	}
	if made.Mode != unix.S_IFREG|0o666 || made.Dentry.HasInode || int(made.Dir.UID) != uid {
		t.Errorf("mode %o, inode %v, directory of %d", made.Mode, made.Dentry.HasInode, made.Dir.UID)
	}
	if int(create.COE.FSUID) != uid {
		t.Errorf("created with fsuid %d", create.COE.FSUID)
	}
	again := x.find(t, "cat", tsem.FileOpen, "f").Cell.(*tsem.FileCell).File
	z := sha256.Sum256(nil)
	if !again.Path.Created || !bytes.Equal(again.Path.Owner, create.TaskID) || !bytes.Equal(again.Digest, z[:]) ||
		int(again.Inode.UID) != uid || again.Inode.Mode&0o777 != 0o644 {
		t.Errorf("f is opened again as %+v", again)
	}
	pre := x.find(t, "cat", tsem.FileOpen, "pre").Cell.(*tsem.FileCell).File
	digest := sha256.Sum256(content)
	if pre.Path.Created || !bytes.Equal(pre.Digest, digest[:]) || pre.DigestMissing != "" {
		t.Errorf("pre is opened as %+v", pre)
	}
	unlink := x.find(t, "rm", tsem.InodeUnlink, "h").Cell.(*tsem.RemoveCell)
	if !bytes.Equal(unlink.Dentry.Path.Owner, create.TaskID) {
		t.Error("h, which is f, is removed with another owner than its maker")
	}
	target := x.find(t, "ln", tsem.InodeSymlink, "s").Cell.(*tsem.SymlinkCell)
	if string(target.OldName) != "/x" {
		t.Errorf("the link leads to %q", target.OldName)
	}
}

func (x *exported) checkSocket(t *testing.T) {
	t.Helper()
	var kinds []tsem.Type
	for _, e := range x.events {
		switch c := e.Cell.(type) {
		case *tsem.SocketCreateCell:
			kinds = append(kinds, e.Type)
			if c.Family != unix.AF_INET || c.Type != unix.SOCK_STREAM {
				t.Errorf("socket %+v", c)
			}
		case *tsem.SockAddrCell:
			kinds = append(kinds, e.Type)
			if c.Addr.Family != tsem.AddrInet || c.Addr.Port != 0 || !bytes.Equal(c.Sock.Owner, e.TaskID) || c.Sock.Protocol != unix.IPPROTO_TCP {
				t.Errorf("bind %+v", c)
			}
		case *tsem.ListenCell:
			kinds = append(kinds, e.Type)
			if c.Backlog != 1 {
				t.Errorf("backlog %d", c.Backlog)
			}
		}
	}
	if want := []tsem.Type{tsem.SocketCreate, tsem.SocketBind, tsem.SocketListen}; !slices.Equal(kinds, want) {
		t.Errorf("sockets: %v", kinds)
	}
}

// Many processes at once: each is there with the identity of its program, none
// twice, none of anybody else.
func TestManyProcesses(t *testing.T) {
	bin := program(t)
	const n = 200
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true & i=$((i+1)); done; wait", n)
	x := export(t, bin, openDir(t), os.Geteuid(), nil, "sh", "-c", script)
	runs := make(map[uint64]bool)
	ids := make(map[string]bool)
	for _, e := range x.events {
		if string(e.Process) == "true" {
			runs[e.TNum] = true
			ids[string(e.TaskID)] = true
		}
	}
	if len(runs) != n || len(ids) != 1 {
		t.Errorf("%d tasks ran /bin/true with %d identities, want %d with one", len(runs), len(ids), n)
	}
}

// Names of all kinds of bytes come out as valid JSON and read back as they are.
func TestHostileNames(t *testing.T) {
	bin := program(t)
	dir := openDir(t)
	names := []string{
		`q"uote`, `back\slash`, "line\nfeed", "tab\tcr\r", "ctl\x01\x1f\x7f", "bad\xff\xfeutf8", "sur\xed\xa0\x80rogate",
		"over\xc0\xaflong", "uni\u2028é", strings.Repeat("x", 255), " (deleted)", "{}", `a"b\\"c`,
	}
	x := export(t, bin, dir, os.Geteuid(), nil, append([]string{"touch", "--"}, names...)...)
	if x.status != 0 {
		t.Fatalf("status %d: %s", x.status, x.stderr)
	}
	for _, name := range names {
		x.find(t, "touch", tsem.InodeCreate, name)
		x.find(t, "touch", tsem.FileOpen, name)
	}
}
