// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"io"
)

// chunk is how much of a segment is read at a time.
const chunk = 512 << 10

// A window reads a segment in large pieces. It is the only place that reads
// frames, for the queue's reader and for the look at a segment that a process
// left behind.
type window struct {
	file io.ReaderAt
	off  int64  // where buf begins
	buf  []byte // reused
}

// reset begins with another file, whose memory may be that of the old one.
func (w *window) reset(file io.ReaderAt) {
	w.file, w.off, w.buf = file, 0, w.buf[:0]
}

// at returns n bytes at off, fewer where the segment, size bytes long, ends
// before. They are valid until the next call.
func (w *window) at(off int64, n int, size int64) ([]byte, error) {
	n = int(min(int64(n), size-off))
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	want := int(min(int64(max(n, chunk)), size-off))
	if cap(w.buf) < want {
		w.buf = make([]byte, max(want, int(min(chunk, size))))
	}
	if cap(w.buf) > 4*chunk && want <= chunk {
		w.buf = make([]byte, chunk) // a giant record has passed
	}
	w.off, w.buf = off, w.buf[:want]
	got, err := w.file.ReadAt(w.buf, off)
	w.buf = w.buf[:got]
	if err == io.EOF {
		err = nil // cut by somebody else: what is missing shows in the frame
	}
	return w.buf[:min(n, got)], err
}

// header returns the frame at off.
func (w *window) header(off, size int64) (frame, bool, error) {
	b, err := w.at(off, headerSize, size)
	if err != nil {
		return frame{}, false, err
	}
	f, ok := parseHeader(b)
	return f, ok, nil
}

// find returns the offset of the next sound header at or behind off, or size
// when there is none. from and before are bounds for the number of its first
// record, so that nothing old is taken up again.
func (w *window) find(off, size int64, from, before uint64) (int64, error) {
	for off < size {
		b, err := w.at(off, chunk, size)
		if err != nil {
			return size, err
		}
		for pos := 0; ; pos++ {
			i := bytes.Index(b[pos:], []byte(magic))
			if i < 0 {
				break
			}
			pos += i
			if len(b)-pos < headerSize {
				break // it may go on in the next piece
			}
			if f, ok := parseHeader(b[pos:]); ok && f.first >= from && f.first < before {
				return off + int64(pos), nil
			}
		}
		if len(b) < headerSize {
			return size, nil
		}
		off += int64(len(b) - headerSize + 1)
	}
	return size, nil
}
