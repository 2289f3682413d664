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
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/kernel"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Options of a source.
type Options struct {
	Context    uint64 // number of the context
	Algorithm  *tsem.Algorithm
	Current    bool // ids as in the task's own user namespace
	Abspath    bool // add absolute paths
	Timestamp  bool // add the wall-clock time
	AllowURing bool // let io_uring through
	// Notice is called with one line for the user, from any goroutine.
	Notice func(string)
	Log    *slog.Logger
}

// Source is one context that is watched by its system calls.
type Source struct {
	opts     Options
	listener int
	killable bool
	arches   map[uint32]derive.Arch
	shared   *derive.Shared
	rec      *recorder
	relay    relay
	started  atomic.Bool // the workload's first exec has been seen
	working  sync.WaitGroup
	done     chan struct{} // closed when no task carries the filter any longer
	hangup   sync.Once
	uring    sync.Once
}

// Attach takes the listener that Enter sends through control, and begins to
// watch. It must be called before the workload is let go.
func Attach(control int, opts Options) (*Source, error) {
	listener, killable, err := receiveListener(control)
	if err != nil {
		return nil, err
	}
	s := &Source{opts: opts, listener: listener, killable: killable, done: make(chan struct{})}
	if err := kernel.SyncWakeUp(listener); err != nil {
		opts.Log.Debug("the kernel has no synchronous wake-up for seccomp", "error", err)
	}
	arches, err := derive.Arches(runtime.GOARCH, true)
	if err != nil {
		return nil, err
	}
	s.arches = make(map[uint32]derive.Arch)
	for _, a := range arches {
		s.arches[a.Audit] = a
	}
	tasks, err := task.New(opts.Algorithm.Size)
	if err != nil {
		return nil, err
	}
	if s.shared, err = derive.NewShared(opts.Algorithm, tasks); err != nil {
		return nil, err
	}
	s.rec = newRecorder(opts.Context, opts.Timestamp)
	s.relay.start = s.start
	first := newWorker()
	s.relay.holder = first
	s.start(first)
	go s.watchEnd()
	go s.watchTime()
	return s, nil
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
func (s *Source) Next(ctx context.Context) (*record.Batch, error) { return s.rec.next(ctx) }

// Losses implements the exporter's source.
func (s *Source) Losses() record.Losses { return s.rec.lostSoFar() }

// Processes lists the thread groups of the context that are alive.
func (s *Source) Processes() []int { return s.shared.Tasks.Processes() }

// Done is closed when no task of the context is left.
func (s *Source) Done() <-chan struct{} { return s.done }

// DigestsMissing counts the files whose digest could not be had, by the word
// that says why.
func (s *Source) DigestsMissing() map[string]uint64 { return s.shared.World.Digests.Missing() }

// start runs a worker on a thread of its own.
func (s *Source) start(w *worker) {
	w.s = s
	s.working.Add(1)
	go func() {
		defer s.working.Done()
		// The thread's ids change while it works: it is never given back.
		runtime.LockOSThread()
		if err := w.run(); err != nil {
			s.rec.end(err)
			s.finish()
		}
	}()
}

// watchEnd waits until the last task is gone, and gets the receiving thread
// out of its wait, which not every kernel does.
func (s *Source) watchEnd() {
	for !s.hungUp(-1) {
	}
	for {
		s.relay.mu.Lock()
		w := s.relay.holder
		s.relay.mu.Unlock()
		if tid := w.tid.Load(); tid != 0 {
			unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
		}
		select {
		case <-s.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// hungUp tells whether the listener has lost its last task.
func (s *Source) hungUp(timeout int) bool {
	p := []unix.PollFd{{Fd: int32(s.listener)}}
	_, err := unix.Poll(p, timeout)
	return err == nil && p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// watchTime passes the listener on when a call takes long, and decides execs
// whose task makes no further call.
func (s *Source) watchTime() {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-s.done:
			return
		case now := <-tick.C:
			s.relay.check(now)
			if n%10 == 0 {
				s.decideExecs()
			}
		}
	}
}

// decideExecs records what execs have mapped that can be decided by now.
func (s *Source) decideExecs() {
	s.shared.Tasks.Undecided(func(d *task.Decision) {
		d.Task.Status.ReadStatus(d.Task.TID, make([]byte, 8192))
		s.recordMappings(d, nil)
	})
}

// recordMappings records what the kernel has mapped for an exec.
func (s *Source) recordMappings(d *task.Decision, coe *tsem.COE) {
	if !d.Succeeded || len(d.Exec.Mappings) == 0 {
		return
	}
	events := make([]derive.Event, len(d.Exec.Mappings))
	for i := range d.Exec.Mappings {
		events[i] = derive.Event{Type: tsem.MmapFile, Cell: &d.Exec.Mappings[i]}
	}
	if coe == nil {
		coe = &d.Task.Status.COE
	}
	s.rec.record(d.Task, coe, events)
}

// finish ends the source: the receiving thread has seen the last task go.
func (s *Source) finish() {
	s.hangup.Do(func() {
		s.relay.stop()
		go func() {
			s.working.Wait()
			s.decideExecs()
			s.rec.end(io.EOF)
			s.shared.Tasks.Close()
			unix.Close(s.listener)
			close(s.done)
		}()
	})
}
