// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"time"

	"quixote-export/internal/circle"
	"quixote-export/internal/sink/file"
)

const (
	// circleLook is how often outputs that wait for their readers are looked at.
	circleLook = time.Second
	// circlePatience is how long a reader may take nothing before it is asked
	// who it is. A second look a moment later has to find the same.
	circlePatience = 2 * time.Second
)

// watchReaders gives up outputs that are read by the workload alone, which waits
// until they are written: neither would ever go on. All other readers may take
// as long as they like.
func (s *session) watchReaders(ctx context.Context) {
	src, ok := s.src.(interface{ Held() bool })
	if !ok {
		return // no task of the workload ever waits for us
	}
	tick := time.NewTicker(circleLook)
	defer tick.Stop()
	found := make(map[*file.Sink]file.Wait)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.src.Done():
			return
		case <-tick.C:
		}
		for _, f := range s.outputs {
			w, waits := f.Waiting()
			if !waits || time.Since(w.Since) < circlePatience || !src.Held() {
				delete(found, f)
				continue
			}
			readers := circle.Readers(circle.Pipe{Dev: w.Dev, Ino: w.Ino}, s.processes(), s.ours)
			switch {
			case readers == nil:
				delete(found, f)
			case found[f] == w:
				s.log.Warn("an output is read by the workload alone, which waits itself", "output", f.Name(), "readers", readers)
				f.GiveUp(w)
				delete(found, f)
			default:
				found[f] = w
			}
		}
	}
}
