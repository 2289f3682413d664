// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// BPF knows the maps and programs whose descriptors may be on their way. Their
// hook is reached when the kernel has made, verified or found them, which only
// the descriptor shows: so its event comes with the task's next call.
type BPF struct {
	mu      sync.Mutex
	pending []pendingBPF
	attach  map[uint32]int32 // the attach type of a program, by its number
}

type pendingBPF struct {
	maker  *task.Task
	used   []int32 // the descriptors that were open before, ascending
	fmode  uint32
	loaded bool  // a program, for which attach is known
	attach int32 // its attach type
}

// maxPrograms bounds how many programs are remembered.
const maxPrograms = 4096

func newBPF() *BPF { return &BPF{attach: make(map[uint32]int32)} }

// begin notes that a task may get a descriptor of a map or a program.
func (b *BPF) begin(p pendingBPF) {
	p.used = descriptors(p.maker.TID)
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
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(b.pending, earlier...)
}

// late emits what the last call of the task turned out to have made.
func (d *Deriver) late(c *Call) {
	d.begun = d.shared.BPF.take(c.Task)
	for i := range d.begun {
		p := &d.begun[i]
		for _, fd := range descriptors(c.Task.TID) {
			if _, old := slices.BinarySearch(p.used, fd); !old && d.lateBPF(c, p, fd) {
				break
			}
		}
	}
}

// lateBPF emits the hook that made descriptor fd, if that is of a map or a
// program.
func (d *Deriver) lateBPF(c *Call, p *pendingBPF, fd int32) bool {
	number := strconv.Itoa(int(fd))
	link, err := os.Readlink(kernel.ProcPath(c.Task.TID, "fd/"+number))
	if err != nil {
		return false
	}
	var kind int32
	var id uint32
	switch link {
	case "anon_inode:bpf-map", "anon_inode:bpf-prog":
		info, err := kernel.ReadProc(c.Task.TID, "fdinfo/"+number, make([]byte, 4096))
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

// Commands of bpf that lead to a descriptor of a map or a program.
const (
	bpfMapCreate   = 0
	bpfProgLoad    = 5
	bpfObjectGet   = 7
	bpfProgByID    = 13
	bpfMapByID     = 14
	bpfReadOnly    = 1 << 3
	bpfWriteOnly   = 1 << 4
	bpfAttributes  = 120 // the bytes that are looked at
	bpfCgroupSock  = 9
	bpfReuseport   = 21
	bpfPageOfAttrs = 4096
)

// bpf is bpf: the call itself, and later the map or the program.
func bpf(d *Deriver, c *Call) error {
	cmd, size := c.arg(0), uint32(c.Args[2])
	if size > bpfPageOfAttrs {
		return unix.E2BIG
	}
	attr := make([]byte, max(size, bpfAttributes))
	if err := d.lens.Read(c.Task, c.Args[1], attr[:size]); err != nil {
		return unreadable(err)
	}
	// What a kernel does not know yet must be zero, and does not count.
	if known := kernel.BPFAttributes(); size > known {
		if len(bytes.Trim(attr[known:size], "\x00")) > 0 {
			return unix.E2BIG
		}
		size = known
	}
	d.emit(tsem.BPF, &tsem.BPFCell{Cmd: cmd, Size: size})
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(attr[at:]) }
	p := pendingBPF{maker: c.Task}
	switch cmd {
	case bpfMapCreate:
		p.fmode = bpfMode(word(16))
	case bpfMapByID:
		p.fmode = bpfMode(word(8))
	case bpfObjectGet:
		p.fmode = bpfMode(word(12))
	case bpfProgByID:
	case bpfProgLoad:
		p.loaded, p.attach = true, int32(word(68))
		if p.attach == 0 {
			switch word(0) { // those that the kernel replaces
			case bpfCgroupSock:
				p.attach = unix.BPF_CGROUP_INET_SOCK_CREATE
			case bpfReuseport:
				p.attach = unix.BPF_SK_REUSEPORT_SELECT
			}
		}
	default:
		return nil
	}
	d.shared.BPF.begin(p)
	return nil
}

// bpfMode is the FMODE_ bits that flags of a map ask for.
func bpfMode(flags uint32) uint32 {
	switch flags & (bpfReadOnly | bpfWriteOnly) {
	case bpfReadOnly:
		return 1
	case bpfWriteOnly:
		return 2
	}
	return 3
}
