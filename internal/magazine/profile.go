// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Trap is a call that is to be handed over when all conditions hold. Several
// of one name are alternatives.
type Trap struct {
	Call string
	When []specs.LinuxSeccompArg
}

// profile is a seccomp profile as a runtime understands it.
type profile struct {
	fallback verdict // the default action
	entries  []entry
}

// verdict is what becomes of a call.
type verdict struct {
	action specs.LinuxSeccompAction
	errno  uint
}

// allows tells whether the call is made.
func (v verdict) allows() bool { return v.action == specs.ActAllow || v.action == specs.ActLog }

// returns tells whether an error number belongs to the action.
func (v verdict) returns() bool { return v.action == specs.ActErrno || v.action == specs.ActTrace }

// entry is one of the profile's lists of calls.
type entry struct {
	raw     object
	names   []string
	verdict verdict
	args    []specs.LinuxSeccompArg
}

// rule is what an entry says of one call.
type rule struct {
	verdict verdict
	args    []specs.LinuxSeccompArg
}

// watch changes the profile of a configuration so that the calls which it
// allows, and which are of interest, are handed over.
func watch(top object, l Listener) (object, []string, error) {
	linux, err := parseObject(top.get("linux"))
	if err != nil {
		return nil, nil, err
	}
	seccomp, err := parseObject(linux.get("seccomp"))
	if err != nil {
		return nil, nil, err
	}
	if len(seccomp) == 0 {
		seccomp = unrestricted()
	}
	p, err := parseProfile(seccomp)
	if err != nil {
		return nil, nil, err
	}
	lists, notices, err := p.handOver(l.Traps)
	if err != nil {
		return nil, nil, err
	}
	seccomp = seccomp.set("syscalls", lists).set("listenerPath", l.Path).set("listenerMetadata", l.Metadata)
	return top.set("linux", linux.set("seccomp", seccomp)), notices, nil
}

// unrestricted is what a container without a profile has: every call of the programs
// that the machine runs.
func unrestricted() object {
	var arches []specs.Arch
	switch runtime.GOARCH {
	case "amd64":
		arches = []specs.Arch{specs.ArchX86_64, specs.ArchX86}
	case "arm64":
		arches = []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	}
	return object(nil).set("defaultAction", specs.ActAllow).set("architectures", arches)
}

func parseProfile(raw object) (*profile, error) {
	text, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	var whole specs.LinuxSeccomp
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, fmt.Errorf("its seccomp profile is not valid: %s", oneWord(err.Error()))
	}
	if whole.DefaultAction == "" {
		return nil, errors.New("its seccomp profile has no default action")
	}
	var lists []json.RawMessage
	if raw := raw.get("syscalls"); raw != nil {
		if err := json.Unmarshal(raw, &lists); err != nil {
			return nil, errors.New("its seccomp profile has no list of calls")
		}
	}
	p := &profile{fallback: newVerdict(whole.DefaultAction, whole.DefaultErrnoRet)}
	for i, s := range whole.Syscalls {
		e := entry{names: s.Names, verdict: newVerdict(s.Action, s.ErrnoRet), args: s.Args}
		if e.raw, err = parseObject(lists[i]); err != nil {
			return nil, err
		}
		p.entries = append(p.entries, e)
	}
	return p, p.check()
}

