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
	blind   bool         // it looks at nothing that may not answer
	tid     atomic.Int32 // its thread id while it receives
	turn    chan bool
	lonely  bool // no other task has called for a while

	// The call that is being handled.
	n       kernel.Notification
	row     *derive.Row
	task    *task.Task // whose call it is, and Handling held; or nil
	derived derived
	headed  atomic.Bool // task, and the head of derived, are there to be read

	state atomic.Uint32
	pulse atomic.Uint64 // signs of life
	seen  uint64        // the pulse at the last beat
	late  int           // beats since then
	spent bool          // must not handle another call
}

// turn is how long a worker goes on before it yields. A goroutine that makes
// one system call after another is never rescheduled, and when that has lasted
// for ten milliseconds the runtime takes it for stuck and keeps a thread awake
// that looks after it 20,000 times a second.
const turn = 5 * time.Millisecond

func newWorker() *worker { return &worker{turn: make(chan bool, 1)} }

func (w *worker) run() (err error) {
	p, s := w.p, w.p.s
	opts := s.deriveOptions()
	opts.Slow = w.slow
	w.deriver, err = derive.New(s.shared, opts)
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
			w.lonely = p.alone(w.n.TID)
			now := time.Now()
			w.answer()
			if w.spent {
				p.relay.leave(w)
				return nil
			}
			if now.Sub(yielded) > turn {
				runtime.Gosched()
				yielded = now
			}
		}
		w.tid.Store(0)
	}
	return nil
}

// slow tells that what is being done takes its time, but goes on.
func (w *worker) slow() {
	w.pulse.Add(1)
	w.p.relay.yield(w)
}

// answer handles one call and lets it go on. Whatever goes wrong here must not
// leave the task waiting.
func (w *worker) answer() {
	s, listener, id := w.p.s, w.p.listener, w.n.ID
	w.begin()
	answered := false
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.Error("a system call could not be derived", "call", w.n.NR,
				"args", fmt.Sprintf("%x", w.n.Args), "panic", p, "stack", string(debug.Stack()))
			// The thread may have been left with the rights of the task.
			w.spent = true
			if w.finishing() {
				s.rec.Lost(record.CauseNotDerived, 0, false)
			}
		}
		if !answered && w.finishing() {
			kernel.Continue(listener, id)
		}
		w.end()
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
	if e := c.out.Exec; e != nil {
		answer := let
		let = func() bool { return s.shared.Tasks.Answer(w.task, e, answer) }
	}
	valid := func() bool { return kernel.Valid(listener, id) }
	if !s.rec.recordIf(let, valid, c.head, c.out.Events) {
		// A signal has taken the task out of the call, which is then made anew,
		// or not at all; what was read may have been another's.
		w.deriver.Undo(w.task)
		return
	}
	if c.missed {
		s.rec.Lost(record.CauseStalled, 0, false)
	}
	if c.out.Makes {
		s.awaitArrival(w.deriver, w.task)
	}
}

// begin and end enclose the handling of a call.
func (w *worker) begin() {
	w.headed.Store(false)
	w.row = w.p.s.arches[w.n.Arch].Rows[w.n.NR]
	w.pulse.Add(1)
	w.state.Store(working)
}

func (w *worker) end() {
	if w.state.Load() == abandoned {
		// Who gave the call up still looks at it.
		w.p.relay.mu.Lock()
		w.p.relay.mu.Unlock() //nolint:staticcheck // waits
	}
	if w.task != nil {
		w.task.Handling.Unlock()
		w.task = nil
	}
	w.state.Store(idle)
}

// finishing tells whether it is for this worker to end its call. Afterwards
// nobody else can.
func (w *worker) finishing() bool {
	return w.state.CompareAndSwap(working, writing) || w.state.Load() == writing
}

// receiveEarly is the port's, as long as the listener is this worker's.
func (w *worker) receiveEarly() { w.p.relay.whileHeld(w, w.p.receiveEarly) }

// derived is a call that has been handled.
type derived struct {
	call   derive.Call
	head   tsem.Event
	comm   [16]byte // what head has as the name of the process
	out    *derive.Outcome
	missed bool // events may be missing
	root   bool // root makes the call
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
	c.root = t.Status.COE.EUID == 0
}

