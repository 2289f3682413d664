// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/tsem"
)

// words is numbers as they lie in memory.
func (c *caller) words(words ...uint32) uint64 {
	var b []byte
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return c.bytes(b)
}

// longs is numbers of 64 bits.
func (c *caller) longs(longs ...int64) uint64 {
	var b []byte
	for _, w := range longs {
		b = binary.NativeEndian.AppendUint64(b, uint64(w))
	}
	return c.bytes(b)
}

// lend gives the descriptor of a made object another number: the deriver, in
// the same process, has taken the first for its own.
func (c *caller) lend(fd int) {
	c.Helper()
	const free = 200
	if err := unix.Dup3(fd, free, 0); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		unix.Close(fd)
		unix.Close(free)
	})
}

func TestBPF(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	call := func(cmd int32, size uint32) Event { return Event{tsem.BPF, &tsem.BPFCell{Cmd: cmd, Size: size}} }
	const array, keySize, valueSize, entries, size = 2, 4, 8, 1, 72
	attr := make([]byte, size)
	for i, v := range []uint32{array, keySize, valueSize, entries, bpfReadOnly} {
		binary.NativeEndian.PutUint32(attr[4*i:], v)
	}
	got, fd := c.do(unix.SYS_BPF, "bpf", bpfMapCreate, c.bytes(attr), size)
	c.want(got, call(bpfMapCreate, size))
	c.lend(fd)
	// The map shows with the next call, whatever that is.
	c.want(c.derive("syslog", 10, 0, 0),
		Event{tsem.BPFMap, &tsem.BPFMapCell{MapType: array, Fmode: 1}}, Event{tsem.Syslog, &tsem.SyslogCell{Type: 10}})
	c.want(c.derive("syslog", 10, 0, 0), Event{tsem.Syslog, &tsem.SyslogCell{Type: 10}})

	// One that is refused does not.
	c.want(c.derive("bpf", bpfMapCreate, c.bytes(make([]byte, size)), size), call(bpfMapCreate, size))
	c.want(c.derive("syslog", 10, 0, 0), Event{tsem.Syslog, &tsem.SyslogCell{Type: 10}})

	// What the kernel does not know must be zero.
	known := kernel.BPFAttributes()
	large := make([]byte, known+8)
	c.want(c.derive("bpf", 99, c.bytes(large), uint64(known+8)), call(99, known))
	large = append([]byte(nil), large...)
	large[known] = 1
	c.want(c.derive("bpf", 99, c.bytes(large), uint64(known+8)))
	c.want(c.derive("bpf", 99, c.bytes(large), 4097))
	c.want(c.derive("bpf", 99, 1, 8))
}

func TestBPFProgram(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	const filter, size = 1, 72
	code := c.longs(0x00000000000000b7, 0x0000000000000095) // return 0
	attr := make([]byte, size)
	binary.NativeEndian.PutUint32(attr, filter)
	binary.NativeEndian.PutUint32(attr[4:], 2)
	binary.NativeEndian.PutUint64(attr[8:], code)
	binary.NativeEndian.PutUint64(attr[16:], c.text("GPL"))
	got, fd := c.do(unix.SYS_BPF, "bpf", bpfProgLoad, c.bytes(attr), size)
	c.want(got, Event{tsem.BPF, &tsem.BPFCell{Cmd: bpfProgLoad, Size: size}})
	c.lend(fd)
	c.want(c.derive("syslog", 99, 0, 0), Event{tsem.BPFProg, &tsem.BPFProgCell{Type: filter}},
		Event{tsem.Syslog, &tsem.SyslogCell{Type: 99}})
}

func TestSyslog(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	event := func(kind int32) Event { return Event{tsem.Syslog, &tsem.SyslogCell{Type: kind}} }
	c.want(c.derive("syslog", 10, 0, 0), event(10))
	here := uint64(0xffffffffffffff9c)
	if _, err := os.Stat("/dev/kmsg"); err == nil {
		c.want(c.derive("openat", here, c.text("/dev/kmsg"), unix.O_RDONLY), event(3))
		c.want(c.derive("openat", here, c.text("/dev/kmsg"), unix.O_WRONLY))
	}
	got := c.derive("openat", here, c.text("/proc/kmsg"), unix.O_RDONLY)
	if len(got) != 2 || got[0].Type != tsem.FileOpen {
		t.Fatalf("opening /proc/kmsg is %s", list(got))
	}
	c.want(got[1:], event(1))
	c.task.Status.COE.CapEff &^= 1 << unix.CAP_SYSLOG
	c.want(c.derive("syslog", 5, 0, 0))
}

