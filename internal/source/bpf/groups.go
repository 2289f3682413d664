// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// groups is the hierarchy of control groups of version 2: most hosts have it in
// /sys/fs/cgroup, and those that use version 1 besides in a folder of that.
type groups struct {
	point string // where it is mounted
	depth int    // of the group that is mounted there
}

func ourGroups() (groups, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return groups{}, fmt.Errorf("cannot look for control groups: %w", err)
	}
	g, found := findGroups(string(table))
	if !found {
		return groups{}, errors.New("no control groups of version 2 are mounted (mount -t cgroup2 none DIR)")
	}
	return g, nil
}

// findGroups finds it in a table of mounts: the whole of it, if that is there.
func findGroups(table string) (g groups, found bool) {
	for line := range strings.Lines(table) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		depth := depthOf(fields[3])
		if !found || depth < g.depth {
			g, found = groups{unescaped.Replace(fields[4]), depth}, true
		}
	}
	return g, found
}

// unescaped undoes what the kernel writes for what would part fields and lines.
var unescaped = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// depthOf counts the names of a path that is absolute.
func depthOf(path string) int {
	if path = strings.Trim(path, "/"); path == "" {
		return 0
	}
	return strings.Count(path, "/") + 1
}

// rule finds the number of a group, and how deep it lies.
func (g groups) rule(name string) (rule, error) {
	name = filepath.Join("/", name)
	path := filepath.Join(g.point, name)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return rule{}, fmt.Errorf("cannot look at the control group %s: %w", path, err)
	}
	return rule{Kind: ruleCgroup, ID: st.Ino, At: uint32(g.depth + depthOf(name))}, nil
}

// unit finds the control group of a systemd unit that runs.
func (g groups) unit(unit string) (name string, err error) {
	err = filepath.WalkDir(g.point, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
			return nil
		case d.Name() == unit:
			name = strings.TrimPrefix(path, g.point)
			return fs.SkipAll
		}
		return nil
	})
	if err != nil || name == "" {
		return "", fmt.Errorf("no such unit runs (there is no %s below %s): start it, or name its program with exe:PATH", unit, g.point)
	}
	return name, nil
}
