// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"quixote-export/internal/session"
)

// collectorFlags are those that a mode about the collector of the host has a use
// for.
var collectorFlags = map[session.Mode][]string{
	session.InstallCollector: {"install-collector", "source", "ring", "model", "current-namespace", "exclude", "only", "debug", "pins"},
	session.RemoveCollector:  {"remove-collector", "debug", "pins"},
	session.CollectorStatus:  {"collector-status", "debug", "pins"},
}

// checkCollector refuses flags that such a mode has no use for.
func checkCollector(s *settings) error {
	flags, ok := collectorFlags[s.plan.Mode]
	if !ok {
		return nil
	}
	for _, g := range s.given {
		if !slices.Contains(flags, g.long) {
			return fmt.Errorf("%s exports nothing: leave out %s", s.plan.ModeFlag, g.written)
		}
	}
	return nil
}

// filter takes rules with commas in between.
func filter(field func(*session.Plan) *[]string) setter {
	return func(s *settings, value string) error {
		for word := range strings.SplitSeq(value, ",") {
			if err := session.CheckRule(word); err != nil {
				return err
			}
			*field(s.plan) = append(*field(s.plan), word)
		}
		return nil
	}
}
