// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"runtime"
	"testing"
	"time"
)

// A holder that is busy for too long loses the listener to a new worker, and
// afterwards to one that waits.
func TestRelayPassesOn(t *testing.T) {
	var r relay
	started := make(chan *worker, 4)
	r.start = func(w *worker) { started <- w }
	first := newWorker()
	if !r.take(first) || !r.holds(first) {
		t.Fatal("the first worker does not hold the listener")
	}
	now := time.Now()
	r.check(now.Add(time.Hour))
	if !r.holds(first) {
		t.Fatal("a worker that waits for a call has lost the listener")
	}
	first.busy.Store(now.UnixNano())
	r.check(now.Add(patience / 2))
	if !r.holds(first) {
		t.Fatal("the listener was passed on too early")
	}
	r.check(now.Add(2 * patience))
	second := <-started
	if r.holds(first) || !r.holds(second) {
		t.Fatal("the listener was not passed on")
	}
	first.busy.Store(0)
	waiting := make(chan bool)
	go func() { waiting <- r.take(first) }()
	for {
		r.mu.Lock()
		n := len(r.standby)
		r.mu.Unlock()
		if n == 1 {
			break
		}
		runtime.Gosched()
	}
	second.busy.Store(now.UnixNano())
	r.check(now.Add(2 * patience))
	if !<-waiting || !r.holds(first) {
		t.Fatal("the worker on standby did not get the listener")
	}
	go func() { waiting <- r.take(second) }()
	for {
		r.mu.Lock()
		n := len(r.standby)
		r.mu.Unlock()
		if n == 1 {
			break
		}
		runtime.Gosched()
	}
	r.stop()
	if <-waiting {
		t.Fatal("a worker was told to go on after the end")
	}
	if r.take(newWorker()) {
		t.Fatal("a new worker was let in after the end")
	}
}
