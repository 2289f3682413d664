// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Entrance is what Enter needs to know, as the options of a way.
type Entrance struct {
	Root    string // of securityfs
	Request Request
}

// entrance is an Entrance on its way to the child.
type entrance struct{ Root, Command, WithoutModel string }

// Options are the entrance as options of a way.
func (e Entrance) Options() string {
	plain := e.Request
	plain.Model = ""
	return mustMarshal(entrance{e.Root, e.Request.command(), plain.command()})
}

func mustMarshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it has no value that JSON has not
	}
	return string(text)
}

// What is said on control, besides what package workload says: by the child
// that it has entered, or that the kernel has refused, by the supervisor that it
// wants the child's number.
const (
	sayEntered = 'e' // and the exchanges
	sayRefused = 'r' // and the exchanges; why comes behind it
	sayNumber  = 'i' // from the child: and what it was told
)

// told is what a child knows of its number.
type told struct {
	Number    uint64
	Known     bool
	Err       string
	Exchanges []exchange
}

// Enter makes a context with the calling thread, which must be the one that
// executes the workload, as its first task. It returns when that may be done:
// by then the supervisor has attached.
func Enter(control int, options string) error {
	var e entrance
	if err := json.Unmarshal([]byte(options), &e); err != nil {
		return fmt.Errorf("cannot understand which context to enter: %w", err)
	}
	p, err := openPlane(e.Root)
	if err != nil {
		return err
	}
	if err := uninheritable(unix.CAP_MAC_ADMIN); err != nil {
		return fmt.Errorf("cannot keep CAP_MAC_ADMIN from the workload: %w", err)
	}
	if err := restoreLimits(); err != nil {
		return err
	}
	var exchanges []exchange
	p.tell = func(x exchange) { exchanges = append(exchanges, x) }
	t := &talker{control: control, entered: make(chan []exchange), ask: make(chan bool), number: make(chan told)}
	go t.talk()
	if err := p.command(e.Command); err != nil {
		err = refused(p, e, err)
		say(control, sayRefused, exchanges)
		return err
	}
	// What this thread does from here on is an event of the new context, a
	// message on a socket, too. So it does nothing but what has to be.
	t.entered <- exchanges
	for <-t.ask {
		exchanges = nil
		number, known, err := p.id()
		n := told{Number: number, Known: known, Exchanges: exchanges}
		if err != nil {
			n.Err = err.Error()
		}
		t.number <- n
	}
	// The workload is not to have the control plane. What remains of the
	// capability ends with the exec.
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_MAC_ADMIN, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot take CAP_MAC_ADMIN from the workload: %w", err)
	}
	return nil
}

// restoreLimits lowers the limit of open files to what it was when this program
// was started. The runtime has raised it, and lowers it before it executes another
// program: that would be an act of the workload's, a record that nobody else has.
// There is no other way to have it do so before than to execute nothing.
func restoreLimits() error {
	if err := syscall.Exec("", nil, nil); err != unix.ENOENT {
		return fmt.Errorf("cannot restore the limit of open files: %w", err)
	}
	return nil
}

// A talker speaks with the supervisor on a thread of its own, which stays
// outside the context.
type talker struct {
	control int
	entered chan []exchange // from the thread that enters
	ask     chan bool       // to it: what is its number; false: that was all
	number  chan told
}

// talk tells that the context is entered, and answers until there is another
// word, which is not for it, or nobody left to answer.
func (t *talker) talk() {
	runtime.LockOSThread()
	defer close(t.ask)
	say(t.control, sayEntered, <-t.entered)
	for {
		var word [1]byte
		n, _, err := unix.Recvfrom(t.control, word[:], unix.MSG_PEEK)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || n == 0 || word[0] != sayNumber:
			return
		}
		unix.Read(t.control, word[:])
		t.ask <- true
		say(t.control, sayNumber, <-t.number)
	}
}

// say says something to the supervisor, if that is there.
func say(control int, word byte, what any) { tell(control, word, mustMarshal(what)) }

// uninheritable takes a capability from those that programs started by this
// process may inherit, beside what the bounding set lets them have. Nearly never
// is it among them.
func uninheritable(capability int) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	word, bit := &data[capability/32], uint32(1)<<(capability%32)
	if word.Inheritable&bit == 0 {
		return nil
	}
	word.Inheritable &^= bit
	return unix.Capset(&hdr, &data[0])
}

// refused says why the kernel has made no context.
func refused(p *plane, e entrance, err error) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("the kernel gives no access to %s: CAP_MAC_ADMIN is needed, in the initial user namespace (run as root)", p.path(fileControl))
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("there is no control plane %s: the kernel has no TSEM, or it is not active", p.path(fileControl))
	case !errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel does not take the command %q: %w", e.Command, err)
	}
	// A refused command makes no context, so another can be tried to find the
	// word that is wrong. If one is made, this process ends before it does
	// anything in it.
	_, model, found := strings.Cut(e.Command, " model=")
	if found && p.command(e.WithoutModel) == nil {
		return fmt.Errorf("the kernel has no model %q (-M): load its module first, or leave out -M", model)
	}
	_, digest, _ := strings.Cut(e.WithoutModel, "digest=")
	digest, _, _ = strings.Cut(digest, " ")
	if p.command(strings.Replace(e.WithoutModel, " digest="+digest, "", 1)) == nil {
		return fmt.Errorf("the kernel has no digest %q (-h): load its module first, or choose another", digest)
	}
	return fmt.Errorf("the kernel does not take the command %q: %w", e.Command, err)
}
