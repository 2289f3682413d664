// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package tsem

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/ledger"
	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// Options of a source.
type Options struct {
	Root      string         // of securityfs
	Ledger    *ledger.Ledger // into which the reader reads
	Algorithm *tsem.Algorithm
	Timestamp bool // add the wall-clock time of the reading

	// Group bounds the records of a batch, and a batch waits for so many, at
	// most for a second. 0: neither.
	Group int
	// Processes lists those of the context.
	Processes func() []int
	// Notice is called with one line for the user, from any goroutine.
	Notice func(string)
	// Failed is called when the reading has broken off.
	Failed func(error)
	Log    *slog.Logger
}

// groupPatience is how long a group of records may take to become full.
const groupPatience = time.Second

// Source is one context, as the supervisor sees it.
type Source struct {
	opts   Options
	line   int
	number uint64
	done   chan struct{} // closed when all is read

	mu      sync.Mutex // guards what follows
	changed sync.Cond  // news, a full ledger, or the end
	full    bool       // the reader waits for room
	ended   error
	died    bool // the reader has
	account account
	losses  record.Losses

	read   uint64 // position in the ledger up to which the exporter was given all
	seen   uint64 // position up to which records were counted
	batch  record.Batch
	head   header
	parser tsem.Parser
}

// ErrNotEntered means that the child ended before it had made a context; it has
// said why.
var ErrNotEntered = errors.New("the workload could not be put into a context of the kernel")

// Attach begins to read the context of a child that has entered one, or will:
// control is the socket to it, line that to the reader. It must be called before
// the workload is let go.
func Attach(control, line int, opts Options) (*Source, error) {
	s := newSource(line, opts)
	word := [1]byte{}
	for {
		n, _, err := unix.Recvfrom(control, word[:], unix.MSG_PEEK)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot hear from the workload: %w", err)
		}
		if n == 0 || word[0] != sayEntered && word[0] != sayRefused {
			return nil, ErrNotEntered
		}
		break
	}
	_, text := heard(control, make([]byte, maxLine))
	var exchanges []exchange
	if err := understand(text, &exchanges); err != nil {
		return nil, err
	}
	s.log(exchanges...)
	if word[0] == sayRefused {
		return nil, ErrNotEntered
	}
	return s, s.attach(control, true, false)
}

// Root begins to read the root context: what is queued, and with follow also
// what will be, until Stop.
func Root(line int, follow bool, opts Options) (*Source, error) {
	s := newSource(line, opts)
	return s, s.attach(-1, false, follow)
}

func newSource(line int, opts Options) *Source {
	s := &Source{opts: opts, line: line, done: make(chan struct{})}
	s.changed.L = &s.mu
	return s
}

// attach has the reader open the stream.
func (s *Source) attach(control int, context, follow bool) error {
	tell(s.line, sayAttach, mustMarshal(orders{
		Root: s.opts.Root, Context: context, Follow: follow,
		Digest: s.opts.Algorithm.Size, Timestamp: s.opts.Timestamp,
	}))
	buf := make([]byte, maxLine)
	for {
		word, text := heard(s.line, buf)
		switch word {
		case sayUnknown:
			if err := s.askChild(control); err != nil {
				return err
			}
		case sayFailed:
			return errors.New(string(text))
		case sayExchange:
			var x exchange
			if err := understand(text, &x); err != nil {
				return err
			}
			s.log(x)
		case sayAttached:
			var err error
			if s.number, err = strconv.ParseUint(string(text), 10, 64); err != nil {
				return fmt.Errorf("cannot understand the reader of events: %w", err)
			}
			go s.hear(buf)
			return nil
		default:
			return errors.New("the reader of events has died")
		}
	}
}

// askChild has the child tell which number the kernel gives it.
func (s *Source) askChild(control int) error {
	tell(control, sayNumber, "")
	buf := make([]byte, maxLine)
	word, text := heard(control, buf)
	if word != sayNumber {
		return ErrNotEntered
	}
	var n told
	if err := understand(text, &n); err != nil {
		return err
	}
	s.log(n.Exchanges...)
	return tell(s.line, sayContext, string(text))
}

func (s *Source) log(exchanges ...exchange) {
	for _, x := range exchanges {
		s.opts.Log.Debug("control plane", "did", x.Did, "file", x.File, "answer", x.Answer, "at", x.At, "took", x.Took)
	}
}

// Context is the kernel's number of the context.
func (s *Source) Context() uint64 { return s.number }

// Done is closed when no task of the context is left and all is read, or when
// nothing more can be.
func (s *Source) Done() <-chan struct{} { return s.done }

// Lively tells nothing: who reads is another process, of whose end we hear.
func (s *Source) Lively() bool { return true }

// Died tells, when it is done, whether the reader has died instead of ending.
func (s *Source) Died() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.died
}

// Processes lists those of the context that are alive.
func (s *Source) Processes() []int { return s.opts.Processes() }

// Sealed implements the session's source: no other context joins this one.
func (s *Source) Sealed() {}

// Stop ends the reading of the root context, with what is queued.
func (s *Source) Stop() { tell(s.line, sayStop, "") }

// Losses implements the exporter's source.
func (s *Source) Losses() record.Losses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.losses
}

