// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package magazine

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Profiles decide on arguments with conditions, of which one rule takes one
// for each argument, all to hold; there is no "else". To hand over the rest of
// a call, what no rule takes, the rest has to be written as rules of that kind.

// box is a set of arguments: those for which every condition holds, one for
// each position. An empty box holds all.
type box map[uint]limit

// limit is a set of values of one argument: an interval, or with a mask those
// whose masked bits are as given.
type limit struct {
	masked bool
	lo, hi uint64 // the interval
	mask   uint64
	value  uint64
}

const highest = math.MaxUint64

func interval(lo, hi uint64) limit { return limit{lo: lo, hi: hi} }
func bitsAre(mask, value uint64) limit {
	return limit{masked: true, mask: mask, value: value & mask}
}

// boxes is what the conditions of one rule mean: one box, unless a condition
// has a hole. The rule must have one condition for each argument.
func boxes(args []specs.LinuxSeccompArg) ([]box, error) {
	all := []box{{}}
	for _, a := range args {
		limits, err := limitsOf(a)
		if err != nil {
			return nil, err
		}
		var next []box
		for _, b := range all {
			for _, l := range limits {
				with := maps.Clone(b)
				with[a.Index] = l
				next = append(next, with)
			}
		}
		all = next
	}
	return all, nil
}

func limitsOf(a specs.LinuxSeccompArg) ([]limit, error) {
	v := a.Value
	switch a.Op {
	case specs.OpEqualTo:
		return []limit{interval(v, v)}, nil
	case specs.OpNotEqual:
		return negate(interval(v, v)), nil
	case specs.OpLessThan:
		return negate(interval(v, highest)), nil
	case specs.OpLessEqual:
		return []limit{interval(0, v)}, nil
	case specs.OpGreaterThan:
		return negate(interval(0, v)), nil
	case specs.OpGreaterEqual:
		return []limit{interval(v, highest)}, nil
	case specs.OpMaskedEqual:
		return []limit{bitsAre(v, a.ValueTwo)}, nil
	}
	return nil, fmt.Errorf("its seccomp profile has the unknown operator %q", a.Op)
}

// negate gives the values outside of l.
func negate(l limit) []limit {
	var out []limit
	if !l.masked {
		if l.lo > 0 {
			out = append(out, interval(0, l.lo-1))
		}
		if l.hi < highest {
			out = append(out, interval(l.hi+1, highest))
		}
		return out
	}
	// One bit differs, and those above it do not.
	above := uint64(0)
	for rest := l.mask; rest != 0; {
		bit := uint64(1) << (63 - bits.LeadingZeros64(rest))
		rest &^= bit
		out = append(out, bitsAre(above|bit, l.value&above|^l.value&bit))
		above |= bit
	}
	return out
}

// meet gives the values that are in both.
func meet(a, b limit) []limit {
	switch {
	case !a.masked && !b.masked:
		if lo, hi := max(a.lo, b.lo), min(a.hi, b.hi); lo <= hi {
			return []limit{interval(lo, hi)}
		}
		return nil
	case a.masked && b.masked:
		if (a.value^b.value)&a.mask&b.mask != 0 {
			return nil
		}
		return []limit{bitsAre(a.mask|b.mask, a.value|b.value)}
	case b.masked:
		a, b = b, a
	}
	var out []limit
	for _, p := range prefixes(b) {
		out = append(out, meet(a, p)...)
	}
	return out
}

// prefixes writes an interval as limits on the upper bits.
func prefixes(l limit) []limit {
	var out []limit
	for lo := l.lo; ; {
		free := min(bits.TrailingZeros64(lo), 63)
		if lo == 0 && l.hi == highest {
			return append(out, bitsAre(0, 0))
		}
		for free > 0 && l.hi-lo < 1<<free-1 {
			free--
		}
		out = append(out, bitsAre(highest<<free, lo))
		last := lo + (1<<free - 1)
		if last >= l.hi {
			return out
		}
		lo = last + 1
	}
}

// maxRules bounds the rules that one call may need.
const maxRules = 256

// without gives what is in one of the boxes and in none of taken; false if
// that would be too many boxes.
func without(all, taken []box) ([]box, bool) {
	for _, t := range taken {
		var next []box
		for _, b := range all {
			// Of b: what fails the first condition of t, and what holds the
			// first and fails the second, and so on.
			rest := []box{b}
			for _, index := range slices.Sorted(maps.Keys(t)) {
				for _, l := range negate(t[index]) {
					next = append(next, narrow(rest, index, l)...)
				}
				rest = narrow(rest, index, t[index])
				if len(next)+len(rest) > maxRules {
					return nil, false
				}
			}
		}
		all = next
	}
	return all, true
}

// narrow keeps of the boxes what l holds.
func narrow(all []box, index uint, l limit) []box {
	var out []box
	for _, b := range all {
		limits := []limit{l}
		if had, ok := b[index]; ok {
			limits = meet(had, l)
		}
		for _, l := range limits {
			with := maps.Clone(b)
			with[index] = l
			out = append(out, with)
		}
	}
	return out
}

// rules writes a box as the conditions of rules, each of which takes a part of
// it.
func (b box) rules() [][]specs.LinuxSeccompArg {
	all := [][]specs.LinuxSeccompArg{nil}
	for _, index := range slices.Sorted(maps.Keys(b)) {
		var next [][]specs.LinuxSeccompArg
		conditions := b[index].conditions(index)
		if conditions == nil {
			continue // any value
		}
		for _, args := range all {
			for _, c := range conditions {
				next = append(next, append(slices.Clone(args), c))
			}
		}
		all = next
	}
	return all
}

// conditions are alternatives; none where every value is meant.
func (l limit) conditions(index uint) []specs.LinuxSeccompArg {
	one := func(op specs.LinuxSeccompOperator, v, two uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: index, Op: op, Value: v, ValueTwo: two}}
	}
	switch {
	case l.masked && l.mask == 0 || !l.masked && l.lo == 0 && l.hi == highest:
		return nil
	case l.masked:
		return one(specs.OpMaskedEqual, l.mask, l.value)
	case l.lo == l.hi:
		return one(specs.OpEqualTo, l.lo, 0)
	case l.lo == 0:
		return one(specs.OpLessEqual, l.hi, 0)
	case l.hi == highest:
		return one(specs.OpGreaterEqual, l.lo, 0)
	}
	var out []specs.LinuxSeccompArg
	for _, p := range prefixes(l) {
		out = append(out, p.conditions(index)...)
	}
	return out
}
