// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package seccomp makes events out of system calls: a filter in the workload
// stops each call of interest until this side has derived its events and
// recorded them.
//
// Nothing is lost: a task does not go on before its events are kept, and when
// there is no room it waits. Per task the order is that of the program, across
// tasks that of the effects. What cannot be derived is left to the
// documentation; what should have been and could not becomes a lost record.
package seccomp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Options of a source.
type Options struct {
	Context   uint64         // number of the context
	Ledger    *ledger.Ledger // where records are kept until they are delivered
	Algorithm *tsem.Algorithm
	Model     *model.Model
	// DigestLimit is the size in bytes above which files have no digest.
	DigestLimit uint64
	Current     bool // ids as in the task's own user namespace
	Abspath     bool // add absolute paths
	Timestamp   bool // add the wall-clock time
	AllowURing  bool // let io_uring through
	// IncludeRuntime also records what the container runtime does between its
	// filter and the container's first program.
	IncludeRuntime bool
	// Keep is called with each listener before the first call that comes through
	// it is let go, for somebody who keeps it open beyond our death.
	Keep func(listener int)
	// Own tells whether a process, by its number in our pid namespace, is one
	// of those that watch the workload, which may do nothing to them.
	Own func(pid int) bool
	// Notice is called with one line for the user, from any goroutine.
	Notice func(string)
	Log    *slog.Logger
}

// Source is one context that is watched by its system calls.
type Source struct {
	opts    Options
	arches  map[uint32]derive.Arch
	shared  *derive.Shared
	rec     *calls
	lateMu  sync.Mutex
	late    *derive.Deriver // for what shows without a call; lateMu is held
	working sync.WaitGroup
	done    chan struct{} // closed when no task carries a filter any longer
	uring   sync.Once
	stalled sync.Once
	unseen  sync.Map // names of calls whose events are lost

	listening *net.UnixListener // where a container runtime hands over listeners, or nil

	mu      sync.Mutex
	ports   map[*port]bool
	sealed  bool  // no more ports will come
	ended   bool  // the last one has gone
	closing []int // listeners to close when all threads have ended
}

// Attach takes the listener that Enter sends through control, and begins to
// watch. It must be called before the workload is let go.
func Attach(control int, opts Options) (*Source, error) {
	listener, killable, err := receiveListener(control)
	if err != nil {
		return nil, err
	}
	s, err := newSource(opts)
	if err != nil {
		unix.Close(listener)
		return nil, err
	}
	s.open(listener, killable, 0)
	s.Sealed()
	return s, nil
}

func newSource(opts Options) (*Source, error) {
	s := &Source{
		opts:   opts,
		arches: make(map[uint32]derive.Arch),
		done:   make(chan struct{}),
		ports:  make(map[*port]bool),
	}
	arches, err := derive.Arches(runtime.GOARCH, s.interest())
	if err != nil {
		return nil, err
	}
	for _, a := range arches {
		s.arches[a.Audit] = a
	}
	tasks, err := task.New(opts.Algorithm.Size, opts.Log)
	if err != nil {
		return nil, err
	}
	if s.shared, err = derive.NewShared(opts.Algorithm, tasks); err != nil {
		return nil, err
	}
	s.shared.World.Digests.Limit = opts.DigestLimit
	if s.late, err = derive.New(s.shared, s.deriveOptions()); err != nil {
		return nil, err
	}
	s.rec = newCalls(opts.Context, opts.Timestamp, opts.Ledger)
	go s.watchTime()
	go s.tellLate()
	return s, nil
}

