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
	// usualRecord is the room that a record is read into. The longest that a
	// kernel writes have an attribute of 64 KiB in base64; if one is longer
	// still, more room is made, up to maxRecord.
	usualRecord = 128 << 10
	maxRecord   = 64 << 20

	// The supervisor is told of what has come at most once in pace, unless
	// hurry bytes have come before.
	pace  = 2 * time.Millisecond
	hurry = 256 << 10

	// A number that is missing when nothing is queued any more is given this
	// long to come.
	gapPatience = 200 * time.Millisecond

	// A stream that the kernel calls broken is missed if the context has not
	// ended by then. One that cannot be read is tried again until then.
	vanishedPatience = 5 * time.Second
	againAfter       = 10 * time.Millisecond

	// So often in a row a read may give nothing without calling that the end.
	maxEmpty = 100

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
	room    []byte // for a record, where the ledger is too small; else nil
	until   uint64 // time stamp: no later events are wanted; 0: all are

	empty   int       // reads in a row that gave nothing
	failing time.Time // since when no read has succeeded
	shared  bool      // somebody else reads the root context, which was told

	fresh    int       // bytes that the supervisor has not been told of
	told     time.Time // when it was last
	gone     bool      // it is
	ending   bool      // over is readable
	stopping time.Time // when the supervisor has asked to stop
	vanished bool      // the kernel calls the stream broken
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
	if ahead := aheadOf(r.orders); r.ledger.Size() < 2*(ahead+usualRecord) {
		r.room = make([]byte, ahead+usualRecord)
	}
	p, err := openPlane(r.orders.Root)
	if err != nil {
		return err
	}
	defer p.close()
	p.tell = func(x exchange) { tell(r.line, sayExchange, mustMarshal(x)) }
	if err := r.attach(p); err != nil {
		return err
	}
	r.shape = newShaper(r.orders)
	return tell(r.line, sayAttached, strconv.FormatUint(r.context, 10))
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
func (r *reader) attach(p *plane) error {
	if !r.orders.Context {
		return r.attachRoot(p)
	}
	// A kernel of before April 2025 names the reader's own context, which is the
	// root context, and the child has to be asked. A later one that falls back to
	// the root context also says 0: were that taken for an answer, the whole host
	// would be read in the workload's place.
	var err error
	if r.context, _, err = p.id(); err != nil {
		return err
	}
	if r.context == 0 {
		if r.context, err = r.askChild(); err != nil {
			return err
		}
	}
	r.numbers.expect(1)
	r.fd, _, err = p.stream(r.context)
	return err
}

