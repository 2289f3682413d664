// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"quixote-export/internal/session"
)

// A flag is one row of the table of flags: all there is to know about it but
// its help text.
type flag struct {
	short byte   // 0 when there is none
	long  string // without the dashes
	arg   string // what the value is, for messages; "" when there is none
	set   func(s *settings, value string) error
}

// An action is what the command is to do.
type action uint8

const (
	actionRun action = iota
	actionHelp
	actionVersion
	actionSources
)

// settings are what the command line says.
type settings struct {
	plan   *session.Plan
	action action
	given  []given // in order
}

// given is a flag as it was written.
type given struct {
	*flag
	written string
}

// A parser goes through the words of a command line. The rules are those of
// getopt_long, without its surprises: no abbreviated names, no value that
// looks like a flag unless it is attached, no value flag twice, no words
// between the flags.
type parser struct {
	table []flag
	args  []string // not yet looked at
	seen  map[string]bool
	settings
}

func parse(table []flag, args []string) (*settings, error) {
	plan, err := session.NewPlan()
	if err != nil {
		return nil, err
	}
	p := &parser{table: table, args: args, seen: map[string]bool{}, settings: settings{plan: plan}}
	for len(p.args) > 0 && p.action != actionHelp && p.action != actionVersion {
		word := p.args[0]
		p.args = p.args[1:]
		var err error
		switch {
		case word == "--":
			p.plan.Command, p.args = p.args, nil
		case strings.HasPrefix(word, "--"):
			err = p.long(word)
		case len(word) > 1 && word[0] == '-':
			err = p.bundle(word)
		default:
			err = fmt.Errorf("unexpected word %q: a command goes behind -- (quixote-export -X -o FILE -- ls -l)", word)
		}
		if err != nil {
			return nil, err
		}
	}
	other := func(g given) bool { return g.long != "sources" && g.long != "securityfs" }
	if p.action == actionSources && (slices.ContainsFunc(p.given, other) || len(p.plan.Command) > 0) {
		return nil, fmt.Errorf("--sources stands alone: leave out the rest")
	}
	for _, check := range []func(*settings) error{checkDrain, checkCollector} {
		if err := check(&p.settings); err != nil && p.action == actionRun {
			return nil, err
		}
	}
	return &p.settings, nil
}

// long handles --name, --name=value and --name value.
func (p *parser) long(word string) error {
	name, value, attached := strings.Cut(word[2:], "=")
	f := p.find(func(f *flag) bool { return f.long == name })
	if f == nil {
		return fmt.Errorf("unknown flag %s (%s)", shown("--"+name), p.suggest(name))
	}
	written := "--" + name
	if attached && f.arg == "" {
		return fmt.Errorf("%s takes no value", written)
	}
	if !attached {
		return p.take(f, written)
	}
	return p.apply(f, written, value)
}

// bundle handles -X, -Xa, -wdemo and -w demo.
func (p *parser) bundle(word string) error {
	for i := 1; i < len(word); i++ {
		f := p.find(func(f *flag) bool { return f.short == word[i] })
		if f == nil {
			r, _ := utf8.DecodeRuneInString(word[i:])
			if i == 1 && len(word) == 1+utf8.RuneLen(r) {
				return fmt.Errorf("unknown flag %s (see --help)", shown("-"+string(r)))
			}
			return fmt.Errorf("unknown flag %s in %s (see --help)", shown("-"+string(r)), shown(word))
		}
		written := "-" + string(word[i])
		rest := word[i+1:]
		if f.arg == "" || rest == "" {
			if err := p.take(f, written); err != nil {
				return err
			}
			continue
		}
		if rest[0] == '=' {
			return fmt.Errorf("%s: write %s %s or --%s=%s", shown(word), written, shown(rest[1:]), f.long, shown(rest[1:]))
		}
		return p.apply(f, written, rest)
	}
	return nil
}

// take applies a flag whose value, if it has one, is the next word.
func (p *parser) take(f *flag, written string) error {
	if f.arg == "" {
		return p.apply(f, written, "")
	}
	hint := ""
	if written == "-h" {
		hint = "; for help: --help"
	}
	if len(p.args) == 0 {
		return fmt.Errorf("%s needs a value: %s%s", written, f.arg, hint)
	}
	value := p.args[0]
	if len(value) > 1 && value[0] == '-' {
		return fmt.Errorf("%s needs a value: %s, and %s looks like a flag (if it is meant: --%s=%s)%s",
			written, f.arg, shown(value), f.long, shown(value), hint)
	}
	p.args = p.args[1:]
	return p.apply(f, written, value)
}

func (p *parser) apply(f *flag, written, value string) error {
	if f.arg != "" && p.seen[f.long] {
		return fmt.Errorf("%s is given twice: choose one value", written)
	}
	if f.arg != "" && value == "" {
		return fmt.Errorf("%s needs a value: %s, and not an empty word", written, f.arg)
	}
	p.seen[f.long] = true
	p.given = append(p.given, given{f, written})
	if slices.Contains(brokerFlags, f.long) {
		p.plan.MQTT.Given = append(p.plan.MQTT.Given, written)
	}
	if err := f.set(&p.settings, value); err != nil {
		if f.arg == "" {
			return err
		}
		if errors.As(err, new(hidden)) {
			return fmt.Errorf("%s: %w", written, err)
		}
		return fmt.Errorf("%s %s: %w", written, shown(value), err)
	}
	return nil
}

func (p *parser) find(match func(*flag) bool) *flag {
	for i := range p.table {
		if match(&p.table[i]) {
			return &p.table[i]
		}
	}
	return nil
}

// suggest names the one flag that an unknown name is the beginning of.
func (p *parser) suggest(name string) string {
	var found []string
	for _, f := range p.table {
		if name != "" && strings.HasPrefix(f.long, name) {
			found = append(found, "--"+f.long)
		}
	}
	if len(found) == 0 {
		return "see --help"
	}
	return "did you mean " + strings.Join(found, " or ") + "?"
}

// shown is a word as a message shows it: as it is, or quoted where it would
// not be one visible word.
func shown(word string) string {
	quoted := strconv.Quote(word)
	if strings.Contains(word, " ") || quoted != `"`+word+`"` {
		return quoted
	}
	return word
}
