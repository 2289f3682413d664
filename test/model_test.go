// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// varied does something of every kind, some of it as nobody: it makes a program
// and runs it, links, removes, connects, signals, maps.
const varied = `
cp /bin/true ./prog; chmod 0644 ./prog; cat ./prog >/dev/null; chmod 0755 ./prog; ./prog; cat ./prog >/dev/null
echo '#!/bin/sh
exec ./prog' > script; chmod 0755 script; ./script
mkdir d; mv script d/; ln -s d link; cat link/script >/dev/null; rm -r d; rmdir nothing 2>/dev/null
chmod 0777 .; setpriv --reuid=65534 --regid=65534 --clear-groups sh -c './prog; cat ./prog >/dev/null; echo > mine; rm mine'
/usr/bin/python3 -SEc '
import socket, mmap, ctypes
a, b = socket.socketpair(); a.send(b"x"); b.recv(1)
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); c = socket.create_connection(s.getsockname()); s.accept()
u = socket.socket(socket.AF_UNIX); u.bind("sock"); u.listen(); socket.socket(socket.AF_UNIX).connect("sock")
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); n.sendto(bytes(16), (0, 0))
f = open("prog", "rb"); mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ|mmap.PROT_EXEC)
mmap.mmap(-1, 4096, prot=mmap.PROT_READ|mmap.PROT_EXEC)'
kill -0 $$; trap : USR1; kill -USR1 $$`

// Under each model come those events of a run, with the same identities, owners
// and instances, that the model keeps of a run under the default; their numbers
// have no gaps and nothing is lost.
func TestModels(t *testing.T) {
	needRoot(t)
	t.Parallel()
	need(t, "setpriv", "/usr/bin/python3")
	isRoot := func(e *tsem.Event) bool { return e.COE.EUID == 0 }
	regular := func(f *tsem.File) bool { return f.Inode.Mode&unix.S_IFMT == unix.S_IFREG }
	code := func(e *tsem.Event) bool {
		c, ok := e.Cell.(*tsem.MmapCell)
		return ok && c.HasFile && c.Prot&unix.PROT_EXEC != 0
	}
	family := func(names ...string) func(*tsem.Event) bool {
		return func(e *tsem.Event) bool { return slices.Contains(names, e.Type.Info().Family) }
	}
	all := variedRun(t)
	for _, m := range []struct {
		name  string
		keeps func(*tsem.Event) bool
	}{
		{"exec", func(e *tsem.Event) bool {
			return code(e) || e.Type == tsem.FileOpen && e.Cell.(*tsem.FileCell).File.Flags == 0x8020
		}},
		{"files", family("file", "inode", "mmap")},
		{"network", family("socket", "unix", "netlink", "tun")},
		{"tsem-integrity", func(e *tsem.Event) bool {
			if !isRoot(e) {
				return false
			}
			if e.Type == tsem.FileOpen {
				f := &e.Cell.(*tsem.FileCell).File
				return regular(f) && f.Inode.Mode&0o111 != 0
			}
			return code(e)
		}},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			left := 0
			for _, e := range all.events {
				if m.keeps(e) {
					want = append(want, bare(all, e))
				} else {
					left++
				}
			}
			if len(want) < 10 || left < 10 {
				t.Fatalf("of the events under the default %d are wanted and %d are not", len(want), left)
			}
			s := variedRun(t, "-M", m.name)
			var got []string
			for i, e := range s.events {
				if e.Number != uint64(i+1) {
					t.Fatalf("event %d has the number %d", i+1, e.Number)
				}
				got = append(got, bare(s, e))
			}
			if s.end.Lost != "0" || len(s.lost) > 0 {
				t.Errorf("%s are lost", s.end.Lost)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d events, %d are wanted; %s", len(got), len(want), firstDifference(got, want))
			}
		})
	}
}

// The default has a name, too.
func TestModelByDefault(t *testing.T) {
	t.Parallel()
	unnamed, named := run(t, options{}, "/bin/ls", "/"), run(t, options{flags: []string{"-M", "default"}}, "/bin/ls", "/")
	if len(named.events) != len(unnamed.events) {
		t.Errorf("%d events, %d without -M", len(named.events), len(unnamed.events))
	}
}

// variedRun runs varied, in a folder whose path is always the same: identities
// depend on the paths of programs.
func variedRun(t *testing.T, flags ...string) *stream {
	t.Helper()
	return run(t, options{flags: flags, noisy: true}, "unshare", "-m", "sh", "-c",
		`mount --bind . /mnt && cd /mnt && exec sh -c "$1"`, "sh", varied)
}

// passing is what is not the same in two runs.
var passing = regexp.MustCompile(`"(ts|pid|number|context|portid|port)": "[^"]*"`)

func bare(s *stream, e *tsem.Event) string {
	line := bytes.ReplaceAll(e.AppendJSON(nil), []byte(s.dir), []byte("DIR"))
	return string(passing.ReplaceAll(line, nil))
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("number %d:\n got %s\nwant %s", i+1, got[i], want[i])
		}
	}
	return "one has more at its end"
}

// A name that no source knows is told with those that are known.
func TestModelThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"auto", "seccomp"} {
		o := options{flags: []string{"-M", "nosuch", "--source", source}}
		c := command(t, &o, "true")
		var errs bytes.Buffer
		c.Stderr = &errs
		if c.Run(); c.ProcessState.ExitCode() != 125 || !strings.Contains(errs.String(), `no model "nosuch"`) ||
			!strings.Contains(errs.String(), "default, exec, files, network, tsem-integrity") {
			t.Errorf("%s: status %d: %s", source, c.ProcessState.ExitCode(), &errs)
		}
		if _, err := os.Stat(o.output); err == nil {
			t.Error("a file has been made")
		}
	}
}
