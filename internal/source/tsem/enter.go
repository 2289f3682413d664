// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

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
// that it has entered, by the supervisor that it wants the child's number.
const (
	sayEntered = 'e' // and an exchange
	sayNumber  = 'i' // from the child: and the number, as text
)

// exchange is one command and the kernel's answer, for the debug log.
type exchange struct {
	Wrote  string
	To     string
	Answer string
	At     time.Time
	Took   time.Duration
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
	t := &talker{control: control, entered: make(chan exchange), ask: make(chan bool), number: make(chan answer)}
	go t.talk()
	x := exchange{Wrote: e.Command, To: p.path(fileControl), At: time.Now()}
	err = p.command(e.Command)
	x.Took = time.Since(x.At)
	if err != nil {
		return refused(p, e, err)
	}
	x.Answer = fmt.Sprintf("%d bytes taken", len(e.Command)+1)
	// What this thread does from here on is an event of the new context, a
	// message on a socket, too. So it does nothing but what has to be.
	t.entered <- x
	for <-t.ask {
		number, err := p.id()
		t.number <- answer{number, err}
	}
	// The workload is not to have the control plane. What remains of the
	// capability ends with the exec.
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_MAC_ADMIN, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot take CAP_MAC_ADMIN from the workload: %w", err)
	}
	return nil
}

// A talker speaks with the supervisor on a thread of its own, which stays
// outside the context.
type talker struct {
	control int
	entered chan exchange // from the thread that enters
	ask     chan bool     // to it: what is its number; false: that was all
	number  chan answer
}

type answer struct {
	number uint64
	err    error
}

// talk tells that the context is entered, and answers until there is another
// word, which is not for it, or nobody left to answer.
func (t *talker) talk() {
	runtime.LockOSThread()
	defer close(t.ask)
	x := <-t.entered
	unix.Sendto(t.control, append([]byte{sayEntered}, mustMarshal(x)...), unix.MSG_NOSIGNAL, nil)
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
		a := <-t.number
		text := strconv.FormatUint(a.number, 10)
		if a.err != nil {
			text = a.err.Error()
		}
		unix.Sendto(t.control, append([]byte{sayNumber}, text...), unix.MSG_NOSIGNAL, nil)
	}
}

// refused says why the kernel has made no context.
func refused(p *plane, e entrance, err error) error {
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("the kernel gives no access to %s: CAP_MAC_ADMIN is needed, in the initial user namespace (run as root)", p.path(fileControl))
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("there is no control plane %s: the kernel has no TSEM, or it is not active", p.path(fileControl))
	case !errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel does not take %q: %w", e.Command, err)
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
	return fmt.Errorf("the kernel does not take %q: %w", e.Command, err)
}
