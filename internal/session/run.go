// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/export"
	"quixote-export/internal/source/seccomp"
	"quixote-export/internal/workload"
	"quixote-export/tsem"
)

// Streams are the standard files of the command.
type Streams struct{ In, Out, Err *os.File }

// statusLost is the exit status of a run whose workload ended well, but whose
// events are not all where they should be.
const statusLost = 123

// IsEnter and Enter are the entrance of the re-executed child, which becomes
// the workload. See package workload.
func IsEnter(args []string) bool { return workload.IsEnter(args) }

// Enter runs the child; it returns only if that failed.
func Enter(args []string) int {
	return workload.Enter(args, map[string]workload.Way{SourceSeccomp: seccomp.Enter})
}

// Run carries out the plan. The status is that of the workload, or says what
// went wrong; the error, if any, is for the user.
func Run(ctx context.Context, plan *Plan, streams Streams) (status int, err error) {
	log, closer, err := OpenDebug(plan.Debug)
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if plan.Mode == Show {
		if plan.Output != "" || plan.Broker != "" || plan.Endpoint != "" {
			fmt.Fprintln(streams.Err, "quixote-export: -o, -b and -e have no effect: -S exports nothing")
		}
		return 0, show(streams.Out, plan.magazine())
	}
	name, err := pick(plan.Source)
	if err != nil {
		return 0, err
	}
	words := plan.words()
	path, err := workload.Look(words[0])
	if err != nil {
		return startStatus(err), err
	}
	s := &session{plan: plan, words: words, streams: streams, log: log, source: name}
	s.terminal = IsTerminal(streams.Err)
	for _, line := range plan.Warnings(name) {
		s.notice(line)
	}
	return s.run(ctx, path)
}

// session is one run of one workload.
type session struct {
	plan     *Plan
	words    []string // program and arguments
	streams  Streams
	log      *slog.Logger
	source   string // name of the source
	terminal bool   // somebody reads our standard error

	src      *seccomp.Source
	work     *workload.Workload
	exporter *export.Exporter
	broken   chan error // the first failure of a sink
	stopped  bool       // the workload was ended because of it
}

func (s *session) notice(line string) {
	fmt.Fprintf(s.streams.Err, "quixote-export: %s\n", line)
	s.log.Info(line)
}

func (s *session) run(ctx context.Context, path string) (int, error) {
	boot := bootID()
	number, err := nextContext(runtimeDir(), boot)
	if err != nil {
		return 0, err
	}
	if err := workload.Subreaper(); err != nil {
		return 0, err
	}
	sinks, err := s.plan.Sinks(s.streams.Out)
	if err != nil {
		return 0, err
	}
	signals, stop := workload.Signals()
	defer stop()
	s.broken = make(chan error, 1)
	s.exporter = export.New(sinks, export.Options{
		Start:         s.startRecord(number, boot),
		FlushInterval: s.plan.SyncInterval,
		Failed:        s.sinkFailed,
	})
	if err := s.start(number, path); err != nil {
		s.exporter.Abandon()
		return startStatus(err), err
	}
	// Nothing is exported before the command runs: a failed start leaves an
	// output as it was.
	if err := s.work.Release(s.words[0]); err != nil {
		<-s.work.Exited()
		s.exporter.Abandon()
		return startStatus(err), err
	}
	exported := make(chan error, 1)
	go func() { exported <- s.exporter.Run(ctx, s.src) }()
	exit := s.supervise(ctx, signals)
	runErr := <-exported
	summary := s.exporter.Finish(exit.Status)
	s.reportDigests()
	Report(s.streams.Err, s.plan, summary, s.terminal)
	if err := errors.Join(exit.Err, runErr); err != nil {
		return 0, err
	}
	if summary.Lost() && (exit.Status == 0 || s.stopped) {
		return statusLost, nil
	}
	return exit.Status, nil
}

func (s *session) startRecord(number uint64, boot string) *tsem.Start {
	if !s.plan.Markers {
		return nil
	}
	host, _ := os.Hostname()
	nsref := "initial"
	if s.plan.NSRefCurrent {
		nsref = "current"
	}
	return &tsem.Start{
		Run: newUUID(), Host: host, BootID: boot,
		Workload: s.plan.Workload, Source: s.source, Digest: s.plan.Digest.Name, NSRef: nsref,
		Context: number,
		Started: time.Now(),
	}
}

