// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"runtime"
	"testing"
)

// handling makes w a worker that is in the midst of a call.
func handling(w *worker) *worker {
	w.pulse.Add(1)
	w.state.Store(working)
	return w
}

// awaitStandby waits until n workers wait for their turn.
func (r *relay) awaitStandby(n int) {
	for {
		r.mu.Lock()
		m := len(r.standby)
		r.mu.Unlock()
		if m == n {
			return
		}
		runtime.Gosched()
	}
}

// A holder that is busy for too long loses the listener to a new worker, and
// afterwards to one that waits.
func TestRelayPassesOn(t *testing.T) {
	var r relay
	started := make(chan *worker, 4)
	r.start = func(w *worker) { started <- w }
	first := r.add(newWorker())
	r.holder = first
	if !r.take(first) || !r.holds(first) {
		t.Fatal("the first worker does not hold the listener")
	}
	for range 3 * patience {
		r.check()
	}
	if !r.holds(first) {
		t.Fatal("a worker that waits for a call has lost the listener")
	}
	handling(first)
	r.check()
	if !r.holds(first) {
		t.Fatal("the listener was passed on too early")
	}
	first.pulse.Add(1)
	r.check()
	if !r.holds(first) {
		t.Fatal("the listener was passed on though the worker gets on")
	}
	r.check()
	second := <-started
	if r.holds(first) || !r.holds(second) {
		t.Fatal("the listener was not passed on")
	}
	first.state.Store(idle)
	waiting := make(chan bool)
	go func() { waiting <- r.take(first) }()
	r.awaitStandby(1)
	handling(second)
	r.check()
	r.check()
	if !<-waiting || !r.holds(first) {
		t.Fatal("the worker on standby did not get the listener")
	}
	go func() { waiting <- r.take(second) }()
	r.awaitStandby(1)
	r.yield(first)
	if !<-waiting || !r.holds(second) {
		t.Fatal("the listener was not given away")
	}
	go func() { waiting <- r.take(first) }()
	r.awaitStandby(1)
	r.stop()
	if <-waiting {
		t.Fatal("a worker was told to go on after the end")
	}
	if r.take(newWorker()) {
		t.Fatal("a new worker was let in after the end")
	}
}

// A call that is looked at for too long is given up, once; one that waits for
// room among the records is not.
func TestRelayGivesUp(t *testing.T) {
	var r relay
	r.start = func(*worker) {}
	stuck, slow := r.add(handling(newWorker())), r.add(handling(newWorker()))
	slow.state.Store(writing)
	r.holder = r.add(newWorker())
	stuck.n.ID, stuck.p = 7, &port{}
	for range patience {
		if len(r.check()) > 0 {
			t.Fatal("a call was given up too early")
		}
	}
	c := r.check()
	if len(c) != 1 || c[0].id != 7 || c[0].task != nil {
		t.Fatalf("given up: %+v", c)
	}
	if stuck.finishing() {
		t.Error("the worker may still end the call")
	}
	for range 2 * patience {
		if len(r.check()) > 0 {
			t.Fatal("a call was given up again, or one that waits for room")
		}
	}
	if !slow.finishing() {
		t.Error("a call that waits for room was taken away")
	}
}

// When all threads that there may be are stuck, one goes on that is blind, until
// another is free.
func TestRelayOfLastResort(t *testing.T) {
	var r relay
	started := 0
	r.start = func(*worker) { started++ }
	r.holder = r.add(newWorker())
	for range maxWorkers + 10 {
		if !r.holder.blind {
			handling(r.holder)
		}
		r.check()
		r.check()
	}
	if started != maxWorkers || !r.holder.blind || len(r.workers) != maxWorkers+1 {
		t.Fatalf("%d threads were started, %d are there, the last one is blind: %v", started, len(r.workers), r.holder.blind)
	}
	blind, free := r.holder, r.workers[3]
	if !r.holds(blind) {
		t.Fatal("the last thread has lost the listener")
	}
	free.state.Store(idle)
	waiting := make(chan bool)
	go func() { waiting <- r.take(free) }()
	r.awaitStandby(1)
	if r.holds(blind) || !<-waiting {
		t.Fatal("the blind thread goes on though another is free")
	}
	go func() { waiting <- r.take(blind) }()
	for resting := false; !resting; runtime.Gosched() {
		r.mu.Lock()
		resting = r.resting
		r.mu.Unlock()
	}
	handling(free)
	r.check()
	r.check()
	if !<-waiting || !r.holds(blind) || started != maxWorkers {
		t.Fatal("the blind thread was not called back")
	}
	r.stop()
}
