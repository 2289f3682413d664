// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package bpf makes events out of what BPF programs on the security hooks of
// the kernel tell of a workload.
//
// A workload is a task and all that descends from it; the kernel side keeps it
// apart from everybody else. The workload never waits: its events go into a ring
// and are read from there, and when the ring is full they are lost. That is
// counted in the kernel and becomes a lost record at the place where they are
// missing. The order is that of the ring.
package bpf

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/internal/record"
	"quixote-export/internal/recorder"
	"quixote-export/tsem"
)

// Options of a source.
type Options struct {
	Context   uint64         // number of the context
	Ledger    *ledger.Ledger // where records are kept until they are delivered
	Model     *model.Model   // which events
	Algorithm *tsem.Algorithm
	// DigestLimit is the size in bytes above which files have no digest.
	DigestLimit uint64
	Current     bool // ids as in the task's own user namespace
	// Container tells that the process is a container runtime. The workload is what
	// is executed first in its container, or with IncludeRuntime the runtime too,
	// and whoever enters the container later.
	Container, IncludeRuntime bool
	// Trace has the programs on the tracepoints of system calls instead of the
	// security hooks.
	Trace     bool
	Timestamp bool   // add the wall-clock time
	Ring      uint32 // bytes of the ring, 0 for DefaultRing
	// Keep, if set, is called with the descriptor of each program on its hook, for
	// somebody who keeps it beyond our death: until the workload has been ended,
	// which must not wait for the kernel to take the programs off.
	Keep func(fd int)
	Log  *slog.Logger
}

// Source is one context that is watched by its hooks.
type Source struct {
	opts    Options
	kernel  *loaded
	events  *ring
	notes   *ring
	decoder *decoder
	rec     *recorder.Recorder
	ended   bool          // there was no task left at some time
	first   int           // pidfd of the process that becomes the workload
	done    chan struct{} // closed when no task of the context is left

	looking sync.Mutex // held to ask the kernel who is alive
	closed  bool

	conditional bool // the model keeps some events of a type only
	losses      tally
	adjusted    time.Time // when the wall clock was looked at

	tap func(entry []byte, note bool) // is shown everything that is read; for tests
}

// Attach begins to watch process pid, which must not execute anything before
// its workload.
func Attach(pid int, opts Options) (*Source, error) { return attach(pid, opts, nil) }

func attach(pid int, opts Options, tap func([]byte, bool)) (*Source, error) {
	k, err := load(opts.load())
	if err != nil {
		return nil, err
	}
	s := &Source{opts: opts, kernel: k, first: -1, tap: tap, rec: recorder.New(opts.Context, opts.Ledger), done: make(chan struct{})}
	for name, err := range k.missing {
		opts.Log.Debug("a hook is not watched", "hook", name, "reason", err)
	}
	if err := s.open(); err != nil {
		s.close()
		return nil, err
	}
	for _, at := range k.links {
		if fd, ok := descriptor(at); ok && opts.Keep != nil {
			opts.Keep(fd)
		}
	}
	if s.first, err = unix.PidfdOpen(pid, 0); err == nil {
		mute := uint32(muteExec)
		if opts.Container && !opts.IncludeRuntime {
			mute = muteRuntime
		}
		err = k.tag(s.first, mute)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("cannot put the workload into its context: %w", err)
	}
	go s.run()
	return s, nil
}

func (o *Options) load() loadOptions {
	l := loadOptions{ring: o.Ring, users: o.Current, model: o.Model, box: o.Container, trace: o.Trace}
	if !o.Trace {
		l.hash = hashNumbers[o.Algorithm.Name]
	}
	return l
}

// open makes the readers of the rings.
func (s *Source) open() (err error) {
	if s.events, err = newRing(s.kernel.maps["ring"]); err != nil {
		return err
	}
	if s.notes, err = newRing(s.kernel.maps["notes"]); err != nil {
		return err
	}
	files := newDigests(s.opts.Algorithm, s.opts.DigestLimit)
	var home uint32
	s.kernel.variable("home_mounts", &home)
	files.home = home
	s.decoder = newDecoder(s.opts.Algorithm, s.opts.Model, files)
	s.decoder.wall = s.opts.Timestamp
	s.decoder.born = uint64(time.Now().UnixNano() - bootTime())
	for _, r := range s.opts.Model.Rules {
		s.conditional = s.conditional || r.When != 0
	}
	s.adjust()
	return nil
}

