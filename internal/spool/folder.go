// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked tells that another process, or another Queue, has the folder.
var ErrLocked = errors.New("it is in use by another run")

// A folder is an open and locked folder. The lock is on the folder itself: it
// ends with the process, and an empty queue has no file to leave.
type folder struct {
	path string
	fd   int
}

// openFolder makes the folder if there is none, and locks it.
func openFolder(path string) (*folder, error) {
	for {
		if err := makeFolder(path); err != nil {
			return nil, err
		}
		fd, err := open(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err == unix.ENOENT {
			continue // its last owner has just removed it
		}
		if err != nil {
			return nil, fmt.Errorf("cannot open the spool %s: %w", path, err)
		}
		d := &folder{path, fd}
		gone, err := d.lock()
		if err == nil && !gone {
			return d, nil
		}
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
	}
}

func makeFolder(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot make the folder of the spool: %w (name another with --spool)", err)
	}
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot make the spool: %w (name another with --spool)", err)
	}
	// The folder has to be there after a power failure, or its files are not.
	return syncPath(filepath.Dir(path))
}

// lock locks the folder; gone tells that it was removed before that.
func (d *folder) lock() (gone bool, err error) {
	err = retry(func() error { return unix.Flock(d.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return false, fmt.Errorf("cannot lock the spool %s: %w", d.path, ErrLocked)
	}
	if err != nil {
		return false, fmt.Errorf("cannot lock the spool %s: %w", d.path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return false, fmt.Errorf("cannot look at the spool %s: %w", d.path, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return false, fmt.Errorf("the spool %s is not ours alone: others own it or may write to it (chown and chmod 700, or name another with --spool)", d.path)
	}
	return st.Nlink == 0, nil
}

// names lists the folder.
func (d *folder) names() ([]string, error) {
	fd, err := open(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, fmt.Errorf("cannot list the spool %s: %w", d.path, err)
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list the spool: %w", err)
	}
	return names, nil
}

// size returns the length of a file in the folder.
func (d *folder) size(name string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, d.fail("look at", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, d.fail("use", name, errors.New("it is not a file"))
	}
	return st.Size, nil
}

// open opens a file in the folder.
func (d *folder) open(name string, flags int) (*file, error) {
	fd, err := open(d.fd, name, flags|unix.O_NOFOLLOW)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(d.path, name))
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, d.fail("open", name, err)
	}
	return &file{f, conn}, nil
}

// remove removes a file of the folder that nobody needs. It may be gone.
func (d *folder) remove(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil && err != unix.ENOENT {
		return d.fail("remove", name, err)
	}
	return nil
}

// sync returns when the names in the folder are on disk.
func (d *folder) sync() error {
	if err := retry(func() error { return unix.Fsync(d.fd) }); err != nil {
		return fmt.Errorf("cannot sync the spool %s: %w", d.path, err)
	}
	return nil
}

// close gives the folder back, and with remove takes it away if it is empty.
func (d *folder) close(remove bool) {
	if remove {
		// While it is locked: who opens it after that sees that it is gone.
		// Where it is not empty it holds what is not ours.
		unix.Rmdir(d.path)
	}
	unix.Close(d.fd)
}

func (d *folder) fail(what, name string, err error) error {
	return fmt.Errorf("cannot %s %s: %w", what, filepath.Join(d.path, name), err)
}

func open(dir int, path string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0o600)
		return err
	})
	return fd, err
}

func syncPath(path string) error {
	fd, err := open(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("cannot open the folder of the spool %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := retry(func() error { return unix.Fsync(fd) }); err != nil {
		return fmt.Errorf("cannot sync the folder of the spool %s: %w", path, err)
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