// hear hears the reader until its end.
func (s *Source) hear(buf []byte) {
	defer close(s.done)
	for {
		word, text := heard(s.line, buf)
		switch word {
		case sayNews:
			s.wake(func() {})
		case sayFull:
			s.wake(func() { s.full = true })
		case sayNotice:
			s.opts.Notice(string(text))
		case sayEnd:
			s.wake(func() {
				json.Unmarshal(text, &s.account)
				s.ended = io.EOF
			})
			s.tellAccount()
			return
		case sayFailed:
			err := errors.New(string(text))
			s.wake(func() { s.ended = err })
			s.opts.Failed(err)
			return
		default: // it has died; the session knows what follows
			s.wake(func() { s.ended, s.died = io.EOF, true })
			return
		}
	}
}

// tellAccount tells what there is to tell of the reading.
func (s *Source) tellAccount() {
	a := s.account
	s.opts.Log.Info("all is read", "context", s.number, "records", a.Read, "repaired", a.Repaired, "late", a.Late, "doubled", a.Doubled)
	if a.Repaired > 0 {
		s.opts.Notice(fmt.Sprintf("records that the kernel wrote broken, and that were repaired: %d of %d", a.Repaired, a.Read))
	}
}

func (s *Source) wake(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

// Next implements the exporter's source.
func (s *Source) Next(ctx context.Context) (*record.Batch, error) {
	stop := context.AfterFunc(ctx, func() { s.wake(func() {}) })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUp()
	var late *time.Timer
	defer func() {
		if late != nil {
			late.Stop()
		}
	}()
	begun := time.Time{}
	for {
		ended := s.ended // before the look: what was read before the end is seen
		s.look()
		n := s.batch.Len()
		if s.full && n == 0 {
			s.full = false
			tell(s.line, sayRoom, "")
		}
		switch {
		case n > 0 && (s.opts.Group == 0 || s.full || n >= s.opts.Group || ended != nil || !begun.IsZero() && time.Since(begun) >= groupPatience):
			return s.give(), nil
		case n > 0 && begun.IsZero():
			begun = time.Now()
			late = time.AfterFunc(groupPatience, func() { s.wake(func() {}) })
		case ended != nil:
			return nil, ended
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.changed.Wait()
	}
}

// giveUp forgets the records that were given before.
func (s *Source) giveUp() {
	n := s.batch.Len()
	if n == 0 {
		return
	}
	s.read += uint64(s.batch.Ends[n-1])
	s.batch.Reset()
	s.seen = s.read
}

// look counts the records that have come, up to a group.
func (s *Source) look() {
	head := s.opts.Ledger.Head()
	if s.batch.Len() == 0 {
		// The ring begins anew when everything in it is delivered.
		s.read = max(s.read, s.opts.Ledger.Tail())
		s.seen = s.read
	}
	fresh := s.opts.Ledger.Between(s.seen, max(head, s.seen))
	for len(fresh) > 0 && (s.opts.Group == 0 || s.batch.Len() < s.opts.Group) {
		line, rest := cutLine(fresh)
		s.seen += uint64(len(line))
		s.batch.Ends = append(s.batch.Ends, int(s.seen-s.read))
		s.batch.Types = append(s.batch.Types, s.typeOf(line))
		fresh = rest
	}
}

// give gives the batch.
func (s *Source) give() *record.Batch {
	b := &s.batch
	b.Context, b.At = s.number, s.read
	b.Buf = s.opts.Ledger.Between(s.read, s.seen)
	return b
}

// typeOf is the type of event that a line is one of, and counts it if it is
// a loss.
func (s *Source) typeOf(line []byte) tsem.Type {
	if !record.IsEvent(line) {
		if isLost(line) {
			s.lose(line)
		}
		return 0
	}
	s.head.read(line)
	t, ok := tsem.TypeByName(string(s.head.typ))
	if !ok {
		return unknownType
	}
	return t
}

// unknownType stands for an event of which this version does not know the type,
// or that has none.
const unknownType = tsem.NumTypes + 1

func isLost(line []byte) bool {
	const lost = `{"export": {"type": "lost"}`
	return len(line) > len(lost) && string(line[:len(lost)]) == lost
}

func (s *Source) lose(line []byte) {
	r, err := s.parser.Parse(line)
	if err != nil || r.Lost == nil {
		return
	}
	for c := range record.Causes() {
		if c.String() != r.Lost.Cause {
			continue
		}
		if n, err := strconv.ParseUint(r.Lost.Count, 10, 64); err == nil {
			s.losses.Add(c, n)
		} else {
			s.losses.AddUnknown(c)
		}
	}
}

// cutLine gives the first line, with its line feed, and the rest. Like begins it
// needs no vector instructions.
func cutLine(text []byte) (line, rest []byte) {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	ends := func(w uint64) uint64 { // a high bit is set if there is a line feed
		w ^= ones * '\n'
		return (w - ones) &^ w
	}
	b := text
	for len(b) >= 32 {
		w0, w1 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		w2, w3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		if (ends(w0)|ends(w1)|ends(w2)|ends(w3))&highs != 0 {
			break
		}
		b = b[32:]
	}
	i := len(text) - len(b)
	for i < len(text) && text[i] != '\n' {
		i++
	}
	i = min(i+1, len(text))
	return text[:i], text[i:]
}