// start makes the child and attaches the source to it.
func (s *session) start(number uint64, path string) error {
	files := [3]*os.File{s.streams.In, s.streams.Out, s.streams.Err}
	if s.plan.ToStdout() {
		files[1] = s.streams.Err // standard output belongs to the records
	}
	spec := workload.Spec{Path: path, Args: s.words, Files: files, Way: s.source}
	if s.plan.IO {
		spec.Options = seccomp.IO
	}
	work, err := workload.Start(spec)
	if err != nil {
		return err
	}
	s.work = work
	s.src, err = seccomp.Attach(work.Control, seccomp.Options{
		Context:    number,
		Algorithm:  s.plan.Digest,
		Current:    s.plan.NSRefCurrent,
		Abspath:    s.plan.Abspath,
		Timestamp:  s.plan.Timestamp,
		AllowURing: s.plan.AllowURing,
		Notice:     s.notice,
		Log:        s.log,
	})
	if errors.Is(err, seccomp.ErrNoListener) {
		if why := work.Failure(s.words[0]); why != nil {
			err = why
		}
	}
	if err != nil {
		unix.Kill(work.PID, unix.SIGKILL)
		<-work.Exited()
	}
	return err
}

// sinkFailed is called by the exporter while records are held up.
func (s *session) sinkFailed(sink string, err error) {
	s.log.Error("output failed", "sink", sink, "error", err)
	select {
	case s.broken <- err:
	default:
	}
}

// supervise waits until the command has ended and no task of its context is
// left, and deals with signals meanwhile.
func (s *session) supervise(ctx context.Context, signals <-chan os.Signal) (exit workload.Exit) {
	exited, gone, canceled := s.work.Exited(), s.src.Done(), ctx.Done()
	var left <-chan time.Time
	reaping := make(chan struct{})
	defer close(reaping)
	ended, ending := false, false
	end := func() {
		if !ending {
			ending = true
			go workload.Terminate(s.src.Processes, s.src.Done())
		}
	}
	for {
		select {
		case exit = <-exited:
			exited, ended = nil, true
			go workload.Reap(reaping)
			if s.plan.NoWait {
				end()
			}
			left = time.After(leftBehind)
		case <-left:
			if pids := s.src.Processes(); len(pids) > 0 && !ending {
				s.notice(leftLine(pids))
			}
		case <-gone:
			if ended {
				return exit
			}
			gone = nil
			if exited != nil {
				exit = <-exited
			}
			return exit
		case err := <-s.broken:
			s.notice(err.Error() + "; the workload is stopped")
			s.stopped = true
			end()
		case <-canceled:
			canceled = nil
			end()
		case sig := <-signals:
			if ended && (sig == unix.SIGINT || sig == unix.SIGTERM) {
				end()
			} else if !ended {
				s.work.Forward(sig)
			}
		}
	}
}

// leftBehind is how long after the command's end tasks that it has left are
// told of.
const leftBehind = 2 * time.Second

func leftLine(pids []int) string {
	const most = 8
	words := make([]string, 0, most)
	for _, pid := range pids[:min(most, len(pids))] {
		words = append(words, strconv.Itoa(pid))
	}
	if len(pids) > most {
		words = append(words, "…")
	}
	what := "1 process is"
	if len(pids) > 1 {
		what = fmt.Sprintf("%d processes are", len(pids))
	}
	return fmt.Sprintf("the command has ended, but %s left and still watched: pid %s (Ctrl-C ends them, --no-wait does so at once)",
		what, strings.Join(words, ", "))
}

// reportDigests tells which file digests could not be had.
func (s *session) reportDigests() {
	for word, n := range s.src.DigestsMissing() {
		s.notice(fmt.Sprintf("%d file digests are missing: %s", n, word))
	}
}

// startStatus is the exit status for a workload that could not be started.
func startStatus(err error) int {
	if e := (*workload.StartError)(nil); errors.As(err, &e) {
		return e.Status()
	}
	return 0
}
