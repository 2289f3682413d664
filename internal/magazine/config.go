// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// configName is the configuration of a bundle, within it.
const configName = "config.json"

// maxConfig bounds what is read of a configuration.
const maxConfig = 16 << 20

func readConfig(path string) ([]byte, error) {
	// A FIFO of that name must not hold us up.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it has no config.json (runc spec makes one)")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read its config.json: %w", cause(err))
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.New("its config.json is not a file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read its config.json: %w", cause(err))
	}
	if len(text) > maxConfig {
		return nil, errors.New("its config.json is larger than 16 MiB")
	}
	return text, nil
}

// check looks at what a run needs.
func (b *Bundle) check() error {
	spec, err := decode(b.config)
	if err != nil {
		return err
	}
	switch {
	case spec.Process == nil || len(spec.Process.Args) == 0:
		return errors.New("its config.json names no program (process.args)")
	case spec.Root == nil || spec.Root.Path == "":
		return errors.New("its config.json names no root file system (root.path)")
	}
	b.Terminal = spec.Process.Terminal
	root := b.within(spec.Root.Path)
	st, err := os.Lstat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its root file system %q does not exist", spec.Root.Path)
	case err != nil:
		return fmt.Errorf("cannot look at its root file system %q: %w", spec.Root.Path, cause(err))
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("its root file system %q is a link, which container runtimes refuse", spec.Root.Path)
	case !st.IsDir():
		return fmt.Errorf("its root file system %q is not a folder", spec.Root.Path)
	}
	// The rest shows when the configuration is derived.
	_, _, err = b.Derive(Listener{})
	return err
}

// decode reads a configuration as a container runtime does.
func decode(text []byte) (*specs.Spec, error) {
	var spec specs.Spec
	err := json.Unmarshal(text, &spec)
	if e := (*json.SyntaxError)(nil); errors.As(err, &e) {
		return nil, fmt.Errorf("its config.json is not valid JSON: line %d: %v", line(text, e.Offset), e)
	}
	if e := (*json.UnmarshalTypeError)(nil); errors.As(err, &e) {
		return nil, fmt.Errorf("its config.json is not valid: line %d: %s cannot be of type %s", line(text, e.Offset), where(e.Field), e.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("its config.json is not valid: %s", oneWord(err.Error()))
	}
	return &spec, nil
}

// where names a place in the configuration.
func where(field string) string {
	if field == "" {
		return "the whole"
	}
	return oneWord(field)
}

func line(text []byte, offset int64) int {
	return 1 + bytes.Count(text[:min(int(offset), len(text))], []byte("\n"))
}

// oneWord keeps what a file holds from breaking a message.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// within is a path of the configuration, which may be relative to the bundle.
func (b *Bundle) within(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(b.Dir, path)
}

// Listener is where the calls of interest of a container go.
type Listener struct {
	Path     string // of the socket
	Metadata string // handed over with each listener
	Traps    []Trap
}

// Derive gives the configuration with which the bundle runs from another
// folder, its calls of interest handed to the listener. All else is as the
// bundle has it, members that are not known here included. What cannot be
// watched is told in notices, a line each.
func (b *Bundle) Derive(l Listener) (config []byte, notices []string, err error) {
	top, err := parseObject(b.config)
	if err != nil {
		return nil, nil, err
	}
	for _, change := range []func(object) (object, error){
		b.moveRoot,
		b.moveMounts,
		func(top object) (object, error) {
			top, notices, err = watch(top, l)
			return top, err
		},
	} {
		if top, err = change(top); err != nil {
			return nil, nil, err
		}
	}
	config, err = json.MarshalIndent(top, "", "\t")
	return config, notices, err
}

// Move gives the configuration with which the bundle runs from another folder,
// and nothing else changed.
func (b *Bundle) Move() (config []byte, err error) {
	top, err := parseObject(b.config)
	if err == nil {
		top, err = b.moveRoot(top)
	}
	if err == nil {
		top, err = b.moveMounts(top)
	}
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(top, "", "\t")
}

func (b *Bundle) moveRoot(top object) (object, error) {
	root, err := parseObject(top.get("root"))
	if err != nil {
		return nil, err
	}
	var path string
	if err := json.Unmarshal(root.get("path"), &path); err != nil {
		return nil, errors.New("its config.json names no root file system (root.path)")
	}
	return top.set("root", root.set("path", b.within(path))), nil
}

// moveMounts makes the sources of bind mounts absolute: runtimes take relative
// ones as within the bundle.
func (b *Bundle) moveMounts(top object) (object, error) {
	raw := top.get("mounts")
	if raw == nil {
		return top, nil
	}
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, errors.New("its config.json has mounts that are no list")
	}
	for i := range all {
		mount, err := parseObject(all[i])
		if err != nil {
			return nil, err
		}
		var m specs.Mount
		if err := json.Unmarshal(all[i], &m); err != nil {
			return nil, err
		}
		bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if !bind || m.Source == "" || filepath.IsAbs(m.Source) {
			continue
		}
		if all[i], err = json.Marshal(mount.set("source", b.within(m.Source))); err != nil {
			return nil, err
		}
	}
	return top.set("mounts", all), nil
}
