// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// onPath makes an act of a call on one path in the folder, with numbers behind.
func onPath(call uintptr, name string, rest ...uintptr) func(string, int) error {
	return func(dir string, _ int) error {
		b := append([]byte(dir+"/"+name), 0)
		args := [3]uintptr{addr(b)}
		copy(args[1:], rest)
		_, _, errno := unix.Syscall(call, args[0], args[1], args[2])
		return zero(errno)
	}
}

// onPaths is onPath for two paths. One that begins with a slash stands for
// itself.
func onPaths(call uintptr, first, second string) func(string, int) error {
	return func(dir string, _ int) error {
		if first[0] != '/' {
			first = dir + "/" + first
		}
		a, b := append([]byte(first), 0), append([]byte(dir+"/"+second), 0)
		_, _, errno := unix.Syscall(call, addr(a), addr(b), 0)
		return zero(errno)
	}
}

// onBuffer is onPath with a buffer of n zero bytes.
func onBuffer(call uintptr, name string, n int) func(string, int) error {
	return func(dir string, _ int) error {
		buf := make([]byte, n)
		return onPath(call, name, addr(buf))(dir, -1)
	}
}

// oldTables are the calls that newer machines do without.
var oldTables = map[string][]act{"old": {
	{name: "open", prepare: withFile, do: onPath(unix.SYS_OPEN, "f", unix.O_RDWR), want: opensF(unix.O_RDWR)},
	{name: "open a new file", do: onPath(unix.SYS_OPEN, "n", unix.O_RDWR|unix.O_CREAT, 0o640), want: makesAndOpens("n", unix.O_CREAT|unix.O_RDWR, 0o640, 0o640)},
	{name: "creat", do: onPath(unix.SYS_CREAT, "n", 0o666), want: makesAndOpens("n", unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, 0o666, 0o644)},
	{name: "creat over a file", prepare: withFile, do: onPath(unix.SYS_CREAT, "f", 0o666), want: func(s *scene) []record {
		return []record{
			opened(s.file("f", largeFile|unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC)),
			{tsem.InodeSetattr, &tsem.SetattrCell{Dentry: s.dentry("f"), Valid: validSize | validMtime | validCtime | validFile | 1<<15}},
		}
	}},
	{name: "mkdir", do: onPath(unix.SYS_MKDIR, "d", 0o777), want: made("d", 0o777)},
	{name: "rmdir", prepare: func(s *scene) { s.do(os.Mkdir(s.path("d"), 0o755)) }, do: onPath(unix.SYS_RMDIR, "d"), want: func(s *scene) []record { return removed(tsem.InodeRmdir, s, "d") }},
	{name: "unlink", prepare: withFile, do: onPath(unix.SYS_UNLINK, "f"), want: func(s *scene) []record { return removed(tsem.InodeUnlink, s, "f") }},
	{name: "mknod", do: onPath(unix.SYS_MKNOD, "c", unix.S_IFCHR|0o600, 0x105), want: node("c", unix.S_IFCHR|0o600, 1, 5)},
	{name: "symlink", do: onPaths(unix.SYS_SYMLINK, "/x", "l"), want: linked("l", "/x")},
	{name: "link", prepare: withFile, do: onPaths(unix.SYS_LINK, "f", "g"), want: linkFG("f")},
	{name: "link of a link", prepare: withLink, do: onPaths(unix.SYS_LINK, "l", "g"), want: linkFG("l")},
	{name: "rename", prepare: withFile, do: onPaths(unix.SYS_RENAME, "f", "g"), want: renamed("f", "g")},
	{name: "chmod", prepare: withFile, do: onPath(unix.SYS_CHMOD, "f", 0o600), want: changed("f", tsem.SetattrCell{Valid: validMode | validCtime, Mode: unix.S_IFREG | 0o600})},
	{name: "chown", prepare: withLink, do: onPath(unix.SYS_CHOWN, "l", 1, 2), want: changed("f", tsem.SetattrCell{Valid: validUID | validGID | validCtime | validKillSUID, UID: 1, GID: 2})},
	{name: "lchown", prepare: withLink, do: onPath(unix.SYS_LCHOWN, "l", 1, 2), want: changed("l", tsem.SetattrCell{Valid: validUID | validGID | validCtime | validKillSUID, UID: 1, GID: 2})},
	{name: "utime of now", prepare: withFile, do: onPath(unix.SYS_UTIME, "f"), want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validTouch})},
	{name: "utime", prepare: withFile, do: onBuffer(unix.SYS_UTIME, "f", 16), want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validAtimeSet | validMtimeSet | validTimesSet})},
	{name: "utimes", prepare: withFile, do: onBuffer(unix.SYS_UTIMES, "f", 32), want: changed("f", tsem.SetattrCell{Valid: validCtime | validMtime | validAtime | validAtimeSet | validMtimeSet | validTimesSet})},
	{name: "stat", prepare: withLink, do: onBuffer(unix.SYS_STAT, "l", 256), want: looked("f")},
	{name: "lstat", prepare: withLink, do: onBuffer(unix.SYS_LSTAT, "l", 256), want: looked("l")},
	{name: "fork", do: func(dir string, _ int) error {
		pid, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		if errno == 0 && pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		var status unix.WaitStatus
		_, err := unix.Wait4(int(pid), &status, 0, nil)
		return err
	}, want: none},
}}

func TestOldCalls(t *testing.T) {
	needRoot(t)
	t.Parallel()
	performed(t, "old", options{})
}