// Sealed tells that no further listener will come: the source ends when the
// last one has hung up.
func (s *Source) Sealed() {
	if s.listening != nil {
		s.listening.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	s.settle()
}

// settle ends the source when there is nothing left to wait for. s.mu is held.
func (s *Source) settle() {
	if !s.sealed || s.ended || len(s.ports) > 0 {
		return
	}
	s.ended = true
	go func() {
		clean := s.workersEnd()
		s.decideExecs()
		s.tellArrivals()
		s.rec.End(io.EOF)
		if clean {
			s.shared.Tasks.Close()
			for _, fd := range s.closing {
				unix.Close(fd)
			}
		}
		close(s.done)
	}()
}

// lastWorkers is how long the threads are waited for when the tasks are gone.
const lastWorkers = time.Second

// workersEnd waits for the threads. It is false if some are stuck: they look
// for something that does not answer, on behalf of tasks that have died. What
// they may use must be left as it is.
func (s *Source) workersEnd() bool {
	ended := make(chan bool)
	go func() {
		s.working.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(lastWorkers):
		return false
	}
}

// receiveListener gets the descriptor and the kind of its filter.
func receiveListener(control int) (fd int, killable bool, err error) {
	var kind [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(control, kind[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, false, fmt.Errorf("cannot receive the seccomp listener: %w", err)
	}
	if n == 0 || kind[0] != handKillable && kind[0] != handPlain {
		return -1, false, ErrNoListener
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, false, ErrNoListener
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, false, ErrNoListener
	}
	return fds[0], kind[0] == handKillable, nil
}

// ErrNoListener means that the other side ended before it had a filter; it has
// said why.
var ErrNoListener = errors.New("the workload could not be put under the seccomp filter")

// Next implements the exporter's source.
func (s *Source) Next(ctx context.Context) (*record.Batch, error) { return s.rec.Next(ctx) }

// Losses implements the exporter's source.
func (s *Source) Losses() record.Losses { return s.rec.Losses() }

// Processes lists the thread groups of the context that are alive.
func (s *Source) Processes() []int { return s.shared.Tasks.Processes() }

// Held tells whether tasks wait for room among the records.
func (s *Source) Held() bool { return s.rec.Held() }

// Done is closed when no task of the context is left.
func (s *Source) Done() <-chan struct{} { return s.done }

// DigestsMissing counts the files whose digest could not be had, by the word
// that says why.
func (s *Source) DigestsMissing() map[string]uint64 { return s.shared.World.Digests.Missing() }

// watchTime passes the listener on when a call takes long, and gives up calls
// that take too long. It waits for nobody.
func (s *Source) watchTime() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		for p := range s.ports {
			for _, c := range p.relay.check() {
				go s.release(c)
			}
		}
		s.mu.Unlock()
	}
}

// tellLate tells what tasks have made and executed that make no further call.
func (s *Source) tellLate() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		if !s.rec.Roomy() {
			continue
		}
		s.tellArrivals()
		if n%10 == 0 {
			s.rec.clock.adjust()
			s.decideExecs()
		}
	}
}

// decideExecs records what execs have mapped that can be decided by now.
func (s *Source) decideExecs() {
	s.lateMu.Lock()
	defer s.lateMu.Unlock()
	s.shared.Tasks.Undecided(func(d *task.Decision) { s.oweMappings(s.late, d) })
	s.rec.pay()
}

// tellArrivals records what calls have made whose success only a new descriptor
// shows.
func (s *Source) tellArrivals() {
	s.lateMu.Lock()
	defer s.lateMu.Unlock()
	for _, t := range s.shared.BPF.Makers() {
		if !t.Handling.TryLock() {
			continue // it makes its next call, with which that is told
		}
		s.tellArrival(s.late, t)
		t.Handling.Unlock()
	}
}

// tellArrival records what the last call of t has made, and whether it is lost.
// waits tells that it may still come. The Handling of t is held.
func (s *Source) tellArrival(by *derive.Deriver, t *task.Task) (waits bool) {
	events, fate := by.Arrived(t)
	if len(events) > 0 {
		coe := by.COE(t)
		s.rec.record(head(t, &coe), events)
	}
	if fate == derive.Lost {
		s.rec.Lost(record.CauseNotDerived, 0, false)
	}
	return fate == derive.Waits
}

// awaitArrival gives the call that t has just been let go with a moment to make
// what it makes: so its descriptor is mostly seen before t can close it, or end.
func (s *Source) awaitArrival(by *derive.Deriver, t *task.Task) {
	for range 12 {
		unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil)
		if !s.tellArrival(by, t) {
			return
		}
	}
}

// oweMappings has what the kernel has mapped for an exec recorded next. The
// tasks are held meanwhile, so nothing is waited for.
func (s *Source) oweMappings(by *derive.Deriver, d *task.Decision) {
	if events, coe := by.Mapped(d.Task, d.Exec); len(events) > 0 {
		s.rec.owe(head(d.Task, &coe), events)
	}
}

// interest is what the filter was made for, or more.
func (s *Source) interest() derive.Interest { return derive.Interest{Model: s.opts.Model, IO: true} }

func (s *Source) deriveOptions() derive.Options {
	return derive.Options{
		Algorithm: s.opts.Algorithm, Model: s.opts.Model, Current: s.opts.Current, Abspath: s.opts.Abspath, AllowURing: s.opts.AllowURing,
		Own: s.opts.Own,
	}
}
