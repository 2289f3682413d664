// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// runtimeDir is where what concerns this boot is kept.
func runtimeDir() string {
	if os.Geteuid() == 0 {
		return "/run/quixote-export"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "quixote-export")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("quixote-export-%d", os.Geteuid()))
}

// nextContext takes the next number of a context. The numbers begin at 1 with
// each boot and are used once, so that two runs can be told apart: a file
// holds the boot and the number taken last, and its lock orders the takers.
func nextContext(dir, boot string) (uint64, error) {
	if err := ownDir(dir); err != nil {
		return 0, err
	}
	path := filepath.Join(dir, "contexts")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("cannot open the counter of contexts %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return 0, fmt.Errorf("cannot lock the counter of contexts %s: %w", path, err)
	}
	b := make([]byte, 128)
	n, _ := f.ReadAt(b, 0)
	last := uint64(0)
	if then, number, ok := strings.Cut(strings.TrimSpace(string(b[:n])), " "); ok && then == boot {
		last, _ = strconv.ParseUint(number, 10, 64)
	}
	last++
	line := fmt.Sprintf("%s %d\n", boot, last)
	if _, err := f.WriteAt([]byte(line), 0); err != nil {
		return 0, fmt.Errorf("cannot write the counter of contexts %s: %w", path, err)
	}
	return last, f.Truncate(int64(len(line)))
}

// ownDir makes dir, and refuses one that somebody else could have laid out.
func ownDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return fmt.Errorf("cannot make the run-time directory: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("cannot look at the run-time directory %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("the run-time directory %s is not ours alone (remove it, or set XDG_RUNTIME_DIR)", dir)
	}
	return nil
}

// bootID is the kernel's name for this boot.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
