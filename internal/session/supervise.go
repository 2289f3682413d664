// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
	"quixote-export/internal/workload"
)

// sinkFailed is called by the exporter while records are held up.
func (s *session) sinkFailed(sink string, err error) {
	s.log.Error("output failed", "sink", sink, "error", err)
	select {
	case s.broken <- err:
	default:
	}
}

// outputFailed does what the plan says for a sink that fails. A spool that drops
// what it has no room for was told to.
func (s *session) outputFailed(err error, end func()) {
	switch {
	case s.plan.GoOn || isDrop(err):
		s.notice(err.Error() + "; the workload goes on, what is missing is counted")
	case !s.stopped:
		s.notice(err.Error() + "; the workload is stopped")
		s.stopped = true
		end()
	}
}

// isDrop tells whether that is a spool which drops what it has no room for.
func isDrop(err error) bool {
	full := (*record.WriteError)(nil)
	return errors.As(err, &full) && full.Cause == record.CauseSpoolFull
}

// await waits for the end of what is exported.
func (s *session) await(ctx context.Context, signals <-chan os.Signal) workload.Exit {
	if s.plan.Mode == Root {
		return s.superviseRoot(ctx, signals)
	}
	return s.supervise(ctx, signals)
}

// supervise waits until the command has ended and no task of its context is
// left, and deals with signals meanwhile.
func (s *session) supervise(ctx context.Context, signals <-chan os.Signal) (exit workload.Exit) {
	exited, gone, canceled, orphaned := s.work.Exited(), s.src.Done(), ctx.Done(), s.work.Orphaned()
	var left <-chan time.Time
	ended, ending, over := false, false, false // over: the source is
	terminating := false                       // we have got TERM
	undying := make(chan []int, 1)
	end := func() {
		if !ending {
			ending = true
			done := s.src.Done()
			if over {
				done = s.over // the source sees no end any more
			}
			go func() {
				if pids := workload.Terminate(s.processes, done); pids != nil {
					undying <- pids
				}
			}()
		}
	}
	for {
		select {
		case exit = <-exited:
			exited, ended = nil, true
			close(s.over)
			s.endContainer()
			if s.plan.NoWait || terminating {
				end()
			}
			if over {
				return exit
			}
			left = time.After(leftBehind)
		case <-left:
			if pids := s.processes(); len(pids) > 0 && !ending {
				s.notice(leftLine(pids))
			}
		case <-gone:
			if ended {
				return exit
			}
			gone, over = nil, true
		case err := <-s.broken:
			s.outputFailed(err, end)
		case <-orphaned:
			orphaned = nil
			if died := s.orphaned(); !ended {
				ended, exited, exit = true, nil, died
				close(s.over)
				s.endContainer()
			}
			if over {
				return exit
			}
		case pids := <-undying:
			s.notice(undyingLine(pids))
			s.undying = true
			if !ended {
				exit = workload.Exit{Status: 128 + int(unix.SIGKILL)}
				close(s.over)
			}
			return exit
		case <-canceled:
			canceled = nil
			end()
		case sig := <-signals:
			terminating = terminating || sig == unix.SIGTERM
			if sig == unix.SIGHUP && s.rotation.meant() {
				go s.exporter.Reopen()
			} else if sig == unix.SIGHUP && s.unhung {
				continue
			} else if ended && (sig == unix.SIGINT || sig == unix.SIGTERM) {
				end()
				s.hurry()
			} else if !ended {
				s.work.Forward(sig)
				s.stopContainer(sig)
			}
		}
	}
}

// orphaned ends the workload after its watchdog: what descended from that
// descends from us now.
func (s *session) orphaned() workload.Exit {
	s.cut = true
	if n := workload.KillDescendants(killPatience); n > 0 {
		s.notice(fmt.Sprintf("%d processes of the workload do not die", n))
	}
	return workload.Exit{
		Status: statusFailed,
		Err:    errors.New("the watchdog of the workload was killed; the workload is stopped"),
	}
}

// killPatience is how long processes may take to die. One that is stuck in the
// kernel may take for ever.
const killPatience = 10 * time.Second