func TestSettime(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	event := func(cell tsem.SettimeCell) Event { return Event{tsem.Settime, &cell} }
	c.want(c.derive("settimeofday", c.longs(1234, 5), c.words(60, 2)), event(tsem.SettimeCell{
		HasTime: true, Seconds: 1234, Nsecs: 5000, HasZone: true, MinutesWest: 60, DSTTime: 2,
	}))
	c.want(c.derive("settimeofday", c.longs(1234, 999_999), 0), event(tsem.SettimeCell{HasTime: true, Seconds: 1234, Nsecs: 999_999_000}))
	c.want(c.derive("settimeofday", 0, c.words(0xffffff88, 0)), event(tsem.SettimeCell{HasZone: true, MinutesWest: -120}))
	c.want(c.derive("settimeofday", 0, 0), event(tsem.SettimeCell{}))
	c.want(c.derive("settimeofday", c.longs(1234, 1_000_000), 0))
	c.want(c.derive("settimeofday", c.longs(-1, 0), 0))
	c.want(c.derive("clock_settime", unix.CLOCK_REALTIME, c.longs(1234, 7)), event(tsem.SettimeCell{HasTime: true, Seconds: 1234, Nsecs: 7}))
	c.want(c.derive("clock_settime", unix.CLOCK_MONOTONIC, c.longs(1234, 7)))
	c.want(c.derive("clock_settime", unix.CLOCK_REALTIME, c.longs(1<<62, 7)))
	c.want(c.derive("clock_settime", unix.CLOCK_REALTIME, 1))
	c.task.Status.COE.CapEff &^= 1 << unix.CAP_SYS_TIME
	c.want(c.derive("clock_settime", unix.CLOCK_REALTIME, c.longs(1234, 7)))
}

func TestQuotactl(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	null := []byte("(null)")
	c.want(c.derive("quotactl", quotaSync<<8|1, 0, 7, 0), Event{tsem.Quotactl, &tsem.QuotactlCell{
		Cmds: quotaSync, Type: 1, FSType: null, Dentry: tsem.Dentry{Path: tsem.Path{Type: tsem.PathRoot, Pathname: null}},
	}})
	c.want(c.derive("quotactl", quotaSync<<8|3, 0, 0, 0))
	c.want(c.derive("quotactl", quotaGetInfo<<8, 0, 0, 0))
	c.want(c.derive("quotactl", quotaGetInfo<<8, c.text("/dev/null"), 0, 0))

	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	dev := tsem.Dev{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)}
	if root, ok := c.d.lens.Superblock(c.task, dev); !ok || root.FSType != "ext4" {
		t.Skip("the root file system is not ext4")
	}
	got := c.derive("quotactl_fd", uint64(fd), quotaGetInfo<<8|1, 9, 0)
	if len(got) != 1 {
		t.Fatalf("got %s", list(got))
	}
	cell := got[0].Cell.(*tsem.QuotactlCell)
	if cell.Cmds != quotaGetInfo || cell.Type != 1 || cell.ID != 9 || string(cell.FSType) != "ext4" ||
		string(cell.Dentry.Path.Pathname) != "/" || cell.Flags&(1<<30) == 0 || cell.Dentry.Inode.Mode != uint32(st.Mode) {
		t.Errorf("got %s", list(got))
	}
	c.task.Status.COE.CapEff = 0
	c.want(c.derive("quotactl_fd", uint64(fd), quotaOn<<8, 0, 0))
}

func TestTun(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	var fd int
	var err error
	c.within(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
	})
	if err != nil {
		t.Skipf("no tun device in a network namespace: %v", err)
	}
	defer unix.Close(fd)
	request := func(name string, flags uint16) uint64 {
		b := make([]byte, 40)
		copy(b, name)
		binary.NativeEndian.PutUint16(b[unix.IFNAMSIZ:], flags)
		return c.bytes(b)
	}
	// Each comes behind the hook for ioctls.
	want := func(got []Event, want ...Event) {
		t.Helper()
		if len(got) == 0 || got[0].Type != tsem.FileIoctl {
			t.Errorf("no file_ioctl: %s", list(got))
			return
		}
		c.want(got[1:], want...)
	}
	create, attach := Event{tsem.TunDevCreate, &tsem.EmptyCell{}}, Event{tsem.TunDevAttach, &tsem.EmptyCell{}}
	want(c.derive("ioctl", uint64(fd), tunSetIff, request("bad/name", tunIsTun)), create)
	want(c.derive("ioctl", uint64(fd), tunSetIff, request("lo", tunIsTun|tunExclusive)))
	const kind = tunIsTun | tunMultiQueue
	got, _ := c.do(unix.SYS_IOCTL, "ioctl", uint64(fd), tunSetIff, request("test0", kind))
	want(got, create, attach)
	want(c.derive("ioctl", uint64(fd), tunSetIff, request("test1", kind))) // it has one

	got, _ = c.do(unix.SYS_IOCTL, "ioctl", uint64(fd), tunSetQueue, request("test0", tunDetachQueue))
	want(got)
	got, _ = c.do(unix.SYS_IOCTL, "ioctl", uint64(fd), tunSetQueue, request("test0", tunAttachQueue))
	want(got, Event{tsem.TunDevAttachQueue, &tsem.SockCell{Sock: tsem.Sock{Owner: c.d.opts.Algorithm.Zero()}}}, attach)

	second, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(second)
	want(c.derive("ioctl", uint64(second), tunSetIff, request("test0", kind)), Event{tsem.TunDevOpen, &tsem.EmptyCell{}}, attach)
}

