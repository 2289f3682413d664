// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	program "os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
	"quixote-export/tsem"
)

func TestPrctl(t *testing.T) {
	c := newCaller(t)
	c.registered()
	c.want(c.derive("prctl", 9999, 1, 2, 3, 1<<40), Event{tsem.TaskPrctl, &tsem.PrctlCell{
		Option: 9999, Arg2: 1, Arg3: 2, Arg4: 3, Arg5: 1 << 40,
	}})
	for _, option := range []uint64{unix.PR_SET_NAME, unix.PR_GET_NAME} {
		c.task.StatusStale = false
		c.want(c.derive("prctl", option, 1234, 5), Event{tsem.TaskPrctl, &tsem.PrctlCell{Option: int32(option), Arg3: 5}})
		if c.task.StatusStale != (option == unix.PR_SET_NAME) {
			t.Errorf("option %d: the name is taken for changed: %v", option, c.task.StatusStale)
		}
	}
	own, err := task.ReadDetails(c.task.TID)
	if err != nil {
		t.Fatal(err)
	}
	// What the security module capability answers with anything but 0 does not
	// come further.
	silent := func(option, arg2, arg3 uint64) bool { return len(c.derive("prctl", option, arg2, arg3)) == 0 }
	for n := range uint64(capLast + 1) {
		if got, want := silent(unix.PR_CAPBSET_READ, n, 0), own.Bounding>>n&1 != 0; got != want {
			t.Errorf("capability %d: silent %v", n, got)
		}
		if got, want := silent(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, n), own.Ambient>>n&1 != 0; got != want {
			t.Errorf("ambient capability %d: silent %v", n, got)
		}
	}
	for _, args := range [][3]uint64{
		{unix.PR_CAPBSET_READ, 99}, {unix.PR_SET_KEEPCAPS, 2}, {unix.PR_SET_SECUREBITS, 1 << 31},
		{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, 99}, {unix.PR_CAP_AMBIENT, 77},
		{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 1},
	} {
		if !silent(args[0], args[1], args[2]) {
			t.Errorf("%v has an event", args)
		}
	}
}

// Securebits are known from having been set, and pass to children.
func TestSecurebits(t *testing.T) {
	c := newCaller(t)
	c.registered()
	_, child := c.child(0xcd, nil)
	secure := c.d.shared.Secure
	if n := len(c.derive("prctl", unix.PR_GET_SECUREBITS)); n != 1 {
		t.Fatalf("before: %d events", n)
	}
	c.derive("prctl", unix.PR_SET_KEEPCAPS, 1)
	if got := secure.Of(c.task.TID); got != keepCaps {
		t.Errorf("the bits are %#x", got)
	}
	if n := len(c.derive("prctl", unix.PR_GET_KEEPCAPS)); n != 0 {
		t.Errorf("after: %d events", n)
	}
	if c.task.Status.COE.CapEff&(1<<unix.CAP_SETPCAP) != 0 {
		c.derive("prctl", unix.PR_SET_SECUREBITS, 3)
		if got := secure.Of(c.task.TID); got != 3 {
			t.Errorf("the bits are %#x", got)
		}
		if c.derive("prctl", unix.PR_SET_SECUREBITS, 0) != nil && secure.Of(c.task.TID) != 3 {
			t.Error("locked bits were changed")
		}
	}
	// Children have what was set before they were made.
	before := secure.Of(child.TID)
	for clockTicks() <= details(t, child.TID).Start {
		runtime.Gosched()
	}
	secure.Set(c.task.TGID, 5)
	_, second := c.child(0xce, nil)
	if got := secure.Of(child.TID); got != before {
		t.Errorf("the first child has %#x, and had %#x", got, before)
	}
	if got := secure.Of(second.TID); got != 5 {
		t.Errorf("the second child has %#x", got)
	}
}

func details(t *testing.T, tid int) task.Details {
	t.Helper()
	it, err := task.ReadDetails(tid)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// In a user namespace of its own a task begins without any.
func TestSecurebitsInAUserNamespace(t *testing.T) {
	c := newCaller(t)
	c.registered()
	c.d.shared.Secure.Set(c.task.TGID, 5)
	if err := program.Command("unshare", "-U", "true").Run(); err != nil {
		t.Skipf("needs unshare and user namespaces: %v", err)
	}
	_, child := c.child(0xcd, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER})
	if got := c.d.shared.Secure.Of(child.TID); got != 0 {
		t.Errorf("the child has %#x", got)
	}
}

func TestCapget(t *testing.T) {
	c := newCaller(t)
	c.registered()
	pid, _ := c.child(0xcd, nil)
	order := binary.NativeEndian
	header := func(version, pid uint32) uint64 {
		return c.bytes(order.AppendUint32(order.AppendUint32(nil, version), pid))
	}
	for tid, mark := range map[int]byte{pid: 0xcd, c.task.TID: 0xab} {
		it, err := task.ReadDetails(tid)
		if err != nil {
			t.Fatal(err)
		}
		c.want(c.derive("capget", header(unix.LINUX_CAPABILITY_VERSION_3, uint32(tid)), 0), Event{tsem.Capget, &tsem.CapgetCell{
			Target: marked(mark), Effective: it.COE.CapEff, Inheritable: it.Inheritable, Permitted: it.Permitted,
		}})
	}
	if n := len(c.derive("capget", header(unix.LINUX_CAPABILITY_VERSION_1, 0), 0)); n != 1 {
		t.Errorf("of itself: %d events", n)
	}
	c.want(c.derive("capget", header(7, 0), 0))
	c.want(c.derive("capget", header(unix.LINUX_CAPABILITY_VERSION_3, 1<<22+1), 0))
	c.want(c.derive("capget", 8, 0))
}

func TestCapset(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	own, err := task.ReadDetails(c.task.TID)
	if err != nil {
		t.Fatal(err)
	}
	order := binary.NativeEndian
	header := func(pid uint32) uint64 {
		return c.bytes(order.AppendUint32(order.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3), pid))
	}
	sets := func(effective, permitted, inheritable uint64) uint64 {
		var b []byte
		for _, shift := range []int{0, 32} {
			for _, set := range []uint64{effective, permitted, inheritable} {
				b = order.AppendUint32(b, uint32(set>>shift))
			}
		}
		return c.bytes(b)
	}
	const few = 1<<unix.CAP_CHOWN | 1<<unix.CAP_BPF
	want := Event{tsem.Capset, &tsem.CapsetCell{Effective: 1 << unix.CAP_BPF, Permitted: few, Inheritable: 1 << unix.CAP_CHOWN}}
	c.want(c.derive("capset", header(0), sets(1<<unix.CAP_BPF, few, 1<<unix.CAP_CHOWN)), want)
	if !c.task.StatusStale {
		t.Error("the capabilities are taken to be as before")
	}
	c.want(c.derive("capset", header(uint32(c.task.TID)), sets(1<<unix.CAP_BPF, few, 1<<unix.CAP_CHOWN)), want)
	c.want(c.derive("capset", header(1), sets(0, 0, 0)))
	c.want(c.derive("capset", header(0), sets(few, 0, 0))) // effective, but not permitted
	c.want(c.derive("capset", header(0), 8))
	if missing := ^own.Permitted & (1<<(capLast+1) - 1); missing != 0 {
		c.want(c.derive("capset", header(0), sets(0, missing, 0)))
	}
}
