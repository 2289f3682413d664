// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

const (
	// maxRecord is the room that a record is read into. The longest that a
	// kernel writes have two paths of 4096 bytes each.
	maxRecord = 64 << 10

	// The supervisor is told of what has come at most once in pace, unless
	// hurry bytes have come before.
	pace  = 2 * time.Millisecond
	hurry = 256 << 10

	// A number that is missing when nothing is queued any more is given this
	// long to come.
	gapPatience = 200 * time.Millisecond

	// A stream that the kernel calls broken is missed if the context has not
	// ended by then.
	vanishedPatience = 5 * time.Second

	// A reader that is asked to stop reads what is queued, as long as that
	// takes no longer.
	stopPatience = time.Second
)

// reader is the reading side, on the thread that the kernel answers.
type reader struct {
	line   int
	over   int // readable: what is queued is the last
	fd     int // the stream
	ledger *ledger.Ledger
	orders orders

	context uint64
	numbers numbers
	head    header
	account account
	shape   shaper

	fresh    int       // bytes that the supervisor has not been told of
	told     time.Time // when it was last
	gone     bool      // it is
	ending   bool      // over is readable
	stopping time.Time // when the supervisor has asked to stop
	vanished bool      // the kernel calls the stream broken
	wide     bool      // digests are longer than kernels write, which is to be told
}

// errStopped ends the reading early.
var errStopped = errors.New("stopped")

// Read is a Read of package workload.
func Read(line int, file *os.File, over int) {
	r := &reader{line: line, over: over, fd: -1}
	err := r.open(file)
	if err == nil {
		err = r.run()
	}
	if err != nil {
		tell(line, sayFailed, err.Error())
		return
	}
	tell(line, sayEnd, mustMarshal(r.account))
}

// open waits for the orders, and opens the stream.
func (r *reader) open(file *os.File) (err error) {
	word, text, err := r.order()
	if err != nil || word != sayAttach {
		return errStopped
	}
	if err := json.Unmarshal(text, &r.orders); err != nil {
		return err
	}
	if r.ledger, err = ledger.Open(file); err != nil {
		return err
	}
	p, err := openPlane(r.orders.Root)
	if err != nil {
		return err
	}
	defer p.close()
	a, err := r.attach(p)
	if err != nil {
		return err
	}
	r.shape = newShaper(r.orders)
	r.wide = 2*r.orders.Digest > kernelDigits
	return tell(r.line, sayAttached, mustMarshal(a))
}

