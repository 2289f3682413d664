// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// actorName is what the test binary is called when it is the workload.
const actorName = "actor"

// TestMain lets the test binary be a workload when it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == actorName {
		os.Exit(actor(os.Args[1:]))
	}
	os.Unsetenv("TZ")
	syscall.Umask(0o022)
	hearSignals()
	status := m.Run()
	if folder != "" {
		os.RemoveAll(folder)
	}
	os.Exit(status)
}

// hearSignals undoes it when the tests were started with signals ignored (nohup,
// a shell's &): the programs they start would ignore them as well.
func hearSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			c := make(chan os.Signal, 1)
			signal.Notify(c, sig)
			go func() {
				<-c
				os.Exit(1)
			}()
		}
	}
}

// actor is the workload: the first argument names a script, or a table of
// acts.
func actor(args []string) int {
	if len(args) == 0 {
		return 99
	}
	if script := scripts()[args[0]]; script != nil {
		if err := script(args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "actor: %s: %v\n", args[0], err)
			return 98
		}
		return 0
	}
	return perform(args[0], args[1])
}

// scripts are what the actor can do besides tables of acts, by name.
func scripts() map[string]func([]string) error {
	return map[string]func([]string) error{
		"name": bearName, "watchers": attackWatchers,
		"filters": ownFilters, "race": racePaths, "turncoat": turnCoats,
		"serve-path": servePath, "serve-itself": serveOnlyItself, "serve-fuse": serveFuse,
		"opens": openOften,
	}
}

// tables are the tables of acts, by name.
func tables() map[string][]act {
	all := map[string][]act{
		"open":       openActs,
		"make":       makeActs,
		"remove":     removeActs,
		"setattr":    setattrActs,
		"getattr":    getattrActs,
		"socket":     socketActs,
		"mmap":       mmapActs,
		"memory":     memoryActs,
		"edge":       edgeActs,
		"hostile":    hostileActs(),
		"signal":     signalActs,
		"credential": credentialActs,
		"traced":     tracedActs,
		"passed":     passedActs,
	}
	for name, acts := range oldTables {
		all[name] = acts
	}
	return all
}
