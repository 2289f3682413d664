// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package magazine knows the folder of OCI bundles: which there are, what is
// wrong with them, and the configuration that a bundle is run with when its
// events are exported. It changes nothing in the folder.
package magazine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Entry is one name in the magazine, and what is wrong with its bundle, nil if
// nothing is.
type Entry struct {
	Name    string
	Problem error
}

// ErrNone means that there is no magazine.
var ErrNone = errors.New("there is no magazine")

// List looks at every bundle of the magazine dir, in the order of the names.
// Names that begin with a dot are left out.
func List(dir string) ([]Entry, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the magazine %s: %w", dir, cause(err))
	}
	var entries []Entry
	for _, e := range names {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		_, err := open(dir, e.Name())
		entries = append(entries, Entry{e.Name(), err})
	}
	return entries, nil
}

// Bundle is a bundle that can be run, as far as its folder tells.
type Bundle struct {
	Name     string
	Dir      string // absolute, without links
	Terminal bool   // its process wants a terminal
	config   []byte
}

// Open checks the bundle of that name. The error is one line that names it.
func Open(dir, name string) (*Bundle, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no magazine %s (--magazine names another folder)", dir)
	}
	b, err := open(dir, name)
	if err != nil {
		return nil, fmt.Errorf("cannot run the bundle %q of %s: %w", name, dir, err)
	}
	return b, nil
}

// names is what every container runtime takes as the name of a container.
var names = regexp.MustCompile(`^[A-Za-z0-9_+.][A-Za-z0-9_+.-]*$`)

func open(dir, name string) (*Bundle, error) {
	if !names.MatchString(name) || name == "." || name == ".." {
		return nil, errors.New("its name is none for a container (letters, digits and _ + . are, and - but not at its beginning)")
	}
	path := filepath.Join(dir, name)
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			return nil, errors.New("it is a link to something that does not exist")
		}
		return nil, errors.New("there is no such bundle (-S lists them)")
	case err != nil:
		return nil, cause(err)
	case !st.IsDir():
		return nil, errors.New("it is not a folder")
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, cause(err)
	}
	b := &Bundle{Name: name, Dir: path}
	if b.config, err = readConfig(filepath.Join(path, configName)); err != nil {
		return nil, err
	}
	return b, b.check()
}

// cause is an error without the operation and the path, which the line that it
// becomes part of names itself.
func cause(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
