// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/source/bpf"
	tsemsource "quixote-export/internal/source/tsem"
	"quixote-export/internal/workload"
)

// wayRoot is how a shell in the root context is started: it enters nothing. The
// watchdog reads the root context meanwhile, as it manages no other.
const wayRoot = "root"

// lookRoot finds the shell, if there is to be one.
func (s *session) lookRoot() (err error) {
	if !s.plan.Follow || s.plan.NoShell || !readable(s.streams.In) {
		return nil
	}
	s.words = []string{"bash"}
	if IsTerminal(s.streams.In) {
		s.words = append(s.words, "-i")
	}
	s.path, err = workload.Look(s.words[0])
	return err
}

// readable tells whether a shell could read commands from a file: it is open,
// and not the null device.
func readable(f *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	return st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3)
}

// startRoot begins to read the root context, and makes the shell.
func (s *session) startRoot() error {
	spec := s.spec(wayRoot)
	spec.Reads = true
	work, err := workload.Start(spec)
	if err != nil {
		return err
	}
	s.work = work
	opts := s.tsemOptions()
	opts.Group = s.plan.Queue
	if opts.Group == 0 {
		opts.Group = DefaultQueue
	}
	src, err := tsemsource.Root(work.Line, s.plan.Follow, opts)
	if err != nil {
		if s.path != "" {
			s.giveUp()
		} else {
			s.work.Finish()
		}
		return fmt.Errorf("cannot export the root context: %w", err)
	}
	s.src = src
	s.numbered(src.Context())
	return nil
}

// rooted is a source of the root context.
type rooted interface {
	watched
	// Stop ends the export behind what there is by now.
	Stop()
	// Lively tells whether it has got on since it was asked last, or waits for
	// the outputs.
	Lively() bool
	// Died tells that whoever read for it was killed.
	Died() bool
}

// superviseRoot waits until the queue is empty, or with -f until the shell has
// ended or a signal asks to stop.
func (s *session) superviseRoot(ctx context.Context, signals <-chan os.Signal) (exit workload.Exit) {
	src := s.src.(rooted)
	exited, canceled, orphaned := s.work.Exited(), ctx.Done(), s.work.Orphaned()
	if s.path == "" {
		exited = nil
	}
	stop := func() {
		if exited != nil {
			unix.Kill(s.work.PID, unix.SIGHUP) // which a shell does not ignore
			return
		}
		src.Stop()
	}
	asked := false // to end
	keeper := newKeeper()
	defer keeper.end()
	for {
		select {
		case <-keeper.ticks:
			if src.Lively() {
				keeper.alive()
			}
		case exit = <-exited:
			exited = nil
			src.Stop()
		case <-src.Done():
			if src.Died() {
				<-orphaned
				return s.unread()
			}
			if exited != nil {
				stop()
				exit = <-exited
			}
			return exit
		case <-orphaned:
			return s.unread()
		case err := <-s.broken:
			if host, ok := src.(*bpf.Host); ok && s.keeps() {
				s.notice(err.Error() + "; the export ends, what was not delivered waits for the next one")
				s.stopped = true
				host.Abort()
				stop()
			} else if !s.plan.GoOn && !isDrop(err) {
				s.notice(err.Error() + "; the export ends")
				s.stopped = true
				stop()
			} else {
				s.notice(err.Error() + "; the export goes on, what is missing is counted")
			}
		case <-canceled:
			canceled = nil
			stop()
		case sig := <-signals:
			switch {
			case sig == unix.SIGHUP && s.rotation.meant():
				go s.exporter.Reopen()
			case sig == unix.SIGHUP && s.unhung:
			case exited != nil:
				s.work.Forward(sig)
			case sig == unix.SIGINT || sig == unix.SIGTERM:
				if host, ok := src.(*bpf.Host); ok && asked {
					host.Abort() // an output may take nothing
				}
				asked = true
				stop()
			}
		}
	}
}

// unread ends an export whose reader was killed.
func (s *session) unread() workload.Exit {
	s.cut = true
	workload.KillDescendants(killPatience) // the shell
	return workload.Exit{
		Status: statusFailed,
		Err:    errors.New("the reader of the root context was killed; what it had not read stays queued for the next export"),
	}
}
