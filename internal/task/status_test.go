// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package task

import (
	"os"
	"slices"
	"testing"
)

func TestStatus(t *testing.T) {
	const text = "Name:\ta\\nb\\\\c\nUmask:\t0027\nState:\tR (running)\nTgid:\t12\nNgid:\t0\nPid:\t13\nPPid:\t4\n" +
		"Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t000001ffffffffff\n"
	var s Status
	if err := s.parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := string(s.Comm[:s.CommLen]); got != "a\nb\\c" {
		t.Errorf("name %q", got)
	}
	if s.TGID != 12 || s.PPID != 4 || s.Umask != 0o27 {
		t.Errorf("tgid %d, ppid %d, umask %o", s.TGID, s.PPID, s.Umask)
	}
	c := s.COE
	if c.UID != 1 || c.EUID != 2 || c.SUID != 3 || c.FSUID != 4 || c.GID != 5 || c.EGID != 6 || c.SGID != 7 || c.FSGID != 8 {
		t.Errorf("ids %+v", c)
	}
	if c.CapEff != 0x1ffffffffff || !slices.Equal(s.Groups, []uint32{9, 10}) {
		t.Errorf("capabilities %x, groups %v", c.CapEff, s.Groups)
	}
}

func TestStatusRefusesOtherText(t *testing.T) {
	for _, text := range []string{"", "Name:\tx\n", ":\n:", "Uid:", "Name:\nTgid:\nPPid:\nUid:\nGid:\n"} {
		var s Status
		if err := s.parse([]byte(text)); err == nil {
			t.Errorf("%q was taken for a status", text)
		}
	}
}

func TestStatusOfOurselves(t *testing.T) {
	var s Status
	if err := s.ReadStatus(os.Getpid(), make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	if s.TGID != os.Getpid() || s.PPID != os.Getppid() || int(s.COE.EUID) != os.Geteuid() {
		t.Errorf("got tgid %d, ppid %d, euid %d", s.TGID, s.PPID, s.COE.EUID)
	}
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte("Name:\tx\\n\nTgid:\t1\nPPid:\t1\nUid:\t0 0 0 0\nGid:\t0\nCapEff:\tff\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var s Status
		s.parse(b)
	})
}