// check refuses what a runtime does not know, before one is started.
func (p *profile) check() error {
	for _, e := range append([]entry{{verdict: p.fallback}}, p.entries...) {
		switch action := e.verdict.action; {
		case action == specs.ActNotify:
			return errors.New("its seccomp profile hands calls to a program of its own (SCMP_ACT_NOTIFY), and a container has one such only")
		case !slices.Contains(actions, action):
			return fmt.Errorf("its seccomp profile has the unknown action %q", action)
		}
		for _, a := range e.args {
			if a.Index >= maxArgs {
				return fmt.Errorf("its seccomp profile has a condition on argument %d, and calls have six, from 0 on", a.Index)
			}
			if _, err := limitsOf(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxArgs is how many arguments a call can have.
const maxArgs = 6

var actions = []specs.LinuxSeccompAction{
	specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace,
	specs.ActAllow, specs.ActLog,
}

func newVerdict(action specs.LinuxSeccompAction, errno *uint) verdict {
	v := verdict{action: action}
	if v.returns() {
		v.errno = uint(unix.EPERM)
		if errno != nil {
			v.errno = *errno
		}
	}
	return v
}

// rulesOf is what the profile says of a call: rules that do as the default
// does are left out, and of several conditions on one argument each is a rule,
// as runtimes have it.
func (p *profile) rulesOf(call string) []rule {
	var rules []rule
	for _, e := range p.entries {
		if e.verdict == p.fallback || !slices.Contains(e.names, call) {
			continue
		}
		if !repeats(e.args) {
			rules = append(rules, rule{e.verdict, e.args})
			continue
		}
		for i := range e.args {
			rules = append(rules, rule{e.verdict, e.args[i : i+1]})
		}
	}
	return rules
}

func repeats(args []specs.LinuxSeccompArg) bool {
	seen := make(map[uint]bool)
	for _, a := range args {
		if seen[a.Index] {
			return true
		}
		seen[a.Index] = true
	}
	return false
}

// handOver gives the lists of calls of the changed profile.
func (p *profile) handOver(traps []Trap) (lists []any, notices []string, err error) {
	wanted := make(map[string][][]specs.LinuxSeccompArg)
	var order []string
	for _, t := range traps {
		if wanted[t.Call] == nil {
			order = append(order, t.Call)
		}
		wanted[t.Call] = append(wanted[t.Call], t.When)
	}
	changed := make(map[string]bool)
	var always []string
	var special []any
	for _, call := range order {
		if call == unwatchable {
			notices = append(notices, fmt.Sprintf("the container's calls of %s are not seen: container runtimes refuse to hand them over", call))
			continue
		}
		rules, err := p.watchCall(call, wanted[call])
		if errors.Is(err, errTooMany) {
			notices = append(notices, fmt.Sprintf("the container's calls of %s are not seen: its seccomp profile has too many conditions on them", call))
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		changed[call] = true
		if len(rules) == 1 && rules[0].verdict == notify && len(rules[0].args) == 0 {
			always = append(always, call)
			continue
		}
		for _, r := range rules {
			special = append(special, r.list(call))
		}
	}
	lists = make([]any, 0, len(p.entries)+len(special)+1)
	for _, e := range p.entries {
		names := slices.DeleteFunc(slices.Clone(e.names), func(n string) bool { return changed[n] })
		switch {
		case len(names) == len(e.names):
			lists = append(lists, e.raw)
		case len(names) > 0:
			lists = append(lists, e.raw.set("names", names))
		}
	}
	if len(always) > 0 {
		lists = append(lists, specs.LinuxSyscall{Names: always, Action: specs.ActNotify})
	}
	return append(lists, special...), notices, nil
}

// unwatchable is the call that a runtime does not hand over, since it hands
// the listener over with it.
const unwatchable = "write"

var (
	notify     = verdict{action: specs.ActNotify}
	errTooMany = errors.New("too many rules")
)

// watchCall gives the rules of one call, of which those that were to be made
// are handed over where one of the traps wants it.
//
// A rule without conditions hides all others; without one, what no rule takes
// goes the way of the default.
func (p *profile) watchCall(call string, traps [][]specs.LinuxSeccompArg) ([]rule, error) {
	rules := p.rulesOf(call)
	if i := slices.IndexFunc(rules, func(r rule) bool { return len(r.args) == 0 }); i >= 0 {
		rules = rules[i : i+1]
		if !rules[0].verdict.allows() {
			return rules, nil
		}
		return p.partly(rules[0].verdict, traps)
	}
	var out []rule
	var taken []box
	refuses := false
	for _, r := range rules {
		part, err := boxes(r.args)
		if err != nil {
			return nil, err
		}
		taken = append(taken, part...)
		if r.verdict.allows() {
			r.verdict = notify
		} else {
			refuses = true
		}
		out = append(out, r)
	}
	if !p.fallback.allows() {
		return out, nil
	}
	if !refuses {
		return p.partly(p.fallback, traps)
	}
	wanted, err := union(traps)
	if err != nil {
		return nil, err
	}
	rest, ok := without(wanted, taken)
	if !ok {
		return nil, errTooMany
	}
	return limited(append(out, rulesFor(notify, rest)...))
}

// partly hands over what the traps want of a call that is allowed throughout.
func (p *profile) partly(allowed verdict, traps [][]specs.LinuxSeccompArg) ([]rule, error) {
	wanted, err := union(traps)
	if err != nil {
		return nil, err
	}
	var out []rule
	for _, args := range traps {
		if len(args) == 0 {
			return []rule{{verdict: notify}}, nil
		}
		out = append(out, rule{notify, args})
	}
	if allowed == p.fallback {
		return out, nil
	}
	rest, ok := without([]box{{}}, wanted)
	if !ok {
		return nil, errTooMany
	}
	return limited(append(out, rulesFor(allowed, rest)...))
}

// union is everything that one of the alternatives takes.
func union(alternatives [][]specs.LinuxSeccompArg) ([]box, error) {
	var all []box
	for _, args := range alternatives {
		part, err := boxes(args)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

func rulesFor(v verdict, parts []box) []rule {
	var out []rule
	for _, b := range parts {
		for _, args := range b.rules() {
			out = append(out, rule{v, args})
		}
	}
	return out
}

func limited(rules []rule) ([]rule, error) {
	if len(rules) > maxRules {
		return nil, errTooMany
	}
	return rules, nil
}

// list is a rule as a list of one call.
func (r rule) list(call string) specs.LinuxSyscall {
	s := specs.LinuxSyscall{Names: []string{call}, Action: r.verdict.action, Args: r.args}
	if r.verdict.returns() {
		s.ErrnoRet = &r.verdict.errno
	}
	return s
}
