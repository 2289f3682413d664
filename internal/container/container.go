// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package container runs one container of the magazine under the OCI runtime
// runc, and sees to it that nothing of it is left behind.
//
// A container that is run has a folder for as long as it lives, which holds
// what it is run with, and whose lock is the claim to the name. Who has run it
// removes both; if that cannot, somebody who holds the lock as well can do it
// with the Remains. Only when both are killed does something stay: the next run
// of that name finds it.
package container

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Container is a name that is ours to run.
type Container struct {
	Name    string
	dir     string // absolute, without links
	runtime runtime
	lock    *os.File // of the folder: also held by who cleans up after us
	alive   *os.File // the configuration, locked by us alone
}

// Claim takes the name of a container: it makes the folder for it within dir,
// which must be ours alone, and removes what a run that was killed has left.
// path is that of runc. A name that is in use is refused.
func Claim(path, dir, name string, notice func(string)) (*Container, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot find the run-time directory: %w", err)
	}
	c := &Container{Name: name, dir: filepath.Join(dir, folder(name)), runtime: runtime{path}}
	var found bool
	if c.lock, found, err = lockFolder(c.dir); err != nil {
		return nil, err
	}
	st, err := c.runtime.state(name)
	switch {
	case err != nil:
	case st == nil && found:
		err = c.runtime.remove(name) // what a start that was broken off may have left
	case st == nil:
	case st.Bundle != c.dir:
		err = fmt.Errorf("there is a container %q already, which is not ours: end it, or remove it with runc delete", name)
	default:
		notice(fmt.Sprintf("a container %q that an earlier run has left behind is removed", name))
		err = c.runtime.remove(name)
	}
	if err == nil && found {
		err = emptyFolder(c.dir)
	}
	if err != nil {
		c.Abandon()
		return nil, err
	}
	return c, nil
}

// folder is the name of the folder of a container. The address of a socket in
// it must not be long.
func folder(name string) string {
	if len(name) <= 40 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%x", sum[:20])
}

// patience is how long somebody is waited for who removes what a killed run has
// left.
const patience = 3 * time.Second

// lockFolder makes and locks the folder; found tells that it was there.
func lockFolder(dir string) (lock *os.File, found bool, err error) {
	for until := time.Now().Add(patience); ; {
		found = true
		if err := os.Mkdir(dir, 0o700); err == nil {
			found = false
		} else if !errors.Is(err, os.ErrExist) {
			return nil, false, fmt.Errorf("cannot make the folder of the container: %w", err)
		}
		f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has been removed
		}
		if err != nil {
			return nil, false, fmt.Errorf("cannot open the folder of the container: %w", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && still(f, dir) {
			return f, found, nil
		}
		f.Close()
		switch {
		case err == nil:
		case isRun(dir):
			return nil, false, fmt.Errorf("the container is run by another quixote-export (its folder %s is locked)", dir)
		case time.Now().After(until):
			return nil, false, fmt.Errorf("the container is still being removed after a run that was killed (its folder %s is locked)", dir)
		default:
			time.Sleep(20 * time.Millisecond) // nothing tells of a lock that is given up
		}
	}
}

// still tells whether f is what is called dir.
func still(f *os.File, dir string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(dir)
	return err == nil && os.SameFile(held, named)
}

// isRun tells whether who has locked the folder of a container is alive.
func isRun(dir string) bool {
	f, err := os.Open(filepath.Join(dir, configFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return fmt.Errorf("cannot empty the folder of the container: %w", err)
	}
	return nil
}

// Socket is where the listeners of the container are to be received.
func (c *Container) Socket() string { return filepath.Join(c.dir, "listener") }

// Configure writes the configuration that the container is run with.
func (c *Container) Configure(config []byte) error {
	f, err := os.OpenFile(filepath.Join(c.dir, configFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		c.alive = f
		_, err = f.Write(config)
	}
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("cannot write the configuration of the container: %w", err)
	}
	return nil
}

// Names of files in the folder.
const (
	configFile = "config.json"
	pidFile    = "pid"
	logFile    = "log"
)

// Words is the command that runs the container.
func (c *Container) Words() []string {
	return []string{
		"runc", "--log", filepath.Join(c.dir, logFile), "--log-format", "json",
		"run", "--pid-file", filepath.Join(c.dir, pidFile), "--bundle", c.dir, c.Name,
	}
}

// Failure tells why the container could not be run, nil if it was. It is to be
// asked when the runtime has ended.
func (c *Container) Failure() error { return failure(filepath.Join(c.dir, logFile)) }

// Abandon gives up a container that was not started.
func (c *Container) Abandon() {
	os.RemoveAll(c.dir)
	c.unlock()
}

func (c *Container) unlock() {
	c.alive.Close() // which may be nil
	c.lock.Close()
}
