// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// noMaps is how the workload ends where it may not make BPF maps.
const noMaps = 96

// A map is told of though its maker makes no further call until it is killed.
func TestMapOfATaskThatWaits(t *testing.T) {
	needRoot(t)
	t.Parallel()
	o := options{status: 128 + 9}
	c := command(t, &o, life(t, "map")...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Wait()
	}()
	var told []*tsem.Event
	eventually(t, "the map", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		told = soFar(t, &o, func(e *tsem.Event) bool { return e.Type == tsem.BPFMap })
		return len(told) > 0
	})
	if len(told) == 0 {
		t.Skipf("needs BPF maps: status %d", c.ProcessState.ExitCode())
	}
	if cell := told[0].Cell.(*tsem.BPFMapCell); cell.MapType != 2 || cell.Fmode != 3 {
		t.Errorf("the map is %+v", cell)
	}
	unix.Kill(int(told[0].PID), unix.SIGKILL)
	<-ended
	if n := len(finished(t, c, &o, "").of(tsem.BPFMap)); n != 1 {
		t.Errorf("%d maps", n)
	}
}

// Of each map there is a record, or it is told that there may be none.
func TestMapsOfTasksThatEnd(t *testing.T) {
	needRoot(t)
	t.Parallel()
	const n = 50
	o := options{noisy: true, lost: true}
	c := command(t, &o, life(t, "maps", fmt.Sprint(n))...)
	var errs bytes.Buffer
	c.Stderr = &errs
	c.Run()
	if o.status = c.ProcessState.ExitCode(); o.status == noMaps {
		t.Skip("needs BPF maps")
	}
	s := finished(t, c, &o, errs.String())
	maps := len(s.of(tsem.BPFMap))
	if maps+len(s.lost) != n || (o.status == 123) != (maps < n) {
		t.Errorf("%d maps and %d losses, want %d; status %d", maps, len(s.lost), n, o.status)
	}
	t.Logf("%d maps, %d losses", maps, len(s.lost))
}
