// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
	"quixote-export/tsem"
)

// A Tail is what the sink of a process that was killed had come to.
type Tail struct {
	File    *os.File // that it had open
	Offset  int64    // where in a regular file what it had certainly written ends
	Writing bool     // it may have been in the middle of a write
}

// A Resumed output goes on where another process has left off.
type Resumed struct {
	Sink    *Sink
	Left    []byte // of the lines that were to be written, those that are not there
	Started bool   // there is a start marker behind the offset
	Ended   bool   // there is an end marker behind the offset
	Rotated bool   // that is of a part: the next was to follow
	Fresh   bool   // the file is the next part, not yet begun
	Events  uint64 // that are behind the offset
	Bytes   uint64 // of all lines behind the offset
}

// Resume takes over an output. left is the lines, each with its LF, that the
// dead process was to write behind the offset, or had written already: in a
// regular file they are looked for, and what a broken write left of a line is
// cut off. In a pipe nothing can be looked for: what was being written comes
// again.
func Resume(path string, tail Tail, left []byte) (*Resumed, error) {
	_, number := descriptor(path)
	s := &Sink{path: path, byName: path != Stdout && !number, output: output{fd: int(tail.File.Fd())}, patience: newPatience()}
	s.opts.Notice = func(string) {}
	if err := s.inspect(); err != nil {
		return nil, s.fail(err)
	}
	r := &Resumed{Sink: s, Left: left}
	if !s.regular {
		// Shorter writes to a pipe are whole or not there.
		s.torn = tail.Writing && longestLine(left) > pipeAtom
		return r, nil
	}
	err := r.align(tail.Offset)
	if errors.Is(err, unix.EACCES) {
		s.torn = tail.Writing // it may not be read: what was being written comes again
		err = nil
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return r, nil
}

// align looks at what stands behind the offset.
func (r *Resumed) align(offset int64) error {
	s := r.Sink
	path := ownLink(s.fd) // the descriptor itself cannot be read
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	tail, err := io.ReadAll(io.NewSectionReader(f, offset, 1<<62))
	if err != nil {
		return err
	}
	end := min(offset, st.Size())
	r.Fresh = offset > end
	for line := range bytes.Lines(tail) {
		if line[len(line)-1] != '\n' {
			return r.mend(line, end)
		}
		end += int64(len(line))
		r.Bytes += uint64(len(line))
		if record.IsEvent(line) {
			r.Events++
		}
		switch {
		case bytes.HasPrefix(r.Left, line):
			r.Left = r.Left[len(line):]
		case bytes.HasPrefix(line, []byte(tsem.StartPrefix)):
			r.Started = true
		case bytes.HasPrefix(line, []byte(tsem.EndPrefix)):
			r.Ended = true
			r.Rotated = bytes.Contains(line, []byte(`"status": ""`))
		}
	}
	return nil
}

// mend cuts off a line without an end if it is ours, else ends it. A record of
// ours that is in the file whole but for its LF is written again.
func (r *Resumed) mend(fragment []byte, at int64) error {
	const all = `{"export": `
	n := min(len(fragment), len(all))
	if string(fragment[:n]) != all[:n] {
		r.Sink.torn = true
		return nil
	}
	if err := retry(func() error { return unix.Ftruncate(r.Sink.fd, at) }); err != nil {
		return err
	}
	_, err := unix.Seek(r.Sink.fd, at, io.SeekStart)
	return err
}

func longestLine(lines []byte) int {
	longest := 0
	for line := range bytes.Lines(lines) {
		longest = max(longest, len(line))
	}
	return longest
}
