// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/kernel"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
)

// worker is a thread that receives and handles notifications.
type worker struct {
	s       *Source
	deriver *derive.Deriver
	busy    atomic.Int64 // since when it handles a call, 0 if it does not
	tid     atomic.Int32 // its thread id while it receives
	turn    chan bool
	n       kernel.Notification
}

func newWorker() *worker { return &worker{turn: make(chan bool, 1)} }

func (w *worker) run() (err error) {
	s := w.s
	w.deriver, err = derive.New(s.shared, derive.Options{
		Algorithm: s.opts.Algorithm, Current: s.opts.Current, Abspath: s.opts.Abspath, AllowURing: s.opts.AllowURing,
	})
	if err != nil {
		return err
	}
	for s.relay.take(w) {
		w.tid.Store(int32(unix.Gettid()))
		for s.relay.holds(w) {
			switch err := kernel.Receive(s.listener, &w.n); err {
			case nil:
			case unix.ENOENT, unix.EINTR, unix.EAGAIN:
				if s.hungUp(0) {
					s.finish()
					return nil
				}
				continue
			default:
				return fmt.Errorf("cannot receive from the seccomp listener: %w", err)
			}
			w.busy.Store(time.Now().UnixNano())
			w.answer()
			w.busy.Store(0)
		}
		w.tid.Store(0)
	}
	return nil
}

// answer handles one call and lets it go on. Whatever goes wrong here must not
// leave the task waiting.
func (w *worker) answer() {
	s, id := w.s, w.n.ID
	refuse := unix.Errno(0)
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.Error("a system call could not be derived", "call", w.n.NR, "args", fmt.Sprintf("%x", w.n.Args), "panic", p, "stack", string(debug.Stack()))
			s.rec.lost(record.CauseNotDerived, 0, false)
			kernel.Continue(s.listener, id)
			return
		}
		if refuse != 0 {
			kernel.Refuse(s.listener, id, refuse)
			return
		}
		kernel.Continue(s.listener, id)
	}()
	refuse = w.handle()
}

// handle derives and records one call. The result is the error the call must
// fail with, or 0.
func (w *worker) handle() unix.Errno {
	s, n := w.s, &w.n
	row := s.arches[n.Arch].Rows[n.NR]
	if row == nil {
		return 0
	}
	if !s.started.Load() {
		// Until its first exec this is our own helper, not the workload.
		if row.Name != "execve" {
			return 0
		}
		s.started.Store(true)
	}
	t, decided, err := s.shared.Tasks.Current(int(n.TID))
	if err != nil {
		if kernel.Valid(s.listener, n.ID) {
			s.opts.Log.Error("a task cannot be looked at", "tid", n.TID, "call", row.Name, "error", err)
			s.rec.lost(record.CauseTaskUnreadable, 0, false)
		}
		return 0
	}
	w.deriver.Before(t)
	coe := w.deriver.COE(t)
	if decided != nil {
		s.recordMappings(decided, &coe)
	}
	out := w.deriver.Derive(&derive.Call{Task: t, Row: row, Args: n.Args, Compat: s.arches[n.Arch].Compat})
	if !kernel.Valid(s.listener, n.ID) {
		return 0 // the task has died: what was read may be of another
	}
	if out.URing {
		s.tellURing(out.Refuse != 0)
	}
	if s.killable {
		s.rec.record(t, &coe, out.Events)
		w.begin(t, out.Exec)
		return out.Refuse
	}
	w.begin(t, out.Exec)
	s.rec.record(t, &coe, out.Events)
	return out.Refuse
}

// tellURing says once what becomes of io_uring: it is refused, or what is done
// with it is lost.
func (s *Source) tellURing(refused bool) {
	if !refused {
		s.rec.lost(record.CauseIOURing, 0, false)
	}
	s.uring.Do(func() {
		if refused {
			s.opts.Notice("io_uring is refused to the workload: what it does could not be seen (programs fall back to ordinary calls; --allow-io-uring lets it through)")
		} else {
			s.opts.Notice("the workload uses io_uring: what it does with it is not seen")
		}
	})
}

// begin notes an exec before its task goes on.
func (w *worker) begin(t *task.Task, e *task.Exec) {
	if e == nil {
		return
	}
	w.s.shared.Tasks.Leaving(t)
	w.s.shared.Tasks.BeginExec(t, e)
}
