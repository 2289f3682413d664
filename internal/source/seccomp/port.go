// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
)

// port is one listener: the tasks that carry one filter. A command has one, a
// container one for each process that the runtime starts in it.
type port struct {
	s        *Source
	listener int
	killable bool // only fatal signals interrupt a task that waits
	relay    relay
	begins   int         // the process that will become the program, 0 if there is one only
	started  atomic.Bool // the first exec has been seen: what acts is the workload
	gone     chan struct{}

	last uint32 // task that has called last, and how often in turn
	runs int

	mu    sync.Mutex
	early []kernel.Notification // received, but not yet handled
}

// lonely is after how many calls of one task no other is expected to call while
// the next is handled.
const lonely = 64

// open begins to receive from a listener. What acts is the workload from the
// first exec on of process begins, of any if that is 0.
func (s *Source) open(listener int, killable bool, begins int) {
	if err := kernel.SyncWakeUp(listener); err != nil {
		s.opts.Log.Debug("the kernel has no synchronous wake-up for seccomp", "error", err)
	}
	s.opts.Keep(listener)
	p := &port{s: s, listener: listener, killable: killable, begins: begins, gone: make(chan struct{})}
	p.started.Store(s.opts.IncludeRuntime)
	p.relay.start = p.start
	first := p.relay.add(newWorker())
	p.relay.holder = first
	s.mu.Lock()
	s.ports[p] = true
	s.mu.Unlock()
	p.start(first)
	go p.watchEnd()
}

// starts tells whether an exec of that task is the beginning of the workload,
// and not of a helper of the container runtime, a hook.
func (p *port) starts(tid int) bool {
	if p.begins == 0 || tid == p.begins {
		return true
	}
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", p.begins, tid))
	return err == nil
}

// start runs a worker on a thread of its own.
func (p *port) start(w *worker) {
	w.p = p
	p.s.working.Add(1)
	go func() {
		defer p.s.working.Done()
		// The thread's ids change while it works: it is never given back.
		runtime.LockOSThread()
		if err := w.run(); err != nil {
			p.s.rec.End(err)
			p.end()
		}
	}()
}

// watchEnd waits until the last task is gone, and gets the receiving thread
// out of its wait, which not every kernel does.
func (p *port) watchEnd() {
	for !p.hungUp(-1) {
	}
	for {
		p.relay.mu.Lock()
		w := p.relay.holder
		p.relay.mu.Unlock()
		if tid := w.tid.Load(); tid != 0 {
			unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
		}
		select {
		case <-p.gone:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// hungUp tells whether the listener has lost its last task.
func (p *port) hungUp(timeout int) bool {
	fds := []unix.PollFd{{Fd: int32(p.listener)}}
	_, err := unix.Poll(fds, timeout)
	return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// receive waits for the next call, or takes one that was received early.
func (p *port) receive(n *kernel.Notification) error {
	p.mu.Lock()
	if len(p.early) > 0 {
		*n = p.early[0]
		p.early = p.early[1:]
		p.mu.Unlock()
		return nil
	}
	p.early = nil
	p.mu.Unlock()
	return kernel.Receive(p.listener, n)
}

// alone tells whether tid, which calls, has been the only task to do so for a
// while. It is for the one who receives.
func (p *port) alone(tid uint32) bool {
	if tid != p.last {
		p.last, p.runs = tid, 0
	}
	p.runs++
	return p.runs > lonely
}

// receiveEarly receives what waits while a call is being handled. Until then
// any signal would take the other tasks out of their calls, and a handler
// without SA_RESTART would let them see it; afterwards only a fatal one does.
func (p *port) receiveEarly() {
	if !p.killable {
		return
	}
	for {
		fds := [1]unix.PollFd{{Fd: int32(p.listener), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], 0)
		if n <= 0 || err != nil || fds[0].Revents&unix.POLLIN == 0 {
			return
		}
		var next kernel.Notification
		if kernel.Receive(p.listener, &next) != nil {
			return
		}
		p.mu.Lock()
		p.early = append(p.early, next)
		p.mu.Unlock()
	}
}

// end gives the port up: the receiving thread has seen its last task go.
func (p *port) end() {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ports[p] {
		return
	}
	p.relay.stop()
	delete(s.ports, p)
	s.closing = append(s.closing, p.listener)
	close(p.gone)
	s.settle()
}