// order waits for a word of the supervisor, unless there is to be none.
func (r *reader) order() (word byte, text []byte, err error) {
	buf := make([]byte, maxLine)
	for {
		fds := []unix.PollFd{{Fd: int32(r.line), Events: unix.POLLIN}, {Fd: int32(r.over), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return 0, nil, err
		}
		if fds[0].Revents != 0 {
			word, text = heard(r.line, buf)
			return word, text, nil
		}
		if fds[1].Revents != 0 {
			return 0, nil, nil
		}
	}
}

// attach learns the number of the context, and opens its stream.
func (r *reader) attach(p *plane) (a attached, err error) {
	note := func(what, answer string, since time.Time) {
		a.Exchanges = append(a.Exchanges, exchange{Wrote: what, Answer: answer, At: since, Took: time.Since(since)})
	}
	if r.orders.Context {
		since := time.Now()
		// A kernel of before April 2025 names the reader's own context, which
		// is the root context, and the child has to be asked. A later one
		// that falls back to the root context also says 0: were that taken
		// for an answer, the whole host would be read in the workload's place.
		if r.context, err = p.id(); err != nil {
			return a, err
		}
		note("read "+fileID, strconv.FormatUint(r.context, 10), since)
		if r.context == 0 {
			if r.context, err = r.askChild(); err != nil {
				return a, err
			}
		}
		r.numbers.expect(1)
	}
	since := time.Now()
	fd, name, err := p.stream(r.context)
	if err != nil {
		return a, err
	}
	note("open "+name, "descriptor "+strconv.Itoa(fd), since)
	r.fd, a.Context = fd, r.context
	if !r.orders.Context && name == fileExport && !exportsRoot() && !queued(fd) {
		return a, errNoRootExport // a stream that is empty looks the same
	}
	return a, nil
}

// queued tells whether there is something to read.
func queued(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err != nil || n > 0 && fds[0].Revents&unix.POLLIN != 0
}

// askChild has the child ask the kernel for the number of its context.
func (r *reader) askChild() (uint64, error) {
	if err := tell(r.line, sayUnknown, ""); err != nil {
		return 0, err
	}
	word, text, err := r.order()
	if err != nil || word != sayContext {
		return 0, errStopped
	}
	number, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || number == 0 {
		return 0, fmt.Errorf("the kernel has made a context, but does not tell its number (it says %q): there is no safe way to read its events", text)
	}
	return number, nil
}

// run reads until the context has ended and all is read.
func (r *reader) run() error {
	for first := true; ; first = false {
		last := r.ending || !r.stopping.IsZero() // what is queued by now is all
		if err := r.drain(); err != nil {
			r.tellNews()
			return r.unlessStopped(err)
		}
		if first && !r.orders.Context && r.account.Read == 0 {
			tell(r.line, sayNotice, "no event of the root context is queued: all were exported before, or somebody else reads them")
		}
		if last || !r.orders.Context && !r.orders.Follow {
			break
		}
		if err := r.wait(); err != nil {
			r.tellNews()
			return r.unlessStopped(err)
		}
	}
	err := r.tellGaps(true)
	r.tellNews()
	return r.unlessStopped(err)
}

func (r *reader) unlessStopped(err error) error {
	if err == errStopped {
		return nil
	}
	return err
}

// drain reads until nothing is queued.
func (r *reader) drain() error {
	empty := 0
	for n := 1; ; n++ {
		if err := r.makeRoom(); err != nil {
			return err
		}
		line, err := r.next()
		switch {
		case err == unix.ENODATA:
			return nil
		case err != nil:
			return fmt.Errorf("cannot read the stream of events of context %d: %w", r.context, err)
		case len(line) == 0:
			// Nothing, without saying so. A file at its end would say so for ever.
			if empty++; empty == 100 {
				return fmt.Errorf("the stream of events of context %d gives nothing though the kernel does not call it empty", r.context)
			}
			return nil
		}
		empty = 0
		if err := r.enter(line); err != nil {
			return err
		}
		if n%1024 == 0 {
			if _, err := r.listen(0); err != nil {
				return err
			}
			if !r.stopping.IsZero() && time.Since(r.stopping) > stopPatience {
				return errStopped // what is queued stays for the next export
			}
		}
	}
}

// next reads one record into the free part of the ledger. A read at offset 0
// takes the next record off the queue, and one behind what was read goes on in
// it, which would be needed only for one that is longer than any kernel writes.
func (r *reader) next() ([]byte, error) {
	room := r.ledger.Room()
	room = room[:r.shape.ahead+maxRecord]
	at := r.shape.ahead
	n, err := r.readAt(room[at:], 0)
	if err != nil || n == 0 {
		return nil, err
	}
	end := at + n
	for !whole(room[at:end]) && end < len(room) {
		n, err := r.readAt(room[end:], int64(end-at))
		if err != nil || n == 0 {
			break
		}
		end += n
	}
	return room[:end], nil
}

// whole tells whether a record ends here, as far as its end tells.
func whole(line []byte) bool {
	n := len(line)
	return n >= 2 && line[n-2] == '}' && line[n-1] == '\n'
}

func (r *reader) readAt(b []byte, offset int64) (int, error) {
	for {
		n, err := kernel.ReadNow(r.fd, b, offset)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// enter puts a record, which has room ahead of it, into the ledger.
func (r *reader) enter(room []byte) error {
	line := room[r.shape.ahead:]
	r.head.read(line)
	r.account.Read++
	switch {
	case r.head.numbered:
		if r.head.context != r.context {
			return fmt.Errorf("the kernel gave an event of context %d to the reader of context %d", r.head.context, r.context)
		}
		r.numbers.came(r.head.number)
	case lostEvent(bytes.TrimSuffix(line, []byte{'\n'})) && r.numbers.next != 0:
		r.numbers.came(r.numbers.next)
	}
	if r.wide && r.head.typ != nil {
		r.wide = false
		if digits := digestDigits(line); digits < 2*r.orders.Digest {
			tell(r.line, sayNotice, fmt.Sprintf("the kernel cuts digests: of the %d hex digits of each it gives %d, as many as a digest of the root context has", 2*r.orders.Digest, digits))
		}
	}
	shaped, repaired := r.shape.shape(room, &r.head)
	if repaired {
		r.account.Repaired++
	}
	if err := r.commit(shaped); err != nil {
		return err
	}
	if len(r.numbers.gaps) > 0 {
		return r.tellGaps(false)
	}
	return nil
}

// commit makes a line the next of the ledger.
func (r *reader) commit(line []byte) error {
	number := r.numbers.next
	for !r.ledger.Commit(line, number-min(number, 1)) {
		if err := r.waitForRoom(); err != nil {
			return err
		}
	}
	if r.fresh += len(line); r.fresh > hurry {
		r.tellNews()
	}
	return nil
}

// tellGaps writes what is lost of the numbers: all that is missing, or what has
// been for long.
func (r *reader) tellGaps(all bool) error {
	for {
		g, ok := r.numbers.lost(all)
		if !ok {
			return nil
		}
		l := tsem.Lost{
			Context: r.context, After: g.first - 1,
			Count: strconv.FormatUint(g.last-g.first+1, 10), Cause: record.CauseNumberGap.String(),
		}
		if !r.orders.Context {
			tell(r.line, sayNotice, fmt.Sprintf("%s events of the root context were not there behind number %d: somebody else reads them too", l.Count, l.After))
		}
		if err := r.makeRoom(); err != nil {
			return err
		}
		if err := r.commit(append(l.AppendJSON(r.ledger.Room()), '\n')); err != nil {
			return err
		}
	}
}

// makeRoom waits until there is room for a record.
func (r *reader) makeRoom() error {
	for cap(r.ledger.Room()) < r.shape.ahead+maxRecord {
		r.ledger.Release(r.ledger.Head())
		if cap(r.ledger.Room()) >= r.shape.ahead+maxRecord {
			return nil
		}
		if err := r.waitForRoom(); err != nil {
			return err
		}
	}
	return nil
}

// waitForRoom waits until the supervisor tells of room. When it is gone nobody
// will.
func (r *reader) waitForRoom() error {
	r.ledger.Release(r.ledger.Head())
	if r.gone {
		return errStopped
	}
	tell(r.line, sayFull, "")
	r.fresh = 0 // it knows by that
	for !r.gone {
		if word, err := r.listen(-1); err != nil || word == sayRoom {
			return err
		}
	}
	return errStopped
}

// wait waits until something may be queued, or the end comes.
func (r *reader) wait() error {
	fds := [...]unix.PollFd{
		{Fd: int32(r.fd), Events: unix.POLLIN},
		{Fd: int32(r.over), Events: unix.POLLIN},
		{Fd: int32(r.line), Events: unix.POLLIN},
	}
	for {
		if r.vanished {
			fds[0].Fd = -1
		}
		if r.gone {
			fds[2].Fd = -1
		}
		timeout := -1
		switch {
		case r.vanished:
			timeout = int(vanishedPatience.Milliseconds())
		case r.fresh > 0:
			timeout = int(max(pace-time.Since(r.told), 0).Milliseconds())
		case r.numbers.open():
			timeout = int(gapPatience.Milliseconds())
		}
		n, err := unix.Poll(fds[:], timeout)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("cannot wait for events: %w", err)
		case n == 0 && r.vanished:
			return fmt.Errorf("the stream of events of context %d has vanished while processes of it are left", r.context)
		case n == 0 && r.fresh > 0:
			r.tellNews()
		case n == 0:
			if err := r.tellGaps(true); err != nil {
				return err
			}
		}
		if fds[2].Revents != 0 {
			if _, err := r.listen(0); err != nil {
				return err
			}
			if !r.stopping.IsZero() {
				return nil
			}
		}
		switch ready := fds[0].Revents; {
		case fds[1].Revents != 0:
			r.ending = true
			return nil
		case ready&unix.POLLIN != 0:
			return nil
		case ready != 0:
			// Some kernels say so when the last task is gone, of which we are to
			// hear in a moment.
			r.vanished = true
			return nil
		}
	}
}

// listen hears what the supervisor says, if it does so in time: milliseconds,
// negative for ever.
func (r *reader) listen(timeout int) (word byte, err error) {
	if r.gone {
		return 0, nil
	}
	fds := []unix.PollFd{{Fd: int32(r.line), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, timeout); n == 0 || err == unix.EINTR {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("cannot hear the supervisor: %w", err)
	}
	var buf [16]byte
	switch word, _ = heard(r.line, buf[:]); word {
	case sayStop:
		r.stopping = time.Now()
	case 0:
		r.gone = true
	}
	return word, nil
}

// tellNews tells the supervisor that there are records. If it does not listen
// fast enough it has been told already.
func (r *reader) tellNews() {
	if r.fresh == 0 {
		return
	}
	unix.Sendto(r.line, []byte{sayNews}, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
	r.fresh, r.told = 0, time.Now()
}
