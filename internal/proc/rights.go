// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
)

// Refresh reads the status of t again.
func (l *Lens) Refresh(t *task.Task) error { return t.ReadStatus(l.scratch[:]) }

// ProtectedRegular is the setting fs.protected_regular: 0, 1 or 2.
func (w *World) ProtectedRegular() int { return w.protectedRegular }

// ProtectedHardlinks is the setting fs.protected_hardlinks.
func (w *World) ProtectedHardlinks() bool { return w.protectedHardlinks }

func setting(file string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// DefaultMode tells which permission bits the default access list of dir
// leaves to a new file; false when it has none, and the umask counts.
func (l *Lens) DefaultMode(dir *Object) (mask uint32, ok bool) {
	const (
		userObj, groupObj, maskTag, other = 0x01, 0x04, 0x10, 0x20
		header, entry                     = 4, 8
	)
	path, err := dir.link()
	if err != nil {
		return 0, false
	}
	b := make([]byte, 1024)
	n, err := unix.Getxattr(path, "system.posix_acl_default", b)
	if err != nil || n < header {
		return 0, false
	}
	var group, limit uint32
	limited := false
	for b = b[header:n]; len(b) >= entry; b = b[entry:] {
		perm := uint32(binary.LittleEndian.Uint16(b[2:])) & 7
		switch binary.LittleEndian.Uint16(b) {
		case userObj:
			mask |= perm << 6
		case groupObj:
			group = perm
		case maskTag:
			limit, limited = perm, true
		case other:
			mask |= perm
		}
	}
	if limited {
		group = limit
	}
	return mask | group<<3, true
}

// HasCapabilities tells whether the file o carries capabilities, which a
// change of its content or owner removes.
func (l *Lens) HasCapabilities(o *Object) bool {
	path, err := o.link()
	if err != nil {
		return false
	}
	n, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && n > 0
}

// ReadOnly tells whether o lies on a mount that cannot be written to.
func (o *Object) ReadOnly() bool {
	return o.mayAccess(unix.W_OK) == unix.EROFS
}
