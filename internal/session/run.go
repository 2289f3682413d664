// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/export"
	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/internal/record"
	"quixote-export/internal/sink/file"
	"quixote-export/internal/source/bpf"
	"quixote-export/internal/source/seccomp"
	tsemsource "quixote-export/internal/source/tsem"
	"quixote-export/internal/workload"
	"quixote-export/tsem"
)

// Streams are the standard files of the command.
type Streams struct{ In, Out, Err *os.File }

// statusLost is the exit status of a run whose workload ended well, but whose
// events are not all where they should be.
const statusLost = 123

// statusFailed is the exit status when quixote-export itself failed.
const statusFailed = 125

// IsEnter and Enter are the entrance of the re-executed child, which becomes
// the workload. See package workload.
func IsEnter(args []string) bool {
	return workload.IsEnter(args) || workload.IsWatchdog(args) || bpf.IsRelease(args)
}

// Enter runs the child; it returns only if that failed. The other child there
// can be is the watchdog.
func Enter(args []string) int {
	if bpf.IsRelease(args) {
		return 0
	}
	if workload.IsWatchdog(args) {
		return workload.Watch(args, map[string]workload.Read{SourceTSEM: tsemsource.Read, wayRoot: tsemsource.Read}, execute)
	}
	return workload.Enter(args, map[string]workload.Way{
		SourceSeccomp: seccomp.Enter, SourceTSEM: tsemsource.Enter,
		SourceBPF: enterNothing, SourceTrace: enterNothing, wayRuntime: enterNothing, wayRoot: enterNothing,
	})
}

// Run carries out the plan. The status is that of the workload, or says what
// went wrong; the error, if any, is for the user.
func Run(ctx context.Context, plan *Plan, streams Streams) (status int, err error) {
	password := takePassword()
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
	if plan.Mode == InstallCollector || plan.Mode == RemoveCollector || plan.Mode == CollectorStatus {
		return 0, collect(plan, streams.Out, func(line string) { fmt.Fprintf(streams.Err, "quixote-export: %s\n", line) }, log)
	}
	if plan.Mode == Drain {
		return drain(ctx, plan, password, func(line string) { fmt.Fprintf(streams.Err, "quixote-export: %s\n", line) })
	}
	name, err := plan.pick(log)
	if err != nil {
		return 0, err
	}
	if err := plan.suits(name); err != nil {
		return 0, err
	}
	m, err := plan.events(name)
	if err != nil {
		return 0, err
	}
	s := &session{plan: plan, model: m, streams: streams, log: log, source: name, over: make(chan struct{})}
	s.terminal = IsTerminal(streams.Err)
	if err := s.look(); err != nil {
		return startStatus(err), err
	}
	if plan.Broker != "" {
		if s.connection, err = plan.connect(hostname(), password); err != nil {
			return 0, err
		}
	}
	for _, line := range plan.Warnings(name) {
		s.notice(line)
	}
	return s.run(ctx)
}

// look finds what is to be run.
func (s *session) look() (err error) {
	if s.plan.Mode == Container {
		return s.lookContainer()
	}
	if s.plan.Mode == Root {
		return s.lookRoot()
	}
	s.words = s.plan.words()
	s.path, err = workload.Look(s.words[0])
	return err
}

// watched is a source whose workload we start and wait for.
type watched interface {
	export.Source
	// Done is closed when no task of the context is left, or when nothing more
	// of it can be seen.
	Done() <-chan struct{}
	// Processes lists those of the context that are alive.
	Processes() []int
	// Sealed tells that what runs a container has ended.
	Sealed()
}

// session is one run of one workload.
type session struct {
	plan     *Plan
	path     string   // of the program that is started, "" for none
	words    []string // its name and arguments
	streams  Streams
	log      *slog.Logger
	source   string // name of the source
	model    *model.Model
	terminal bool // somebody reads our standard error

	containing              // what a container needs besides
	outputs    []*file.Sink // those that are files
	connection *connection  // nil without a broker
	broker     *publication // the same

	ledger   *ledger.Ledger
	will     *will // for the watchdog
	src      watched
	work     *workload.Workload
	exporter *export.Exporter
	broken   chan error    // failures of sinks
	stopped  bool          // the workload was ended because of one
	rotation rotation      // what SIGHUP means
	unhung   bool          // but for that it is ignored
	undying  bool          // some of the workload have not died
	cut      bool          // the workload was killed because the watchdog was
	over     chan struct{} // closed when the command has ended
}

