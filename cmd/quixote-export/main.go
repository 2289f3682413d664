// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Quixote-export runs a workload in a security modeling context of its own
// and exports the security events of it, one line of JSON each.
//
// This package is the command line alone: flags, help, exit status. What a
// plan of the flags does is in internal/session.
package main

//go:generate go tool go-md2man -in ../../doc/quixote-export.1.md -out ../../doc/quixote-export.1

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"quixote-export/internal/session"
)

// statusFailed is the exit status when quixote-export itself failed.
const statusFailed = 125

// init is the only place that can promise main the first thread of the
// process, which is the one that a re-executed child enters its context with.
func init() { runtime.LockOSThread() }

func main() {
	if session.IsEnter(os.Args) {
		os.Exit(session.Enter(os.Args))
	}
	runtime.UnlockOSThread()
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, in, out, errs *os.File) int {
	status, err := dispatch(ctx, args, session.Streams{In: in, Out: out, Err: errs})
	if err != nil {
		// Joined errors are a line each.
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(errs, "quixote-export: %s\n", line)
		}
		if status == 0 {
			status = statusFailed
		}
	}
	return status
}

func dispatch(ctx context.Context, args []string, streams session.Streams) (int, error) {
	s, err := parse(slices.Concat(flags, hiddenFlags), args)
	if err != nil {
		return statusFailed, err
	}
	switch s.action {
	case actionHelp:
		return 0, write(streams.Out, help)
	case actionVersion:
		return 0, write(streams.Out, versionLine())
	case actionSources:
		return 0, session.Sources(streams.Out, s.plan)
	}
	for _, check := range []func() error{s.plan.Check, s.plan.Available, s.plan.CheckFiles} {
		if err := check(); err != nil {
			return statusFailed, err
		}
	}
	defer surviveWrites()()
	return session.Run(ctx, s.plan, streams)
}

// surviveWrites makes a write to a pipe without a reader, or beyond the file
// size limit, an error: the signals that come with it would end a run whose
// records are not safe yet. They are caught, not ignored, because a workload
// would inherit that.
func surviveWrites() (restore func()) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGPIPE, syscall.SIGXFSZ)
	return func() { signal.Stop(caught) }
}

func write(w io.Writer, text string) error {
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	return nil
}
