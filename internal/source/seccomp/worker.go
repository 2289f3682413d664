// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/kernel"
	"quixote-export/internal/record"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// worker is a thread that receives and handles notifications.
type worker struct {
	p       *port
	deriver *derive.Deriver
	busy    atomic.Int64 // since when it handles a call, 0 if it does not
	tid     atomic.Int32 // its thread id while it receives
	turn    chan bool
	n       kernel.Notification
	derived derived
	task    *task.Task // whose call is being handled, and Handling held; or nil
}

// turn is how long a worker goes on before it yields. A goroutine that makes
// one system call after another is never rescheduled, and when that has lasted
// for ten milliseconds the runtime takes it for stuck and keeps a thread awake
// that looks after it 20,000 times a second.
const turn = 5 * time.Millisecond

func newWorker() *worker { return &worker{turn: make(chan bool, 1)} }

func (w *worker) run() (err error) {
	p, s := w.p, w.p.s
	w.deriver, err = derive.New(s.shared, s.deriveOptions())
	if err != nil {
		return err
	}
	yielded := time.Now()
	for p.relay.take(w) {
		w.tid.Store(int32(unix.Gettid()))
		for p.relay.holds(w) {
			switch err := p.receive(&w.n); err {
			case nil:
			case unix.ENOENT, unix.EINTR, unix.EAGAIN:
				if p.hungUp(0) {
					p.end()
					return nil
				}
				continue
			default:
				return fmt.Errorf("cannot receive from the seccomp listener: %w", err)
			}
			now := time.Now()
			w.busy.Store(now.UnixNano())
			w.answer()
			w.busy.Store(0)
			if now.Sub(yielded) > turn {
				runtime.Gosched()
				yielded = now
			}
		}
		w.tid.Store(0)
	}
	return nil
}

// answer handles one call and lets it go on. Whatever goes wrong here must not
// leave the task waiting.
func (w *worker) answer() {
	s, listener, id := w.p.s, w.p.listener, w.n.ID
	answered := false
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.Error("a system call could not be derived", "call", w.n.NR,
				"args", fmt.Sprintf("%x", w.n.Args), "panic", p, "stack", string(debug.Stack()))
			s.rec.lost(record.CauseNotDerived, 0, false)
		}
		if !answered {
			kernel.Continue(listener, id)
		}
		if w.task != nil {
			w.task.Handling.Unlock()
			w.task = nil
		}
	}()
	c := w.handle()
	if c == nil {
		return
	}
	answered = true
	if c.out.Instead != nil {
		s.rec.record(c.head, c.out.Events)
		c.out.Instead(w.p.killable, func(result unix.Errno) { kernel.Answer(listener, id, result) })
		return
	}
	let := func() bool { return kernel.Continue(listener, id) == nil }
	if c.out.Refuse != 0 {
		let = func() bool { return kernel.Answer(listener, id, c.out.Refuse) == nil }
	}
	if w.p.killable {
		s.rec.record(c.head, c.out.Events)
		let()
	} else if !s.rec.recordIf(let, c.head, c.out.Events) {
		// A signal has taken the task out of the call, which is then made anew,
		// or not at all.
		w.deriver.Undo(w.task)
		return
	}
	if c.out.Makes {
		s.awaitArrival(w.deriver, w.task)
	}
}

// receiveEarly is the port's, as long as the listener is this worker's.
func (w *worker) receiveEarly() {
	w.p.relay.whileHeld(w, w.p.receiveEarly)
}

// derived is a call that has been handled.
type derived struct {
	call derive.Call
	head tsem.Event
	comm [16]byte // what head has as the name of the process
	out  *derive.Outcome
}

// begin fills in what all events of the call have in common: once t goes on,
// its task changes.
func (c *derived) begin(t *task.Task, coe *tsem.COE) {
	c.head = tsem.Event{
		PID: uint32(t.TID), TNum: t.TNum,
		Process: append(c.comm[:0], t.Status.Comm[:t.Status.CommLen]...),
		TTD:     t.TTD, PTTD: t.PTTD, TaskID: t.TaskID, PTaskID: t.PTaskID,
		COE: *coe,
	}
}

// handle derives one call; nil when there is nothing to record of it.
func (w *worker) handle() *derived {
	s, n := w.p.s, &w.n
	row := s.arches[n.Arch].Rows[n.NR]
	if row == nil {
		return nil
	}
	if !w.p.started.Load() {
		// Until its first exec this is our own helper or the container
		// runtime, not the workload.
		if row.Name != "execve" {
			return nil
		}
		w.p.started.Store(true)
		s.shared.Tasks.Root(int(n.TID))
	}
	t, err := s.shared.Tasks.Current(int(n.TID), func(d *task.Decision) { s.recordMappings(w.deriver, d) })
	if err != nil {
		if kernel.Valid(w.p.listener, n.ID) {
			s.opts.Log.Error("a task cannot be looked at", "tid", n.TID, "call", row.Name, "error", err)
			s.rec.lost(record.CauseTaskUnreadable, 0, false)
		}
		return nil
	}
	t.Handling.Lock()
	w.task = t
	w.deriver.Before(t)
	c := &w.derived
	coe := w.deriver.COE(t)
	c.begin(t, &coe)
	c.call = derive.Call{Task: t, Row: row, Args: n.Args, Compat: s.arches[n.Arch].Compat}
	c.out = w.deriver.Derive(&c.call)
	if s.shared.Tasks.Crowd() {
		w.receiveEarly()
	}
	if !kernel.Valid(w.p.listener, n.ID) {
		w.deriver.Undo(t)
		return nil // the task has gone: what was read may be of another
	}
	if c.out.URing {
		s.tellURing(c.out.Refuse != 0)
	}
	if c.out.Unseen {
		s.tellUnseen(row.Name)
	}
	if e := c.out.Exec; e != nil {
		s.shared.Tasks.Leaving(t)
		s.shared.Tasks.BeginExec(t, e)
	}
	return c
}

// tellUnseen says once for each kind of call that its events are lost, as many
// as there may be.
func (s *Source) tellUnseen(call string) {
	if _, told := s.unseen.LoadOrStore(call, true); !told {
		s.rec.lost(record.CauseNotDerived, 0, false)
		s.opts.Notice("the events of " + call + " cannot be told: the workload calls it in a namespace that we may not enter (run as root)")
	}
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
