// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clock is that of ts: nanoseconds since the context was made, in which the
// machine was suspended or not. The kernel's clock of that kind costs a system
// call; so it is asked now and then only, for what was added to the clock that
// stands still meanwhile. It never goes back.
type clock struct {
	born      time.Time
	bootBorn  int64
	suspended atomic.Int64
}

func newClock() *clock { return &clock{born: time.Now(), bootBorn: bootTime()} }

func (c *clock) now() uint64 { return uint64(int64(time.Since(c.born)) + c.suspended.Load()) }

// adjust notices that the machine was suspended.
func (c *clock) adjust() {
	behind := bootTime() - c.bootBorn - int64(time.Since(c.born))
	if behind > c.suspended.Load() {
		c.suspended.Store(behind)
	}
}

func bootTime() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return ts.Nano()
}
