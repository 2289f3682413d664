// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the kernel's limit for symbolic links on one path.
const maxLinks = 40

// Check says, without touching anything, why a path could not be written
// later. It cannot promise that it can be: the first Write may still fail.
// The error is one line that names the path and what to do.
func Check(path string) error {
	if err := check(path); err != nil {
		return (&Sink{path: path}).fail(err)
	}
	return nil
}

// IsStdout reports whether a path means the standard output of this process:
// "-", or one of its names under /dev and /proc.
func IsStdout(path string) bool {
	n, ok := descriptor(path)
	return path == Stdout || ok && n == 1
}

func check(path string) error {
	if path == Stdout {
		return checkDescriptor(1)
	}
	if n, ok := descriptor(path); ok {
		return checkDescriptor(n)
	}
	if path == "" {
		return errors.New("the name is empty")
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return checkNew(path)
	}
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return errors.New("it is a folder (name a file in it)")
	case unix.S_IFSOCK:
		return errors.New("it is a socket (name a file, FIFO or device)")
	}
	return writable(path, unix.W_OK, "it is not writable for this user (choose another file, or change its mode)")
}

// checkNew checks a path that does not exist: the folder it would be made in
// must, and for a link that leads nowhere the folder of its target.
func checkNew(path string) error {
	for range maxLinks {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = parent(path) + "/" + target
		}
		path = target
	}
	if strings.HasSuffix(path, "/") {
		return errors.New("it names a folder (name a file in it)")
	}
	dir := parent(path)
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the folder %s does not exist (create it first)", shown(dir))
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not below a folder", shown(dir))
	case err != nil:
		return bare(err)
	case !st.IsDir():
		return fmt.Errorf("%s is not a folder", shown(dir))
	}
	return writable(dir, unix.W_OK|unix.X_OK,
		fmt.Sprintf("the folder %s is not writable for this user (choose another, or change its mode)", shown(dir)))
}

// parent returns the folder of a path. Unlike filepath.Dir it leaves ".."
// alone, which means something else behind a link.
func parent(path string) string {
	switch i := strings.LastIndexByte(path, '/'); i {
	case -1:
		return "."
	case 0:
		return "/"
	default:
		return path[:i]
	}
}

func writable(path string, mode uint32, denied string) error {
	err := unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
	switch {
	case errors.Is(err, unix.EACCES):
		return errors.New(denied)
	case errors.Is(err, unix.EROFS):
		return errors.New("its file system is mounted read-only (choose another)")
	case errors.Is(err, unix.ETXTBSY):
		return errors.New("it is a program that is running")
	}
	return err
}

// descriptor returns the number that a path like /dev/fd/3 stands for. Such
// an output is the open file itself, as in the shell: opening it anew would
// empty it, and write from its beginning.
func descriptor(path string) (int, bool) {
	switch path {
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if digits, found := strings.CutPrefix(path, dir); found {
			n, err := strconv.ParseUint(digits, 10, 31)
			return int(n), err == nil
		}
	}
	return 0, false
}

func checkDescriptor(n int) error {
	var st unix.Stat_t
	err := unix.Fstat(n, &st)
	// Descriptors without a file type are event queues of this program's own.
	if errors.Is(err, unix.EBADF) || err == nil && st.Mode&unix.S_IFMT == 0 {
		return fmt.Errorf("descriptor %d is not open (open it in the shell: %d> FILE)", n, n)
	}
	if err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return fmt.Errorf("descriptor %d is open for reading only (open it in the shell: %d> FILE)", n, n)
	}
	return nil
}