func (s *session) notice(line string) {
	fmt.Fprintf(s.streams.Err, "quixote-export: %s\n", line)
	s.log.Info(line)
}

func (s *session) run(ctx context.Context) (int, error) {
	boot := bootID()
	number, err := s.contextNumber(boot)
	if err != nil {
		return 0, err
	}
	if s.hosting() {
		leave, err := s.prepareHost()
		if err != nil {
			return 0, err
		}
		defer leave()
	} else if s.ledger, err = ledger.New(ledger.DefaultSize); err != nil {
		return 0, err
	}
	if err := workload.Undumpable(); err != nil {
		return 0, err
	}
	sinks, err := s.plan.Sinks(s.streams.Out, s.notice, s.again())
	if err != nil {
		return 0, err
	}
	run := newUUID()
	start := s.startRecord(run, number, boot)
	if s.connection != nil {
		if s.broker, err = s.publish(ctx, s.connection, run); err != nil {
			return 0, err
		}
		sinks = append(sinks, s.broker.Sink)
	}
	s.rotation = newRotation(s.plan)
	s.unhung = workload.Unhung()
	signals, stop := workload.Signals()
	defer stop()
	s.broken = make(chan error, 1)
	s.will = s.plan.will(number, start, s.collected())
	if s.broker != nil && !s.collected() {
		s.will.Outputs = append(s.will.Outputs, s.broker.legatee(s.plan))
	}
	s.exporter = export.New(sinks, export.Options{
		Start:         start,
		Ledger:        s.ledger,
		Keep:          s.keeps(),
		FlushInterval: s.plan.SyncInterval,
		Failed:        s.sinkFailed,
	})
	if err := s.start(number); err != nil {
		s.exporter.Abandon()
		return startStatus(err), err
	}
	defer s.work.Finish()
	s.enlist()
	workload.HearHangup(signals)
	for i, sink := range sinks {
		if f, ok := sink.(*file.Sink); ok {
			f.OnOpen(func(fd int) { s.work.Output(i, fd) })
			s.outputs = append(s.outputs, f)
		}
	}
	// Nothing is exported before the command runs: a failed start leaves an
	// output as it was.
	if s.path != "" {
		if err := s.work.Release(s.words[0]); err != nil {
			s.work.Wait()
			s.endContainer()
			s.exporter.Abandon()
			return startStatus(err), err
		}
	}
	exported := make(chan error, 1)
	exporting, abandon := context.WithCancel(ctx)
	defer abandon()
	go func() { exported <- s.exporter.Run(exporting, s.src) }()
	go s.watchReaders(exporting)
	exit := s.await(ctx, signals)
	if s.undying {
		abandon()
	}
	// A full spool may hold the exporter up as well.
	defer s.attend(exit.Status, signals)()
	runErr := <-exported
	if s.undying && errors.Is(runErr, context.Canceled) {
		runErr = nil // which has been said
	}
	if s.cut {
		s.exporter.Break(record.CauseKilled)
	}
	if s.failure != nil && !s.exporter.Begun() {
		s.exporter.Abandon()
		return failedStatus(s.failure), nil // the runtime has told why
	}
	summary := s.exporter.Finish(exit.Status)
	select {
	case err := <-s.broken: // nobody was waiting for it any more
		s.notice(err.Error() + waits(summary))
	default:
	}
	s.reportDigests()
	if s.failure != nil {
		exit.Status = failedStatus(s.failure)
	}
	Report(s.streams.Err, s.plan, summary, s.terminal)
	if err := errors.Join(exit.Err, runErr); err != nil {
		return 0, err
	}
	waiting := s.broker != nil && s.broker.left(s.notice)
	if (summary.Lost() || waiting || summary.Kept()) && (exit.Status == 0 || s.stopped) {
		return statusLost, nil
	}
	return exit.Status, nil
}

