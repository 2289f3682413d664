// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"quixote-export/internal/container"
	"quixote-export/internal/derive"
	"quixote-export/internal/magazine"
	"quixote-export/internal/source/seccomp"
	"quixote-export/internal/workload"
)

// wayRuntime is how the container runtime is started: in no context. It is the
// processes in the container that enter one, by the container's own filter.
const wayRuntime = "runtime"

func enterNothing(int, string) error { return nil }

// containing is what a session of a container has besides.
type containing struct {
	bundle  *magazine.Bundle // nil when there is no container
	box     *container.Container
	failure error // why its program did not start
	asked   bool  // to end
}

// lookContainer checks the bundle and finds the runtime.
func (s *session) lookContainer() (err error) {
	if s.bundle, err = magazine.Open(s.plan.magazine(), s.plan.Workload); err != nil {
		return err
	}
	if s.bundle.Terminal && s.tty() == nil {
		return fmt.Errorf("the bundle %q asks for a terminal (process.terminal), and there is none: run it on one, or change its config.json", s.bundle.Name)
	}
	s.path, err = container.Look()
	return err
}

// tty is the terminal of the workload, nil if it has none.
func (s *session) tty() *os.File {
	files := s.files()
	if i := slices.IndexFunc(files[:], IsTerminal); i >= 0 {
		return files[i]
	}
	return nil
}

// startContainer starts the runtime, and listens for the container.
func (s *session) startContainer(number uint64) error {
	dir := filepath.Join(runtimeDir(), "containers")
	if err := ownDir(dir); err != nil {
		return err
	}
	box, err := container.Claim(s.path, dir, s.bundle.Name, s.notice)
	if err != nil {
		return err
	}
	if err := s.configure(box, number); err != nil {
		box.Abandon()
		return err
	}
	s.box = box
	s.words = box.Words()
	s.will.Container = box.Remains()
	if s.source == SourceTSEM {
		// The runtime itself enters the context, and all it starts with it.
		if err = s.startTSEM(); err != nil {
			box.Abandon()
			return err
		}
		s.work.Keep(box.Lock())
		return nil
	}
	if s.work, err = workload.Start(s.spec(wayRuntime)); err != nil {
		box.Abandon()
		return err
	}
	s.work.Keep(box.Lock())
	if s.source == SourceBPF {
		s.src, err = s.attachBPF(number)
	} else {
		s.src, err = seccomp.Container(box.Socket(), s.sourceOptions(number))
	}
	if err != nil {
		s.giveUp()
		box.Abandon()
	}
	return err
}

// configure writes what the container is run with.
func (s *session) configure(box *container.Container, number uint64) error {
	if s.source != SourceSeccomp {
		config, err := s.bundle.Move()
		if err != nil {
			return err
		}
		return box.Configure(config)
	}
	traps, err := seccomp.Traps(derive.Interest{Model: s.model, IO: s.plan.IO})
	if err != nil {
		return err
	}
	config, notices, err := s.bundle.Derive(magazine.Listener{
		Path:     box.Socket(),
		Metadata: fmt.Sprintf("quixote-export, context %d", number),
		Traps:    trapsOf(traps),
	})
	if err != nil {
		return fmt.Errorf("cannot run the bundle %q: %w", s.bundle.Name, err)
	}
	for _, line := range notices {
		s.notice(line)
	}
	return box.Configure(config)
}

// trapsOf writes the calls of interest as a profile does.
func trapsOf(traps []seccomp.Trap) []magazine.Trap {
	var all []magazine.Trap
	for _, t := range traps {
		trap := magazine.Trap{Call: t.Name}
		for _, a := range t.Args {
			arg := specs.LinuxSeccompArg{Index: a.Index, Op: specs.LinuxSeccompOperator(a.Op), Value: a.Value}
			if arg.Op == specs.OpMaskedEqual {
				arg.Value, arg.ValueTwo = a.Mask, a.Value
			}
			trap.When = append(trap.When, arg)
		}
		all = append(all, trap)
	}
	return all
}

// stopContainer sees to it that a signal ends the container: it is the first
// process of a pid namespace, which the kernel guards from most of them. Who
// asks twice does not want to wait.
func (s *session) stopContainer(sig os.Signal) {
	if s.box == nil {
		return
	}
	switch sig := sig.(unix.Signal); sig {
	case unix.SIGINT, unix.SIGTERM:
		if s.asked {
			go s.box.Kill(s.work.PID, s.over)
			return
		}
		s.asked = true
		fallthrough
	case unix.SIGHUP, unix.SIGQUIT:
		go s.box.Stop(s.work.PID, sig, s.over)
	}
}

// endContainer cleans up: the runtime has ended, and no further process will
// enter the container.
func (s *session) endContainer() {
	if s.box == nil {
		return
	}
	s.failure = s.box.Failure()
	if err := s.box.Remove(); err != nil {
		s.notice(err.Error())
	}
	s.src.Sealed()
}

// failedStatus is the exit status for a container whose program did not start.
func failedStatus(err error) int {
	e := (*container.StartError)(nil)
	switch {
	case errors.As(err, &e) && e.NotFound():
		return workload.StatusNotFound
	case errors.As(err, &e) && e.NotExecutable():
		return workload.StatusNotExecutable
	}
	return 125
}