// attachRoot opens the stream of the root context.
func (r *reader) attachRoot(p *plane) error {
	if !p.inRoot() {
		return errInContext
	}
	fd, name, err := p.stream(0)
	if err != nil {
		return err
	}
	r.fd = fd
	if name == fileExport && !exportsRoot() && !queued(fd) {
		return errNoRootExport // a stream that is empty looks the same
	}
	if !r.orders.Follow {
		// What comes later is not what was queued. A busy host, or what sends
		// the records off, could go on for ever.
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err == nil {
			r.until = uint64(now.Nano())
		}
	}
	return nil
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
	var n told
	if err := json.Unmarshal(text, &n); err != nil {
		return 0, err
	}
	if n.Number == 0 {
		why := "no number"
		if n.Err != "" {
			why = n.Err
		} else if n.Known {
			why = "that of the root context"
		}
		return 0, fmt.Errorf("the kernel has made a context, but does not tell its number (the answer is %s): there is no safe way to read its events", why)
	}
	return n.Number, nil
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
	for n := 1; ; n++ {
		room, err := r.place()
		if err != nil {
			return err
		}
		room, err = r.next(room)
		switch {
		case err == unix.ENODATA:
			r.failing = time.Time{}
			// Before the end the kernel is asked twice.
			if r.empty++; r.ending && r.empty < maxEmpty && queued(r.fd) {
				continue
			}
			r.empty = 0
			return nil
		case err != nil:
			if err := r.tryAgain(err); err != nil {
				return err
			}
			continue
		case len(room) == 0:
			// Nothing, without saying so: the record may have been lost, and
			// there may be others. A file at its end would say so for ever.
			if r.empty++; r.empty < maxEmpty {
				continue
			}
			if queued(r.fd) {
				return fmt.Errorf("the stream of events of context %d gives nothing, though the kernel says that there is something", r.context)
			}
			r.empty = 0
			return nil
		}
		r.empty, r.failing = 0, time.Time{}
		if err := r.enter(room); err != nil {
			return err
		}
		if n%64 == 0 && r.late(room[r.shape.ahead:]) {
			return nil
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

// tryAgain waits before the next read, after one that has failed. It may be for
// want of memory, and nothing is lost by it: what is queued stays. When it does
// not pass, that is the error.
func (r *reader) tryAgain(why error) error {
	if r.failing.IsZero() {
		r.failing = time.Now()
	}
	if time.Since(r.failing) > vanishedPatience {
		return fmt.Errorf("cannot read the stream of events of context %d: %w", r.context, why)
	}
	fds := []unix.PollFd{{Fd: int32(r.line), Events: unix.POLLIN}}
	if r.gone {
		fds = nil
	}
	if n, err := unix.Poll(fds, int(againAfter.Milliseconds())); n == 0 || err != nil {
		return nil
	}
	_, err := r.listen(0)
	return err
}

// late tells whether an event, as the kernel wrote it, is of after the time that
// is wanted. Its time stamp is at most the age of the host.
func (r *reader) late(line []byte) bool {
	if r.until == 0 || r.head.typed == 0 {
		return false
	}
	const stamp = `", "ts": "`
	i := bytes.Index(line[r.head.typed:], []byte(stamp))
	if i < 0 {
		return false
	}
	ts, _ := digits(line, r.head.typed+i+len(stamp))
	return ts > r.until
}

// next reads one record into room, behind the part of it that is ahead; it is
// elsewhere when there is not enough. A read at offset 0 takes the next record off
// the queue, and one behind what was read goes on in it.
func (r *reader) next(room []byte) ([]byte, error) {
	at := r.shape.ahead
	n, err := r.readAt(room[at:], 0)
	if err != nil || n == 0 {
		return nil, err
	}
	end := at + n
	for !whole(room[at:end]) {
		if end == len(room) {
			if end >= maxRecord {
				break
			}
			room = append(make([]byte, 0, 2*end), room...)[:2*end]
		}
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
	if cut := r.shape.measure(line, &r.head); cut > 0 {
		tell(r.line, sayNotice, fmt.Sprintf("the kernel cuts digests: of the %d hex digits of each it gives %d, as many as a digest of the root context has", 2*r.orders.Digest, cut))
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
	number -= min(number, 1)
	if len(line) > r.ledger.Size() {
		after := r.head.number
		l := tsem.Lost{Context: r.context, After: after - min(after, 1), Count: "1", Cause: record.CauseRecordTooLong.String()}
		line = append(l.AppendJSON(nil), '\n')
	}
	for !r.ledger.Commit(line, number) {
		if err := r.waitForRoom(); err != nil {
			return err
		}
	}
	if r.fresh += len(line); r.fresh > min(hurry, r.ledger.Size()/4) {
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
		if !r.orders.Context && !r.shared {
			r.shared = true
			tell(r.line, sayNotice, fmt.Sprintf("%s events of the root context were not there behind number %d: somebody else reads them too", l.Count, l.After))
		}
		room, err := r.place()
		if err != nil {
			return err
		}
		if err := r.commit(append(l.AppendJSON(room[:0]), '\n')); err != nil {
			return err
		}
	}
}

// place gives the room for a record: where it is to stay, if it can.
func (r *reader) place() ([]byte, error) {
	if r.room != nil {
		return r.room, nil
	}
	want := r.shape.ahead + usualRecord
	for {
		room := r.ledger.Room()
		if cap(room) >= want {
			return room[:want], nil
		}
		r.ledger.Release(r.ledger.Head())
		if cap(r.ledger.Room()) >= want {
			continue
		}
		if err := r.waitForRoom(); err != nil {
			return nil, err
		}
	}
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
