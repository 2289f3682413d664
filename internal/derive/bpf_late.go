// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// BPF knows the maps and programs whose descriptors may be on their way. Their
// hook is reached when the kernel has made, verified or found them, which only
// the descriptor shows: so its event comes when that is there.
type BPF struct {
	mu      sync.Mutex
	pending []pendingBPF
	attach  map[uint32]int32 // the attach type of a program, by its number
}

type pendingBPF struct {
	maker  *task.Task
	used   []int32 // the descriptors that were open before, ascending
	call   string  // what the maker is doing, while the call waits in the kernel
	fmode  uint32
	loaded bool  // a program, for which attach is known
	attach int32 // its attach type
}

// maxPrograms bounds how many programs are remembered.
const maxPrograms = 4096

func newBPF() *BPF { return &BPF{attach: make(map[uint32]int32)} }

// begin notes that a task may get a descriptor of a map or a program.
func (b *BPF) begin(p pendingBPF) {
	p.used, p.call = descriptors(p.maker.TID), currentCall(p.maker.TID)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(b.pending, p)
}

// take returns what t has begun, and forgets it.
func (b *BPF) take(t *task.Task) (taken []pendingBPF) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = slices.DeleteFunc(b.pending, func(p pendingBPF) bool {
		if p.maker != t {
			return false
		}
		taken = append(taken, p)
		return true
	})
	return taken
}

// Undo forgets what t has begun, since its call was not made, and takes back
// earlier what was taken when it was derived.
func (b *BPF) Undo(t *task.Task, earlier []pendingBPF) {
	b.take(t)
	b.put(earlier)
}

func (b *BPF) put(pending []pendingBPF) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(b.pending, pending...)
}

// Makers lists the tasks that may get a descriptor. Whoever handles one of
// them, and holds its Handling, may ask Arrived.
func (b *BPF) Makers() (makers []*task.Task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.pending {
		makers = append(makers, p.maker)
	}
	return makers
}

// known notes of a descriptor that its event has been told, so that no other
// thread of the process is taken for its maker.
func (b *BPF) known(tgid int, fd int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.pending {
		if p := &b.pending[i]; p.maker.TGID == tgid {
			at, _ := slices.BinarySearch(p.used, fd)
			p.used = slices.Insert(slices.Clone(p.used), at, fd)
		}
	}
}

// late emits what the last call of the task turned out to have made.
func (d *Deriver) late(c *Call) {
	d.begun = d.shared.BPF.take(c.Task)
	for i := range d.begun {
		d.arrived(c.Task.TID, &d.begun[i])
	}
}

// Fate is what became of the descriptors that a call was to make.
type Fate int

const (
	Settled Fate = iota // they have come, or will not
	Waits               // they may still come
	Lost                // whether they came can no longer be found out
)

// Arrived tells what t, which makes no call, has made since its last one. t may
// be dead: then what it has made may live on in its process. The events are the
// deriver's until its next call.
func (d *Deriver) Arrived(t *task.Task) (events []Event, fate Fate) {
	d.out = Outcome{Events: d.out.Events[:0]}
	var kept []pendingBPF
	for _, p := range d.shared.BPF.take(t) {
		dead, over, tid := t.Dead(), p.over(), t.TID
		if dead {
			tid = t.TGID
			if _, ok := d.shared.Tasks.Lookup(tid); !ok {
				fate = Lost
				continue
			}
		}
		switch found, any := d.arrived(tid, &p); {
		case found:
		case dead:
			fate = Lost
		case !over || !any:
			kept = append(kept, p)
		}
	}
	if len(kept) > 0 {
		d.shared.BPF.put(kept)
		fate = Waits
	}
	return d.out.Events, fate
}

// over tells whether the maker is seen to wait in another call by now.
func (p *pendingBPF) over() bool {
	now := currentCall(p.maker.TID)
	first, _, _ := strings.Cut(now, " ")
	number, err := strconv.Atoi(first)
	return err == nil && number >= 0 && now != p.call
}

// arrived emits the hook that made a descriptor which process or thread tid has
// open, and had not when p began. any tells whether it has any open at all: one
// that ends has none.
func (d *Deriver) arrived(tid int, p *pendingBPF) (found, any bool) {
	open := descriptors(tid)
	for _, fd := range open {
		if _, old := slices.BinarySearch(p.used, fd); !old && d.lateBPF(tid, p, fd) {
			d.shared.BPF.known(p.maker.TGID, fd)
			return true, true
		}
	}
	return false, len(open) > 0
}

// lateBPF emits the hook that made descriptor fd, if that is of a map or a
// program.
func (d *Deriver) lateBPF(tid int, p *pendingBPF, fd int32) bool {
	number := strconv.Itoa(int(fd))
	link, err := os.Readlink(kernel.ProcPath(tid, "fd/"+number))
	if err != nil {
		return false
	}
	var kind int32
	var id uint32
	switch link {
	case "anon_inode:bpf-map", "anon_inode:bpf-prog":
		info, err := kernel.ReadProc(tid, "fdinfo/"+number, make([]byte, 4096))
		if err != nil {
			return false
		}
		for line := range bytes.Lines(info) {
			name, value, _ := bytes.Cut(line, []byte(":"))
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 32)
			switch string(name) {
			case "map_type", "prog_type":
				kind = int32(n)
			case "prog_id":
				id = uint32(n)
			}
		}
	default:
		return false
	}
	if link == "anon_inode:bpf-map" {
		d.emit(tsem.BPFMap, &tsem.BPFMapCell{MapType: kind, Fmode: p.fmode})
		return true
	}
	d.emit(tsem.BPFProg, &tsem.BPFProgCell{Type: kind, AttachType: d.shared.BPF.attachType(id, p)})
	return true
}

// attachType is the attach type of program id: known when it is loaded, and
// remembered from then.
func (b *BPF) attachType(id uint32, p *pendingBPF) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !p.loaded {
		return b.attach[id]
	}
	if len(b.attach) >= maxPrograms {
		clear(b.attach)
	}
	b.attach[id] = p.attach
	return p.attach
}
