// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"sync"
	"time"
)

// beat is how often workers are looked at. One that has handled the same call
// for a whole beat loses the listener to another. Time is told in beats, not by
// a clock: while this process is stopped none of its calls gets late.
const beat = 5 * time.Millisecond

// patience is how many beats a call may take to look at before it goes on
// without: four seconds.
const patience = int(4 * time.Second / beat)

// Bounds of the number of threads. Those that wait for room among the records
// need not be many, since more would only wait as well. When all that there may
// be are stuck, one is left that never is: it touches neither memory nor files.
const (
	maxWorkers = 512
	maxWaiting = 16
)

// relay hands the listener from thread to thread. One thread at a time
// receives, and it handles what it receives itself: waking another would cost
// more than the handling. But a path may lie in memory, or on a file system,
// that a task of the same workload serves, so when a call takes long a standby
// thread takes over, lest the two wait for each other.
type relay struct {
	mu      sync.Mutex
	holder  *worker
	standby []*worker
	workers []*worker     // all
	blind   *worker       // nil before it is needed
	resting bool          // the blind one waits for its turn
	start   func(*worker) // runs a new worker
	stopped bool
}

// take waits until w may receive; false: there is nothing more to receive.
func (r *relay) take(w *worker) bool {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		return false
	}
	if r.holder == w {
		r.mu.Unlock()
		return true
	}
	if w.blind {
		r.resting = true
	} else {
		r.standby = append(r.standby, w)
	}
	r.mu.Unlock()
	return <-w.turn
}

// holds tells whether w is still the one to receive. The blind one is only
// until another is free.
func (r *relay) holds(w *worker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holder == w && w.blind && len(r.standby) > 0 && !r.stopped {
		r.pass()
	}
	return r.holder == w && !r.stopped
}

// whileHeld calls f if w is the one to receive, and sees to it that it remains
// so meanwhile: what f saw to be there, another thread could take away before,
// and w would wait for more with the call that it has in hand.
func (r *relay) whileHeld(w *worker, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holder == w && !r.stopped {
		f()
	}
}

// yield passes the listener on: w is about to do something that takes long.
func (r *relay) yield(w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holder == w && !r.stopped {
		r.pass()
	}
}

// check looks at all workers, once in a beat: it passes the listener on if its
// holder has been busy for too long, and returns the calls that are given up.
func (r *relay) check() (stalled []stalledCall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil
	}
	waiting := 0
	for _, w := range r.workers {
		w.look()
		if w.late == 0 {
			continue
		}
		if w.state.Load() == writing {
			waiting++
		} else if w.late >= patience {
			if c, ok := w.giveUp(); ok {
				stalled = append(stalled, c)
			}
		}
	}
	if r.holder.late > 0 && waiting < maxWaiting {
		r.pass()
	}
	return stalled
}

// pass gives the listener to one that is free, or to a new one. The lock is
// held.
func (r *relay) pass() {
	if n := len(r.standby); n > 0 {
		r.holder = r.standby[n-1]
		r.standby = r.standby[:n-1]
		r.holder.turn <- true
		return
	}
	if len(r.workers) < maxWorkers {
		r.holder = r.add(newWorker())
		r.start(r.holder)
		return
	}
	switch {
	case r.blind == nil:
		r.blind = newWorker()
		r.blind.blind = true
		r.holder = r.add(r.blind)
		r.start(r.blind)
	case r.resting:
		r.resting = false
		r.holder = r.blind
		r.blind.turn <- true
	}
}

func (r *relay) add(w *worker) *worker {
	r.workers = append(r.workers, w)
	return w
}

// leave takes out a worker that ends; another takes its place.
func (r *relay) leave(w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, x := range r.workers {
		if x == w {
			r.workers = append(r.workers[:i], r.workers[i+1:]...)
			break
		}
	}
	if r.blind == w {
		r.blind = nil
	}
	if r.holder == w && !r.stopped {
		r.pass()
	}
}

// stop ends all threads that wait for their turn.
func (r *relay) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.stopped = true
	for _, w := range r.standby {
		w.turn <- false
	}
	r.standby = nil
	if r.resting {
		r.resting = false
		r.blind.turn <- false
	}
}
