// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/mqtt/mqtttest"
)

// A broker that comes and goes, memory that is short, and writes and flushes
// at all times: everything arrives, in order.
func TestComingAndGoing(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		m := mqtttest.NewMemory(t, nil)
		b := newBench(t, m.Address, "test", func(o *Options) { o.Broker.QoS, o.Batch = qos, int(qos) })
		b.queue = newQueue(20 << 10)
		b.connect()
		r := rand.New(rand.NewPCG(uint64(qos), 1))
		const n = 20_000
		up := true
		for first := 1; first <= n; {
			last := min(first+r.IntN(200), n)
			if err := b.Write(batch(first, last)); err != nil {
				t.Fatal(err)
			}
			first = last + 1
			switch r.IntN(20) {
			case 0:
				if err := b.Flush(); err != nil {
					t.Fatal(err)
				}
			case 1, 2:
				if up = !up; up {
					if err := m.Start(); err != nil {
						t.Fatal(err)
					}
				} else {
					m.Stop()
				}
			case 3:
				if up {
					b.until(func() bool { return b.Waiting() == 0 })
				}
			}
		}
		if !up {
			if err := m.Start(); err != nil {
				t.Fatal(err)
			}
		}
		b.close()
		checkEvents(t, lines(m.Got()), 1, n)
		if lost := b.Lost(); !lost.None() {
			t.Errorf("lost %v", lost)
		}
	}
}

// A broker that hangs holds nobody up: Flush has the spool keep what it does
// not acknowledge, and all of it is there when the broker goes on.
func TestABrokerThatHangs(t *testing.T) {
	mosquitto := mqtttest.New(t, "allow_anonymous true")
	b := newBench(t, mosquitto.Address, "test", nil).connect()
	b.write(1, 100)
	b.until(func() bool { return b.Waiting() == 0 })
	unix.Kill(mosquitto.PID(), unix.SIGSTOP)
	const n = 10_000
	b.write(101, n)
	if err := b.Flush(); err != nil {
		t.Error(err)
	}
	if b.Held() != 0 || b.Waiting() != n-100 {
		t.Errorf("%d bytes held, %d records waiting", b.Held(), b.Waiting())
	}
	unix.Kill(mosquitto.PID(), unix.SIGCONT)
	b.close()
	if b.Waiting() != 0 {
		t.Errorf("%d records wait", b.Waiting())
	}
}

// A million records while the broker is away take no memory to speak of.
func TestMemoryWithTheBrokerAway(t *testing.T) {
	m := mqtttest.NewMemory(t, nil)
	b := newBench(t, m.Address, "test", nil).connect()
	m.Stop()
	part := batch(1, 1000)
	before := memory()
	for range 1000 {
		if err := b.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if grown := memory() - before; grown > 16<<20 {
		t.Errorf("%d MiB more", grown>>20)
	}
	if b.Waiting() != 1_000_000 {
		t.Errorf("%d records wait", b.Waiting())
	}
	b.Hurry()
	b.close()
}

// memory is what the process has of the kernel.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
