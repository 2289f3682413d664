// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
)

// Container begins to watch a container. It listens on the UNIX socket path,
// on which the container runtime hands over the seccomp listener of each
// process that it starts in the container (listenerPath of the OCI runtime
// specification), and adds them to the context, until Sealed.
func Container(path string, opts Options) (*Source, error) {
	listening, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the container runtime: %w", err)
	}
	s, err := newSource(opts)
	if err != nil {
		listening.Close()
		return nil, err
	}
	s.listening = listening
	go s.acceptListeners()
	return s, nil
}

// acceptListeners takes over the listeners of the container's processes.
func (s *Source) acceptListeners() {
	for {
		conn, err := s.listening.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.opts.Log.Error("cannot accept the container runtime", "error", err)
			}
			return
		}
		listener, first, err := containerListener(conn)
		conn.Close()
		if err != nil {
			s.opts.Notice(err.Error())
			continue
		}
		s.open(listener, false, first)
	}
}

// maxState bounds the description of the container that comes with a listener.
const maxState = 1 << 20

// containerListener receives one listener. Of the state of the container that
// the runtime sends with it only the process is needed that will become the
// program, 0 if that is not told: it also names the descriptors, but a runtime
// sends one.
func containerListener(conn *net.UnixConn) (listener, process int, err error) {
	data := make([]byte, maxState)
	oob := make([]byte, unix.CmsgSpace(4*16))
	size, n, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		return -1, 0, fmt.Errorf("cannot hear the container runtime: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return -1, 0, fmt.Errorf("cannot understand the container runtime: %w", err)
	}
	var state struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(data[:size], &state); err != nil {
		state.PID = 0
	}
	var fds []int
	for i := range messages {
		if more, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && strings.Contains(target, "seccomp") {
			for _, other := range slices.Delete(slices.Clone(fds), i, i+1) {
				unix.Close(other)
			}
			return fd, state.PID, nil
		}
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return -1, 0, errors.New("the container runtime sent no seccomp listener (runc 1.1 or later is needed)")
}

// Trap is a call that the filter of a container must hand to us. Several of
// one name are alternatives.
type Trap struct {
	Name string
	Args []TrapArg // all must hold
}

// TrapArg is a condition on one argument, in the terms of the OCI runtime
// specification: argument & Mask == Value for SCMP_CMP_MASKED_EQ, else the
// argument compared with Value.
type TrapArg struct {
	Index       uint
	Op          string
	Value, Mask uint64
}

// Traps lists the calls of interest on this machine, 32-bit programs included.
func Traps(i derive.Interest) ([]Trap, error) {
	arches, err := derive.Arches(runtime.GOARCH, i)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var traps []Trap
	for _, a := range arches {
		for _, row := range a.Rows {
			if seen[row.Name] {
				continue
			}
			seen[row.Name] = true
			for _, args := range conditions(row.When) {
				traps = append(traps, Trap{row.Name, args})
			}
		}
	}
	slices.SortFunc(traps, func(a, b Trap) int { return strings.Compare(a.Name, b.Name) })
	return traps, nil
}

// conditions is the alternatives of a trap in the terms of a runtime, which
// compares whole registers, of which the kernel takes the low word, and knows
// only one bit after another.
func conditions(when derive.When) [][]TrapArg {
	if len(when) == 0 {
		return [][]TrapArg{nil}
	}
	var all [][]TrapArg
	for _, alternative := range when {
		args := [][]TrapArg{nil}
		for _, t := range alternative {
			var more [][]TrapArg
			for _, arg := range comparisons(t) {
				for _, before := range args {
					more = append(more, append(slices.Clone(before), arg))
				}
			}
			args = more
		}
		all = append(all, args...)
	}
	return all
}

// comparisons is what a test is in the terms of a runtime: one of them must
// hold.
func comparisons(t derive.Test) []TrapArg {
	const word = 0xffffffff
	switch t.Op {
	case derive.Is:
		return []TrapArg{{Index: uint(t.Arg), Op: "SCMP_CMP_MASKED_EQ", Mask: word, Value: uint64(t.Value)}}
	case derive.IsNot:
		return []TrapArg{{Index: uint(t.Arg), Op: "SCMP_CMP_NE", Value: uint64(t.Value)}}
	}
	var bits []TrapArg
	for rest := t.Value; rest != 0; rest &= rest - 1 {
		bit := uint64(rest & -rest)
		bits = append(bits, TrapArg{Index: uint(t.Arg), Op: "SCMP_CMP_MASKED_EQ", Mask: bit, Value: bit})
	}
	return bits
}