// handle derives one call; nil when there is nothing to record of it.
func (w *worker) handle() *derived {
	s, n, row := w.p.s, &w.n, w.row
	if row == nil {
		return nil
	}
	if !w.p.started.Load() {
		// Until its first exec this is our own helper or the container
		// runtime, not the workload.
		if row.Name != "execve" || !w.p.starts(int(n.TID)) {
			return nil
		}
		w.p.started.Store(true)
		s.shared.Tasks.Root(int(n.TID))
	}
	// To look a task up can give it the identity of a new program, which who
	// handles an earlier call of it still reads: a call that a signal has taken
	// the task out of is made anew before that one is done with.
	known := s.shared.Tasks.Known(int(n.TID))
	if known != nil && !w.lock(known) {
		known = nil
	}
	t, err := w.current()
	if known != nil && t != known {
		known.Handling.Unlock()
	}
	if err != nil {
		if known == t && t != nil {
			t.Handling.Unlock()
		}
		if kernel.Valid(w.p.listener, n.ID) {
			s.opts.Log.Error("a task cannot be looked at", "tid", n.TID, "call", row.Name, "error", err)
			s.rec.Lost(record.CauseTaskUnreadable, 0, false)
		}
		return nil
	}
	if t != known && !w.lock(t) {
		t = s.shared.Tasks.Disown(t)
		t.Handling.Lock()
	}
	w.task = t
	w.deriver.Meet(t)
	c := &w.derived
	coe := w.deriver.COE(t)
	c.begin(t, &coe)
	c.call = derive.Call{Task: t, Row: row, Args: n.Args, Compat: s.arches[n.Arch].Compat}
	c.missed = false
	w.headed.Store(true)
	if w.blind {
		c.out, c.missed = w.deriver.Blind(&c.call)
		if c.missed {
			s.tellStalled(row)
		}
	} else {
		w.deriver.Settle(t)
		c.out = w.deriver.Derive(&c.call)
	}
	if !w.lonely {
		w.receiveEarly()
	}
	// The call may have been given up, or the task have gone. Where events are
	// all that comes of the call, its answer tells.
	more := c.out.Exec != nil || c.out.Instead != nil || c.out.URing || c.out.Unseen
	if !w.finishing() || more && !kernel.Valid(w.p.listener, n.ID) {
		w.deriver.Undo(t)
		return nil
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

// lock takes the Handling of t. A worker that must not wait for what another is
// stuck in may fail to.
func (w *worker) lock(t *task.Task) bool {
	if w.blind {
		return t.Handling.TryLock()
	}
	t.Handling.Lock()
	return true
}

// current finds the task that makes the call. Execs that show now to have
// succeeded are recorded, but not while the tasks are held: there may be no
// room, and who records nothing need not wait for that.
func (w *worker) current() (*task.Task, error) {
	s := w.p.s
	t, err := s.shared.Tasks.Current(int(w.n.TID), func(d *task.Decision) { s.oweMappings(w.deriver, d) })
	if s.rec.owing.Load() {
		w.writing(s.rec.pay)
	}
	return t, err
}

// writing calls f, which may have to wait for the outputs.
func (w *worker) writing(f func()) {
	if !w.state.CompareAndSwap(working, writing) {
		f()
		return
	}
	f()
	w.pulse.Add(1)
	w.state.Store(working)
}

// tellUnseen says once for each kind of call that its events are lost, as many
// as there may be.
func (s *Source) tellUnseen(call string) {
	if _, told := s.unseen.LoadOrStore(call, true); !told {
		s.rec.Lost(record.CauseNotDerived, 0, false)
		go s.opts.Notice("the events of " + call + " cannot be told: the workload calls it in a namespace that we may not enter (run as root)")
	}
}

// tellURing says once what becomes of io_uring: it is refused, or what is done
// with it is lost.
func (s *Source) tellURing(refused bool) {
	if !refused {
		s.rec.Lost(record.CauseIOURing, 0, false)
	}
	s.uring.Do(func() {
		if refused {
			go s.opts.Notice("io_uring is refused to the workload: what it does could not be seen (programs fall back to ordinary calls; --allow-io-uring lets it through)")
		} else {
			go s.opts.Notice("the workload uses io_uring: what it does with it is not seen")
		}
	})
}
