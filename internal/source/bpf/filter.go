// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// A Filter says what of the host is not told of: what one of Exclude holds for,
// and where Only names something of a kind, all of that kind but this. Each is
// the kind, a colon and a value: type:file_open, uid:backup, exe:/usr/bin/find,
// cgroup:/system.slice/cron.service, unit:mosquitto.service.
type Filter struct {
	Exclude, Only []string `json:",omitempty"`
}

// None tells whether everything is told of.
func (f Filter) None() bool { return len(f.Exclude)+len(f.Only) == 0 }

// Equal tells whether two filters are written alike.
func (f Filter) Equal(g Filter) bool {
	return slices.Equal(f.Exclude, g.Exclude) && slices.Equal(f.Only, g.Only)
}

// Kinds of rules in the kernel.
const (
	ruleUID = iota
	ruleExecutable
	ruleCgroup
)

// maxRules is how many the kernel looks at.
const maxRules = 64

// rule is a struct rule of the programs.
type rule struct {
	Kind, Only uint32
	ID         uint64
	At, _      uint32
}

func setRules(spec *ebpf.CollectionSpec, rules []rule) error {
	if len(rules) > maxRules {
		return fmt.Errorf("--exclude and --only name %d users, executables and groups: %d are possible", len(rules), maxRules)
	}
	var all [maxRules]rule
	copy(all[:], rules)
	if err := spec.Variables["rules"].Set(all[:]); err != nil {
		return fmt.Errorf("cannot set the rules in the BPF programs: %w", err)
	}
	if err := spec.Variables["rules_used"].Set(uint32(len(rules))); err != nil {
		return fmt.Errorf("cannot set the rules in the BPF programs: %w", err)
	}
	return nil
}

// CheckRule tells whether a word is one of a filter, without looking at the host.
func CheckRule(word string) error {
	kind, value, found := strings.Cut(word, ":")
	if !found || value == "" {
		return fmt.Errorf("%q is no rule: write KIND:VALUE, with a kind of type, uid, exe, cgroup, unit", word)
	}
	switch kind {
	case "type":
		if t, ok := tsem.TypeByName(value); !ok || t.Info().Export == tsem.NotExported {
			return fmt.Errorf("%q is no event type (doc/coverage.md lists them)", value)
		}
	case "exe", "cgroup":
		if !filepath.IsAbs(value) {
			return fmt.Errorf("%q needs a path that begins with /", word)
		}
	case "uid", "unit":
	default:
		return fmt.Errorf("%q is no kind of rule: choose one of type, uid, exe, cgroup, unit", kind)
	}
	return nil
}

// Narrow is m without the event types that are not told of.
func (f Filter) Narrow(m *model.Model) *model.Model {
	var without, with []tsem.Type
	for _, word := range f.Exclude {
		if t, ok := ofType(word); ok {
			without = append(without, t)
		}
	}
	for _, word := range f.Only {
		if t, ok := ofType(word); ok {
			with = append(with, t)
		}
	}
	if len(without)+len(with) == 0 {
		return m
	}
	return m.Where(func(t tsem.Type) bool {
		return !slices.Contains(without, t) && (len(with) == 0 || slices.Contains(with, t))
	})
}

func ofType(word string) (tsem.Type, bool) {
	name, found := strings.CutPrefix(word, "type:")
	if !found {
		return 0, false
	}
	return tsem.TypeByName(name)
}

// rules finds on this host what the filter names.
func (f Filter) rules() (rules []rule, err error) {
	for i, words := range [][]string{f.Exclude, f.Only} {
		flag := []string{"--exclude", "--only"}[i]
		for _, word := range words {
			kind, value, _ := strings.Cut(word, ":")
			if kind == "type" {
				continue
			}
			r, err := find(kind, value)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", flag, word, err)
			}
			r.Only = uint32(i)
			rules = append(rules, r)
		}
	}
	return rules, nil
}

func find(kind, value string) (rule, error) {
	switch kind {
	case "uid":
		id, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			u, err := user.Lookup(value)
			if err != nil {
				return rule{}, errors.New("there is no such user")
			}
			id, _ = strconv.ParseUint(u.Uid, 10, 32)
		}
		return rule{Kind: ruleUID, ID: id}, nil
	case "exe":
		return executable(value)
	}
	groups, err := ourGroups()
	if err != nil {
		return rule{}, err
	}
	if kind == "unit" {
		if value, err = groups.unit(value); err != nil {
			return rule{}, err
		}
	}
	return groups.rule(value)
}

// executable finds the inode of a file, on the device that the kernel has it on.
func executable(path string) (rule, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_INO|unix.STATX_TYPE|unix.STATX_MNT_ID, &st); err != nil {
		return rule{}, fmt.Errorf("cannot look at the executable: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return rule{}, errors.New("it is no file")
	}
	major, minor := st.Dev_major, st.Dev_minor
	if f, err := os.Open("/proc/self/mountinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > 2 && fields[0] == strconv.FormatUint(st.Mnt_id, 10) {
				fmt.Sscanf(fields[2], "%d:%d", &major, &minor)
			}
		}
	}
	return rule{Kind: ruleExecutable, ID: st.Ino, At: major<<minorBits | minor}, nil
}
