// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"sync"
	"time"
)

// patience is how long one system call may take to handle before another
// thread receives in its place.
const patience = 5 * time.Millisecond

// relay hands the listener from thread to thread. One thread at a time
// receives, and it handles what it receives itself: waking another would cost
// more than the handling. But a path may lie in memory, or on a file system,
// that a task of the same workload serves, so when a call takes long a standby
// thread takes over, lest the two wait for each other.
type relay struct {
	mu      sync.Mutex
	holder  *worker
	standby []*worker
	start   func(*worker) // runs a new worker
	made    int
	stopped bool
}

// take waits until w may receive; false: there is nothing more to receive.
func (r *relay) take(w *worker) bool {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		return false
	}
	if r.holder == nil {
		r.holder = w
	}
	if r.holder == w {
		r.mu.Unlock()
		return true
	}
	r.standby = append(r.standby, w)
	r.mu.Unlock()
	return <-w.turn
}

// holds tells whether w is still the one to receive.
func (r *relay) holds(w *worker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
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

// check passes the listener on if its holder has been busy for too long.
func (r *relay) check(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.holder == nil {
		return
	}
	since := r.holder.busy.Load()
	if since == 0 || now.UnixNano()-since < int64(patience) {
		return
	}
	if n := len(r.standby); n > 0 {
		r.holder = r.standby[n-1]
		r.standby = r.standby[:n-1]
		r.holder.turn <- true
		return
	}
	w := newWorker()
	r.made++
	r.holder = w
	r.start(w)
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
}