// adjust looks at the wall clock, which may have been set.
func (s *Source) adjust() {
	s.adjusted = time.Now()
	s.decoder.boot = time.Unix(0, bootTime())
}

// run reads until no task is left.
func (s *Source) run() {
	defer close(s.done)
	begun := false
	for {
		came, more := s.drain()
		live := s.kernel.number("live")
		begun = begun || live > 0 || s.ended
		// A runtime can still start something, when a hook of it has ended.
		if live == 0 && (begun && !s.opts.Container || s.gone()) {
			break
		}
		if time.Since(s.adjusted) > time.Second {
			s.adjust()
		}
		if more {
			continue
		}
		if err := s.events.wait(came); err != nil {
			s.rec.End(fmt.Errorf("cannot read the BPF ring: %w", err))
			return
		}
	}
	s.kernel.release()
	// What was written until then comes before the end.
	for more := true; more; {
		_, more = s.drain()
	}
	s.rec.End(io.EOF)
	s.close()
}

// gone tells that the process that should become the workload has ended.
func (s *Source) gone() bool {
	fds := []unix.PollFd{{Fd: int32(s.first), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return n > 0 && err == nil
}

// drain reads what there is, but not for ever. came tells that it was something,
// more that it is not all.
func (s *Source) drain() (came, more bool) {
	for range atOnce {
		sample, _, ok := s.events.next()
		if !ok {
			s.release()
			s.tellLost(^uint64(0))
			return came, false
		}
		came = true
		s.readNotes()
		if s.decoder.note(sample) {
			s.ended = true
			continue
		}
		if s.tap != nil {
			s.tap(sample, false)
		}
		s.record(sample)
		if s.events.held() > s.events.size/releaseAt {
			s.release()
		}
	}
	return came, true
}

// releaseAt is the part of the ring that is held while it is read.
const releaseAt = 32

func (s *Source) release() {
	s.events.release(s.events.at)
	s.notes.release(s.notes.at)
}

func (s *Source) readNotes() {
	for {
		note, _, ok := s.notes.next()
		if !ok {
			return
		}
		if s.tap != nil {
			s.tap(note, true)
		}
		s.decoder.note(note)
	}
}

// record records one event, and before it what was lost until then.
func (s *Source) record(b []byte) {
	e := s.decoder.decode(b)
	if n := s.decoder.head.lost; n > s.losses.total {
		s.tellLost(n - s.losses.total)
	}
	if e == nil {
		s.rec.Lost(record.CauseRecordInvalid, 1, true)
		return
	}
	if !s.decoder.keeps() {
		return
	}
	s.rec.Lock()
	s.rec.Append(e)
	s.rec.Unlock()
}

// tellLost records up to n losses that have not been told.
func (s *Source) tellLost(n uint64) { s.losses.tell(s.kernel.lost(), n, !s.conditional, s.rec.Lost) }

// close gives up what is in the kernel.
func (s *Source) close() {
	for _, r := range []*ring{s.events, s.notes} {
		if r != nil {
			r.close()
		}
	}
	if s.decoder != nil {
		s.decoder.digests.close()
	}
	if s.first >= 0 {
		unix.Close(s.first)
	}
	s.looking.Lock()
	defer s.looking.Unlock()
	s.kernel.close()
	s.closed = true
}

// Next implements the exporter's source.
func (s *Source) Next(ctx context.Context) (*record.Batch, error) { return s.rec.Next(ctx) }

// Losses implements the exporter's source.
func (s *Source) Losses() record.Losses { return s.rec.Losses() }

// Done is closed when no task of the context is left.
func (s *Source) Done() <-chan struct{} { return s.done }

// Processes lists the thread groups of the context that are alive.
func (s *Source) Processes() []int {
	s.looking.Lock()
	defer s.looking.Unlock()
	if s.closed {
		return nil
	}
	pids, err := s.kernel.look()
	if err != nil {
		s.opts.Log.Error("tasks of the context are not known", "error", err)
	}
	slices.Sort(pids)
	return pids
}

// Sealed tells that nothing more will enter the context.
func (s *Source) Sealed() {}

// DigestsMissing counts the files whose digest could not be had, by the word
// that says why.
func (s *Source) DigestsMissing() map[string]uint64 { return s.decoder.digests.files.Missing() }