func TestModules(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	if _, err := os.Stat("/proc/modules"); err != nil {
		c.want(c.derive("init_module", 1, 4096, 1))
		t.Skip("this kernel has no modules")
	}
	c.want(c.derive("init_module", 1, 63, 1))
	c.want(c.derive("init_module", 1, 64, 1), Event{tsem.KernelLoadData, &tsem.LoadDataCell{ID: 2, Contents: 1}})
	fd, err := unix.Open("/etc/passwd", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	got := c.derive("finit_module", uint64(fd), 1, 0)
	if len(got) != 1 || got[0].Type != tsem.KernelReadFile {
		t.Fatalf("got %s", list(got))
	}
	cell := got[0].Cell.(*tsem.ReadFileCell)
	if cell.ID != 2 || cell.Contents != 1 || string(cell.File.Path.Pathname) != "/etc/passwd" {
		t.Errorf("got %s", list(got))
	}
	c.want(c.derive("finit_module", uint64(fd), 1, 8))
}

func TestKeys(t *testing.T) {
	c := newCaller(t)
	c.needRoot()
	coe := &c.task.Status.COE
	permission := func(perm uint32) Event {
		return Event{tsem.KeyPermission, &tsem.KeyPermissionCell{
			Possessed: 1, UID: coe.UID, GID: coe.GID, Flags: keyInQuota, Cred: c.own(), Perm: perm,
		}}
	}
	allocation := func(flags uint64) Event { return Event{tsem.KeyAlloc, &tsem.KeyAllocCell{Cred: c.own(), Flags: flags}} }
	ring, key := permission(ownKeyringPerm), permission(newKeyPerm)
	kind, name, payload := c.text("user"), c.text("quixote: a test"), c.text("secret")
	part := func(id int32) uint64 { return uint64(int64(id)) }

	c.want(c.derive("keyctl", unix.KEYCTL_CLEAR, part(threadKeyring)), allocation(overrunsQuota), ring)
	got, id := c.do(unix.SYS_ADD_KEY, "add_key", kind, name, payload, 6, part(processKeyring))
	c.want(got, allocation(overrunsQuota), ring, ring, allocation(0))
	// It is there now, and updated; without a payload it is not.
	c.want(c.derive("add_key", kind, name, payload, 6, part(processKeyring)), ring, ring, key)
	c.want(c.derive("add_key", kind, name, 0, 0, part(processKeyring)), ring)
	c.want(c.derive("add_key", c.text(".hidden"), name, payload, 6, part(processKeyring)))
	// The keyrings of thread and process are searched for it.
	c.want(c.derive("keyctl", unix.KEYCTL_READ, uint64(id), 0, 0), ring, ring, key, key, key)
	c.want(c.derive("keyctl", unix.KEYCTL_DESCRIBE, uint64(id), 0, 0), ring, ring, key, key)
	c.want(c.derive("request_key", kind, name, 0, part(processKeyring)), ring, ring, ring, key, key)
	c.want(c.derive("request_key", kind, name, 0, 0), ring, ring, key)
	c.want(c.derive("keyctl", unix.KEYCTL_UNLINK, uint64(id), part(processKeyring)), ring, ring, ring, key, key)
	c.want(c.derive("keyctl", unix.KEYCTL_READ, uint64(id), 0, 0))
	c.want(c.derive("keyctl", 99, uint64(id), 0, 0))
	if !strings.Contains(list([]Event{key}), "1057030144") {
		t.Error("a key's permissions are not those that a kernel has recorded")
	}
}
