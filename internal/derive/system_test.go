// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"testing"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		message, wanted int64
		mode            int32
		want            bool
	}{
		{3, 0, searchAny, true},
		{3, 3, searchEqual, true}, {3, 4, searchEqual, false},
		{3, 3, searchNotEqual, false}, {3, 4, searchNotEqual, true},
		{3, 3, searchLessEqual, true}, {3, 2, searchLessEqual, false},
		{3, 9, searchNumber, true},
	} {
		if got := matches(test.message, test.wanted, test.mode); got != test.want {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

// A message goes to the first who waits for it and has room; those without
// room are woken for nothing.
func TestHandOver(t *testing.T) {
	r := newIPC(32)
	queue := ipcID{1, kernel.MessageQueue, 7}
	tasks := make([]task.Task, 5)
	for i, w := range []receiver{
		{queue: ipcID{1, kernel.MessageQueue, 8}, kind: 5, mode: searchEqual, room: 100},
		{queue: queue, kind: 4, mode: searchEqual, room: 100},
		{queue: queue, kind: 5, mode: searchEqual, room: 2},
		{queue: queue, mode: searchAny, room: 100},
		{queue: queue, kind: 5, mode: searchEqual, room: 100},
	} {
		w.task = &tasks[i]
		r.await(w)
	}
	woken := r.handOver(queue, 5, 10)
	if len(woken) != 2 || woken[0].task != &tasks[2] || woken[1].task != &tasks[3] {
		t.Errorf("woken are %+v", woken)
	}
	if len(r.waiting) != 3 {
		t.Errorf("%d wait on", len(r.waiting))
	}
	r.Undo(&tasks[4])
	if woken := r.handOver(queue, 5, 10); len(woken) != 0 || len(r.waiting) != 2 {
		t.Errorf("woken are %+v, %d wait on", woken, len(r.waiting))
	}
}

func TestDecodeDev(t *testing.T) {
	for in, want := range map[uint32]tsem.Dev{
		0x103: {Major: 1, Minor: 3}, 0xfe00: {Major: 254}, 0x12345678: {Major: 0x456, Minor: 0x12378},
	} {
		if got := decodeDev(in); got != want {
			t.Errorf("%#x: got %v, want %v", in, got, want)
		}
	}
}

func TestQuotaOptions(t *testing.T) {
	for option, want := range map[string]bool{
		"quota": true, "usrquota": true, "usrjquota=aquota.user": true, "grpjquota=": false,
		"noquota": false, "rw": false, "jqfmt=vfsv0": false,
	} {
		if got := isQuotaOption(option); got != want {
			t.Errorf("%s: got %v", option, got)
		}
	}
}

// A task loses its own keyrings with an exec, and a fork has none.
func TestKeyrings(t *testing.T) {
	keys := newKeys()
	first := &task.Task{TID: 10, TNum: 1}
	keys.ring(first, processKeyring).exists = true
	if n := len(keys.rings(first)); n != 1 {
		t.Errorf("%d keyrings exist", n)
	}
	forked := &task.Task{TID: 11, TNum: 2}
	if n := len(keys.rings(forked)); n != 0 {
		t.Errorf("%d keyrings of a fork exist", n)
	}
	first.TTD = 5
	if n := len(keys.rings(first)); n != 0 {
		t.Errorf("%d keyrings exist behind an exec", n)
	}
}
