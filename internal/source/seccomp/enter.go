// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/derive"
	"quixote-export/internal/kernel"
	"quixote-export/internal/model"
)

// Handover bytes that go with the listener.
const (
	handKillable = 'k' // the filter has WAIT_KILLABLE_RECV
	handPlain    = 'p'
)

// Entrance says what Enter is to watch.
type Entrance struct {
	Model string
	IO    bool // reads and writes on sockets too
}

// transfers is what goes before the name of the model.
const transfers = "io,"

// Options is the entrance as the options of Enter.
func (e Entrance) Options() string {
	if e.IO {
		return transfers + e.Model
	}
	return e.Model
}

// Enter puts the calling process, which must be locked to its only thread of
// interest, under the filter, and sends the listener to the other side of
// control. From here on the calls of this thread wait for an answer. options
// are those of an Entrance.
func Enter(control int, options string) error {
	name, io := strings.CutPrefix(options, transfers)
	m, err := model.Find(name)
	if err != nil {
		return err
	}
	arches, err := derive.Arches(runtime.GOARCH, derive.Interest{Model: m, IO: io})
	if err != nil {
		return err
	}
	prog, err := Filter(arches)
	if err != nil {
		return err
	}
	if !maySetFilter() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("cannot set no_new_privs: %w", err)
		}
	}
	// Another thread hands the listener over: a call of this one might be
	// stopped for a supervisor that has nothing to receive it with.
	listeners := make(chan [2]int)
	sent := make(chan error)
	go func() {
		runtime.LockOSThread()
		l := <-listeners
		kind := byte(handPlain)
		if l[1] != 0 {
			kind = handKillable
		}
		sent <- unix.Sendmsg(control, []byte{kind}, unix.UnixRights(l[0]), nil, 0)
	}()
	runtime.Gosched()
	fd, killable, err := kernel.InstallFilter(prog)
	if err != nil {
		return fmt.Errorf("cannot install the seccomp filter: %w", err)
	}
	k := 0
	if killable {
		k = 1
	}
	listeners <- [2]int{fd, k}
	if err := <-sent; err != nil {
		return fmt.Errorf("cannot hand over the seccomp listener: %w", err)
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// maySetFilter tells whether a filter may be installed without no_new_privs.
func maySetFilter() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
