// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// decide is what a profile makes of a call.
func (p *profile) decide(call string, args [6]uint64) verdict {
	rules := p.rulesOf(call)
	if i := slices.IndexFunc(rules, func(r rule) bool { return len(r.args) == 0 }); i >= 0 {
		return rules[i].verdict
	}
	for _, r := range rules {
		if all(r.args, args) {
			return r.verdict
		}
	}
	return p.fallback
}

func all(conditions []specs.LinuxSeccompArg, args [6]uint64) bool {
	return !slices.ContainsFunc(conditions, func(c specs.LinuxSeccompArg) bool { return !holds(c, args[c.Index]) })
}

func holds(c specs.LinuxSeccompArg, v uint64) bool {
	switch c.Op {
	case specs.OpEqualTo:
		return v == c.Value
	case specs.OpNotEqual:
		return v != c.Value
	case specs.OpLessThan:
		return v < c.Value
	case specs.OpLessEqual:
		return v <= c.Value
	case specs.OpGreaterThan:
		return v > c.Value
	case specs.OpGreaterEqual:
		return v >= c.Value
	}
	return v&c.Value == c.ValueTwo&c.Value
}

func values(r *rand.Rand) uint64 {
	switch r.IntN(8) {
	case 0:
		return highest
	case 1:
		return 0xffffffff
	}
	return uint64(r.IntN(8))
}

func conditions(r *rand.Rand, most int) []specs.LinuxSeccompArg {
	ops := []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual,
		specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual,
	}
	var args []specs.LinuxSeccompArg
	for range r.IntN(most + 1) {
		args = append(args, specs.LinuxSeccompArg{Index: uint(r.IntN(3)), Op: ops[r.IntN(len(ops))], Value: values(r), ValueTwo: values(r)})
	}
	return args
}

// A changed profile hands over what it allowed and the traps want, and does as
// before with what it refused.
func TestProfilesKeepTheirMeaning(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActLog, specs.ActKillProcess}
	const call = "socket"
	special := 0
	for range 5000 {
		p := &profile{fallback: newVerdict(actions[r.IntN(len(actions))], nil)}
		for range r.IntN(4) {
			errno := uint(r.IntN(3))
			p.entries = append(p.entries, entry{
				names: []string{call}, verdict: newVerdict(actions[r.IntN(len(actions))], &errno), args: conditions(r, 3),
			})
		}
		var traps []Trap
		for range 1 + r.IntN(2) {
			if c := conditions(r, 2); !repeats(c) {
				traps = append(traps, Trap{call, c})
			}
		}
		if len(traps) == 0 {
			continue
		}
		lists, notices, err := p.handOver(traps)
		if err != nil {
			t.Fatal(err)
		}
		if len(notices) > 0 {
			continue
		}
		special++
		text, _ := json.Marshal(map[string]any{"defaultAction": p.fallback.action, "syscalls": lists})
		var read specs.LinuxSeccomp
		if err := json.Unmarshal(text, &read); err != nil {
			t.Fatal(err)
		}
		changed := &profile{fallback: p.fallback}
		for _, s := range read.Syscalls {
			if repeats(s.Args) {
				t.Fatalf("two conditions on one argument: %s", text)
			}
			changed.entries = append(changed.entries, entry{names: s.Names, verdict: newVerdict(s.Action, s.ErrnoRet), args: s.Args})
		}
		for range 50 {
			args := [6]uint64{values(r), values(r), values(r)}
			was, is := p.decide(call, args), changed.decide(call, args)
			wanted := slices.ContainsFunc(traps, func(t Trap) bool { return all(t.When, args) })
			switch {
			case !was.allows() && is != was,
				was.allows() && wanted && is != notify,
				was.allows() && !is.allows() && is != notify:
				t.Fatalf("of %x: was %v, is %v, wanted %v\nprofile %+v\ntraps %+v\nchanged %s", args, was, is, wanted, p, traps, text)
			}
		}
	}
	if special < 4000 {
		t.Errorf("%d profiles only could be changed", special)
	}
}

func TestTheRestOfACallIsHandedOver(t *testing.T) {
	refuse := newVerdict(specs.ActErrno, nil)
	family := func(n uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: n}}
	}
	p := &profile{fallback: verdict{action: specs.ActAllow}, entries: []entry{
		{names: []string{"socket", "mkdir"}, verdict: refuse, args: family(16)},
		{names: []string{"socket"}, verdict: refuse, args: family(17)},
	}}
	lists, _, err := p.handOver([]Trap{{Call: "socket"}})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(lists[1:])
	const want = `[{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"args":[{"index":0,"value":16,"op":"SCMP_CMP_EQ"}]},` +
		`{"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":1,"args":[{"index":0,"value":17,"op":"SCMP_CMP_EQ"}]},` +
		`{"names":["socket"],"action":"SCMP_ACT_NOTIFY","args":[{"index":0,"value":15,"op":"SCMP_CMP_LE"}]},` +
		`{"names":["socket"],"action":"SCMP_ACT_NOTIFY","args":[{"index":0,"value":18,"op":"SCMP_CMP_GE"}]}]`
	if string(text) != want {
		t.Errorf("got %s", text)
	}
}
