// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"quixote-export/internal/ledger"
	"quixote-export/internal/model"
	"quixote-export/internal/record"
	"quixote-export/internal/recorder"
	"quixote-export/tsem"
)

// HostOptions of a Host.
type HostOptions struct {
	Ledger      *ledger.Ledger
	Model       *model.Model
	Algorithm   *tsem.Algorithm
	DigestLimit uint64 // bytes; larger files have no digest
	Current     bool   // ids as in the task's own user namespace
	Timestamp   bool   // add the wall-clock time
	Group       int    // records of a batch at most
	Follow      bool   // go on behind what has been collected until now, until Stop
	IncludeSelf bool   // this process is told of too
	Log         *slog.Logger
}

// Host exports the events of the whole host, from a collector that stays when it
// ends. What was read is given up in the kernel only when it is written down how
// to go on behind it: whoever reads next, after we were killed, gives what comes
// after the last record in the ledger the same number, and in the ledger lies
// what was not delivered.
type Host struct {
	opts    HostOptions
	place   *Place // nil: nothing outlives us
	kernel  *loaded
	events  *ring
	notes   *ring
	decoder *decoder
	rec     *recorder.Recorder

	progress           // of what is recorded
	replay   *progress // up to which everything was recorded by whoever was before us
	kept     time.Time // when it was last written down how to go on
	wrote    time.Duration
	fresh    bool // something has come since
	came     bool // in this round
	buf      []byte
	adjusted time.Time
	partial  bool // the model keeps some events of a type only

	rounds   atomic.Uint64 // of the reading
	aborted  atomic.Bool
	done     chan struct{}
	stopping chan struct{}
	stop     sync.Once
}

// What a place has.
const (
	fileLock       = "lock"
	fileAbout      = "about.json"
	fileDigest     = "digest"
	fileCheckpoint = "checkpoint"
	fileIdentities = "identities"
	fileLedger     = "ledger"
)

// Ledger opens the memory of what is recorded and not delivered, which the place
// keeps. The place is locked.
func (p *Place) Ledger() (*ledger.Ledger, error) {
	l, _, err := ledger.Keep(p.file(fileLedger), ledger.DefaultSize)
	return l, err
}

