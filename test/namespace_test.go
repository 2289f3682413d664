// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// Numbers of tasks in a pid namespace of the workload's own are understood, in
// calls and in /proc.
func TestPIDNamespace(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "unshare", "cat")
	dir := openDir(t)
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{dir: dir, noisy: true}, "unshare", "-pf", "--mount-proc", "sh", "-c",
		`cat /proc/self/cwd/f; cat /proc/$$/cwd/f; sleep 100 & kill -TERM $!; wait; kill -0 1; kill -0 999; exec 3< f; cat /dev/fd/3 /proc/self/fd/3`)
	opens := s.opens(filepath.Join(dir, "f"))
	if len(opens) != 5 {
		t.Errorf("f is opened %d times, want 5", len(opens))
	}
	kills := s.of(tsem.TaskKill)
	var sent []uint32
	for _, e := range kills {
		c := e.Cell.(*tsem.KillCell)
		sent = append(sent, c.Sig)
		if c.CrossNS != 0 || bytes.Equal(c.Target, make([]byte, 32)) {
			t.Errorf("signal %d goes to %x, cross_ns %d", c.Sig, c.Target, c.CrossNS)
		}
	}
	if len(sent) != 2 || sent[0] != 15 || sent[1] != 0 {
		t.Errorf("signals: %v", sent)
	}
	if e := kills[len(kills)-1]; !bytes.Equal(e.Cell.(*tsem.KillCell).Target, e.TaskID) {
		t.Error("1 is not the shell itself")
	}
}

// A file that somebody else opens while its maker has not yet made another call
// is known as the maker's; one that replaces it by name is not.
func TestOwnersOfFiles(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	if err := os.WriteFile(filepath.Join(dir, "other"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := run(t, options{dir: dir}, "sh", "-c", `
		echo > a; cat a; mv a b; cat b; rm b; cp other a; cat a; rm a; echo > a; cat a
		mkdir d; echo > d/x; echo > d/y; mv d e; cat e/y; echo > e/z; cat e/z
		mv other a; cat a; ln e/x hard; cat hard; : > c; cat c; : > c; cat c; echo >> c; cat c`)
	type seen struct {
		path     string
		instance uint64
	}
	var got []seen
	for _, e := range s.by("cat") {
		if c, ok := e.Cell.(*tsem.FileCell); ok && e.Type == tsem.FileOpen && bytes.HasPrefix(c.File.Path.Pathname, []byte(dir)) {
			got = append(got, seen{string(c.File.Path.Pathname[len(dir)+1:]), c.File.Path.Instance})
		}
	}
	// Instances count what a program has made in a folder: cp and mkdir are
	// others than the shell.
	want := []seen{{"a", 1}, {"b", 1}, {"a", 1}, {"a", 2}, {"e/y", 2}, {"e/z", 3}, {"a", 0}, {"hard", 1}, {"c", 3}, {"c", 3}, {"c", 3}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s has the instance %d, want %s with %d", got[i].path, got[i].instance, want[i].path, want[i].instance)
		}
	}
}

// Sockets that accept makes have no owner; those that are inherited keep it.
func TestOwnersOfSockets(t *testing.T) {
	t.Parallel()
	need(t, "/usr/bin/python3")
	s := run(t, options{}, "/usr/bin/python3", "-B", "-c", `
import os, socket
l = socket.create_server(("127.0.0.1", 0))
c = socket.create_connection(l.getsockname())
a, _ = l.accept()
a.shutdown(socket.SHUT_WR)
pid = os.fork()
if pid == 0:
    c.shutdown(socket.SHUT_WR)
    os._exit(0)
os.waitpid(pid, 0)
s, t = socket.socketpair()
s.shutdown(socket.SHUT_RDWR)
t.shutdown(socket.SHUT_RDWR)
`)
	var owned []bool
	for _, e := range s.of(tsem.SocketShutdown) {
		c := e.Cell.(*tsem.ShutdownCell)
		owned = append(owned, bytes.Equal(c.Sock.Owner, s.algorithm().Zero()) == false)
		if c.Sock.Family != unix.AF_INET && c.Sock.Family != unix.AF_UNIX || c.Sock.Type != unix.SOCK_STREAM {
			t.Errorf("%+v", c.Sock)
		}
	}
	if len(owned) != 4 || owned[0] || !owned[1] || !owned[2] || !owned[3] {
		t.Errorf("sockets with an owner: %v", owned)
	}
}