func (s *session) startRecord(run string, number uint64, boot string) *tsem.Start {
	if !s.plan.Markers {
		return nil
	}
	nsref := "initial"
	if s.plan.NSRefCurrent {
		nsref = "current"
	}
	return &tsem.Start{
		Run: run, Host: hostname(), BootID: boot,
		Workload: s.plan.Workload, Source: s.source, Digest: s.plan.Digest.Name, NSRef: nsref,
		Context: number,
		Started: time.Now(),
	}
}

// contextNumber is the number of the context that is to be made; 0: the kernel
// will give it one, or it is the root context.
func (s *session) contextNumber(boot string) (uint64, error) {
	if s.source == SourceTSEM || s.plan.Mode == Root {
		return 0, nil
	}
	return nextContext(runtimeDir(), boot)
}

// files are those of the workload.
func (s *session) files() [3]*os.File {
	files := [3]*os.File{s.streams.In, s.streams.Out, s.streams.Err}
	if s.plan.ToStdout() {
		files[1] = s.streams.Err // standard output belongs to the records
	}
	return files
}

func (s *session) sourceOptions(number uint64) seccomp.Options {
	return seccomp.Options{
		Context:        number,
		Ledger:         s.ledger,
		Algorithm:      s.plan.Digest,
		Model:          s.model,
		DigestLimit:    s.plan.DigestLimit,
		Current:        s.plan.NSRefCurrent,
		Abspath:        s.plan.Abspath,
		Timestamp:      s.plan.Timestamp,
		AllowURing:     s.plan.AllowURing,
		IncludeRuntime: s.plan.IncludeRuntime,
		Keep:           s.work.Keep,
		Own:            s.ours,
		Notice:         s.notice,
		Log:            s.log,
	}
}

// ours tells whether a process is one of those that watch the workload.
func (s *session) ours(pid int) bool { return pid == os.Getpid() || pid == s.work.Watchdog() }

// start makes the child and attaches the source to it.
func (s *session) start(number uint64) error {
	if s.bundle != nil {
		return s.startContainer(number)
	}
	if s.hosting() {
		return s.startHost()
	}
	if s.plan.Mode == Root {
		return s.startRoot()
	}
	if s.source == SourceTSEM {
		return s.startTSEM()
	}
	if s.source == SourceBPF || s.source == SourceTrace {
		return s.startBPF(number)
	}
	spec := s.spec(s.source)
	spec.Options = seccomp.Entrance{Model: s.model.Name, IO: s.plan.IO}.Options()
	work, err := workload.Start(spec)
	if err != nil {
		return err
	}
	s.work = work
	src, err := seccomp.Attach(work.Control, s.sourceOptions(number))
	if err != nil {
		return s.notAttached(err, errors.Is(err, seccomp.ErrNoListener))
	}
	s.src = src
	return nil
}

// notAttached gives up a child to which the source could not attach. The child
// may have told why.
func (s *session) notAttached(err error, told bool) error {
	if told {
		if why := s.work.Failure(s.words[0]); why != nil {
			err = why
		}
	}
	s.giveUp()
	return err
}

// giveUp ends a child that will not become the command.
func (s *session) giveUp() {
	unix.Kill(s.work.PID, unix.SIGKILL)
	s.work.Wait()
	s.work.Finish()
}

// spec says how the workload is started.
func (s *session) spec(way string) workload.Spec {
	return workload.Spec{
		Path: s.path, Args: s.words, Files: s.files(), Way: way,
		Ledger: s.ledger.File(), Will: s.will.marshal(),
	}
}

// reportDigests tells which file digests could not be had.
func (s *session) reportDigests() {
	src, ok := s.src.(interface{ DigestsMissing() map[string]uint64 })
	if !ok {
		return // it makes none
	}
	for word, n := range src.DigestsMissing() {
		s.notice(fmt.Sprintf("digests that could not be had: %d (%s)", n, word))
	}
}

// startStatus is the exit status for a workload that could not be started.
func startStatus(err error) int {
	if e := (*workload.StartError)(nil); errors.As(err, &e) {
		return e.Status()
	}
	return 0
}