// Open begins to export from the collector at a place, which is locked.
func (p *Place) Open(o HostOptions) (*Host, error) {
	about, err := p.About()
	if err != nil {
		return nil, err
	}
	if err := about.Ours(); err != nil {
		return nil, err
	}
	k, err := p.open(about)
	if err != nil {
		return nil, err
	}
	h := newHost(o, p, k)
	if err := h.begin(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// OpenAlone attaches programs that go with this process, and exports what they
// tell of the whole host.
func OpenAlone(c CollectorOptions, o HostOptions) (*Host, error) {
	k, err := c.load()
	if err != nil {
		return nil, err
	}
	h := newHost(o, nil, k)
	if err := h.begin(); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

func newHost(o HostOptions, p *Place, k *loaded) *Host {
	return &Host{
		opts: o, place: p, kernel: k, rec: recorder.New(0, o.Ledger),
		done: make(chan struct{}), stopping: make(chan struct{}),
	}
}

// begin goes on where the last reader has stopped, and reads.
func (h *Host) begin() (err error) {
	if h.events, err = newRing(h.kernel.maps["ring"]); err != nil {
		return err
	}
	if h.notes, err = newRing(h.kernel.maps["notes"]); err != nil {
		return err
	}
	h.decoder = h.newDecoder()
	for _, r := range h.opts.Model.Rules {
		h.partial = h.partial || r.When != 0
	}
	if h.place != nil {
		if err := h.goOn(); err != nil {
			return err
		}
	}
	if err := h.kernel.leaveOut(!h.opts.IncludeSelf); err != nil {
		return err
	}
	h.rec.Group(h.opts.Group)
	h.rec.Resume(h.last)
	h.adjust()
	h.kept = time.Now()
	go h.run(h.events.produced())
	return nil
}

func (h *Host) newDecoder() *decoder {
	files := newDigests(h.opts.Algorithm, h.opts.DigestLimit)
	h.kernel.variable("home_mounts", &files.home)
	files.adopt()
	d := newDecoder(h.opts.Algorithm, h.opts.Model, files)
	d.host, d.wall = true, h.opts.Timestamp
	d.head.initial = !h.opts.Current
	return d
}

// goOn takes up what the last reader has written down.
func (h *Host) goOn() error {
	if err := h.place.keepDigest(h.opts.Algorithm.Name); err != nil {
		return err
	}
	if err := h.decoder.ids.keepIn(h.place.file(fileIdentities)); err != nil {
		return err
	}
	var c checkpoint
	found, err := c.read(h.place.file(fileCheckpoint))
	if err != nil {
		return err
	}
	mark := unmark(h.opts.Ledger.Marked())
	if !found {
		c = checkpoint{made: h.decoder.made}
		c.at, c.notes = h.events.at, h.notes.at
	}
	h.progress, h.decoder.made = c.progress, c.made
	h.events.at, h.notes.at = c.at, c.notes
	if mark.at > c.at || mark.at == c.at && mark.taken > 0 || mark.last > c.last || mark.total > c.total {
		h.replay = &mark
		h.last, h.tally = mark.last, mark.tally
	}
	return nil
}

// keepDigest sees to it that all exports have the same digests: identities are
// made of them.
func (p *Place) keepDigest(name string) error {
	was, err := os.ReadFile(p.file(fileDigest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.WriteFile(p.file(fileDigest), []byte(name), 0o600)
	case err == nil && string(was) != name:
		return fmt.Errorf("what the collector has was exported with -h %s until now: go on with that, or take the collector away (--remove-collector) and begin anew", was)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the name of the digest: %w", err)
	}
	return nil
}

// adjust looks at the wall clock, which may have been set.
func (h *Host) adjust() {
	h.adjusted = time.Now()
	h.decoder.boot = time.Unix(0, bootTime())
}

// How often what is held in the kernel is given up: after so long, or when it
// takes a large part of the ring.
const (
	keepEvery  = time.Second
	holdAtMost = 8 // the part of the ring
)

// run reads up to a position, or as long as it is to follow.
func (h *Host) run(target uint64) {
	defer close(h.done)
	err := h.read(target)
	if err == nil {
		err = io.EOF
	}
	h.rec.End(err)
	h.close()
}

func (h *Host) read(target uint64) error {
	stopping := h.stopping
	follow := h.opts.Follow
	for {
		h.rounds.Add(1)
		if time.Since(h.adjusted) > time.Second {
			h.adjust()
		}
		h.came = false
		idle := h.drain()
		if h.aborted.Load() {
			return nil
		}
		if err := h.decoder.ids.err; err != nil {
			return fmt.Errorf("cannot write down the identities of the tasks: %w", err)
		}
		over := !follow && h.events.at >= target
		if idle || over {
			h.tellLost(^uint64(0))
			h.trim()
		}
		if idle && !h.came || over || h.events.held() > h.events.size/holdAtMost || time.Since(h.kept) > max(keepEvery, 50*h.wrote) {
			if err := h.keep(); err != nil {
				return err
			}
		}
		if over {
			return nil
		}
		select {
		case <-stopping:
			stopping, follow, target = nil, false, h.events.produced()
			continue
		default:
		}
		if idle {
			if err := h.events.wait(h.came); err != nil {
				return fmt.Errorf("cannot read the BPF ring: %w", err)
			}
		}
	}
}

// atOnce is how many events are read before it is looked what else there is to
// do.
const atOnce = 4096

// drain reads what there is, but not for ever. It is true when there is nothing
// more.
func (h *Host) drain() (idle bool) {
	for range atOnce {
		sample, at, ok := h.events.next()
		if !ok {
			h.readNotes()
			return true
		}
		h.fresh, h.came = true, true
		h.readNotes()
		h.take(sample, at)
		if h.aborted.Load() {
			break
		}
	}
	return false
}

func (h *Host) readNotes() {
	for {
		sample, _, ok := h.notes.next()
		if !ok {
			return
		}
		h.fresh = true
		h.decoder.note(sample)
	}
}

// take records the event of a sample, and before it what was lost until then.
func (h *Host) take(sample []byte, at uint64) {
	e := h.decoder.decode(sample)
	skip := uint64(0)
	if h.replay != nil {
		if at < h.replay.at {
			return
		}
		if at == h.replay.at {
			skip = h.replay.taken
		}
		h.replay = nil
	}
	h.at, h.taken = at, skip
	if n := h.decoder.head.lost; skip == 0 && n > h.total {
		h.tellLost(n - h.total)
	}
	if skip > 0 {
		return
	}
	if e == nil {
		h.miss(record.CauseRecordInvalid, 1, true)
		return
	}
	if !h.decoder.keeps() {
		return
	}
	h.taken++
	h.last++
	h.rec.Lock()
	h.rec.Mark(h.mark())
	h.rec.Append(e)
	h.rec.Unlock()
}

// miss records that something was lost.
func (h *Host) miss(cause record.Cause, n uint64, known bool) {
	h.fresh = true
	if known {
		h.last += n
	}
	h.rec.Lock()
	h.rec.Mark(h.mark())
	h.rec.Unlock()
	h.rec.Lost(cause, n, known)
}

// tellLost records up to n losses that have not been told.
func (h *Host) tellLost(n uint64) { h.tally.tell(h.kernel.lost(), n, !h.partial, h.miss) }

// trim forgets what nobody needs any more. It is for when everything was read.
func (h *Host) trim() {
	d := h.decoder
	if !d.ids.many() && !d.made.many() {
		return
	}
	needed, err := h.kernel.needed()
	if err != nil {
		h.opts.Log.Error("the tasks of the host are not known", "error", err)
		return
	}
	alive := func(number uint64) bool { return needed[number] }
	present := make(map[uint64]bool)
	for number := range needed {
		present[by(d.id(number), number)] = true
	}
	d.made.trim(alive, present)
	for _, o := range d.made.origins {
		needed[o.maker] = true
	}
	d.ids.trim(alive)
	h.fresh = true
}

// keep writes down how to go on, and gives up in the kernel what lies before.
func (h *Host) keep() error {
	if !h.fresh {
		return nil
	}
	begun := time.Now()
	if h.replay == nil {
		h.at, h.taken = h.events.at, 0
	}
	if h.place != nil && h.replay == nil {
		c := checkpoint{progress: h.progress, notes: h.notes.at, made: h.decoder.made}
		var err error
		if h.buf, err = c.write(h.place.file(fileCheckpoint), h.buf); err != nil {
			return err
		}
	}
	if h.replay == nil {
		h.events.release(h.events.at)
		h.notes.release(h.notes.at)
	}
	h.kept, h.fresh = time.Now(), false
	h.wrote = h.kept.Sub(begun)
	return nil
}

// close gives up what is ours, and leaves in the kernel what is not.
func (h *Host) close() {
	for _, r := range []*ring{h.events, h.notes} {
		if r != nil {
			r.close()
		}
	}
	if h.decoder != nil {
		h.decoder.digests.close()
		h.decoder.ids.close()
	}
	h.kernel.close()
}

// Stop ends the export behind what has been collected by now.
func (h *Host) Stop() { h.stop.Do(func() { close(h.stopping) }) }

// Lively tells whether the reading has got on since it was asked last, or waits
// for the outputs.
func (h *Host) Lively() bool { return h.rounds.Swap(0) > 0 || h.rec.Held() }

// Died tells nothing: nobody reads for us.
func (h *Host) Died() bool { return false }

// Abort ends the export where it is: what is not recorded stays in the kernel.
func (h *Host) Abort() {
	h.aborted.Store(true)
	h.rec.End(io.EOF) // it may wait for room
	h.Stop()
}

// Done is closed when everything was read that was to be.
func (h *Host) Done() <-chan struct{} { return h.done }

// Next implements the exporter's source.
func (h *Host) Next(ctx context.Context) (*record.Batch, error) { return h.rec.Next(ctx) }

// Losses implements the exporter's source.
func (h *Host) Losses() record.Losses { return h.rec.Losses() }

// Processes lists nothing: the tasks of the host are not ours to end.
func (h *Host) Processes() []int { return nil }

// Sealed has nothing to tell: the host takes in new tasks always.
func (h *Host) Sealed() {}

// DigestsMissing counts the files whose digest could not be had, by the word
// that says why.
func (h *Host) DigestsMissing() map[string]uint64 { return h.decoder.digests.files.Missing() }

// leaveOut has nothing told of the tasks that run our own executable, or all.
func (l *loaded) leaveOut(us bool) error {
	var own struct {
		Dev, _ uint32
		Ino    uint64
	}
	if us {
		r, err := executable("/proc/self/exe")
		if err != nil {
			return fmt.Errorf("cannot leave out of the export who exports: %w", err)
		}
		own.Dev, own.Ino = r.At, r.ID
	}
	if err := l.maps["exporter"].Put(uint32(0), own); err != nil {
		return fmt.Errorf("cannot leave out of the export who exports: %w", err)
	}
	return nil
}

// Enlist tells the collector, if there is one, that a process is in a context of
// its own, with what it makes from now on.
func (p *Place) Enlist(pid int, number uint64) error {
	states, err := ebpf.LoadPinnedMap(filepath.Join(p.Pins, pinned["states"]), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer states.Close()
	if states.ValueSize() != stateSize {
		return errors.New("it is that of another version")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	state := make([]byte, stateSize)
	if err := states.Lookup(uint32(fd), state); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	binary.NativeEndian.PutUint32(state[contextAt:], uint32(number))
	return states.Put(uint32(fd), state)
}

// needed are the numbers of the execs whose identities events can still have.
func (l *loaded) needed() (map[uint64]bool, error) {
	r, err := l.alive.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	needed := make(map[uint64]bool)
	for ; len(b) >= 8; b = b[8:] {
		needed[binary.NativeEndian.Uint64(b)] = true
	}
	return needed, nil
}
