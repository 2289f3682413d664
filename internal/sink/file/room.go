// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"math"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

const (
	// reserve is kept free for the last records of a stream, so that one that
	// fills its file system still says what it lacks, and ends.
	reserve = 4 << 10

	// step is how much room is asked for at once.
	step = 256 << 10

	// resume is the room that must have come back before a full output takes
	// records again. Without it each freed block would be filled with a record
	// of loss and few events.
	resume = 64 << 10
)

// room keeps blocks of the file system for what comes next in a regular file:
// a record is written only where there is room for it and for the last words.
// Where the file system keeps none for us, as NFS 3, only the size limit of
// the process is heeded.
type room struct {
	at    int64 // where the last look was
	end   int64 // the file may grow to here without asking
	blind bool  // the file system keeps no blocks
	last  bool  // the reserve may be used
	full  bool  // records were refused
}

// admit returns how many records of b the file, which ends at offset at, has
// room for, and why it has none for the others.
func (r *room) admit(fd int, at int64, b *record.Batch) (int, error) {
	if at < r.at {
		r.end = 0 // somebody cut the file, and with it our blocks
	}
	r.at = at
	kept := int64(reserve)
	size := int64(len(b.Buf))
	if r.last {
		kept = 0
	} else if r.full {
		size = max(size, resume)
	}
	err := r.grow(fd, at+size+kept)
	if err == nil {
		r.full = false
		return b.Len(), nil
	}
	if r.full && !r.last {
		return 0, err
	}
	r.full = true
	n := 0
	for n < b.Len() && at+int64(b.Ends[n])+kept <= r.end {
		n++
	}
	return n, err
}

// grow makes sure that the file may grow to need. When it may not, it may grow
// to r.end.
func (r *room) grow(fd int, need int64) error {
	if need <= r.end {
		return nil
	}
	r.end = max(r.end, r.at)
	limit := int64(math.MaxInt64)
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &own) == nil && own.Cur < math.MaxInt64 {
		limit = int64(own.Cur)
	}
	why := error(unix.EFBIG)
	for size := max(need-r.end, step); !r.blind && r.end < min(need, limit); {
		size = min(size, limit-r.end)
		err := retry(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, r.end, size) })
		switch err {
		case nil:
			r.end += size
		case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
			const least = 512 // the smallest block of any file system
			if size <= least {
				return err
			}
			size, why = max(size/2, least), err
		default:
			r.blind = true // what is really wrong, the write will say
		}
	}
	if r.blind {
		r.end = limit
	}
	if need > r.end {
		return why
	}
	return nil
}

// cut tells that the file was cut to that size.
func (r *room) cut(size int64) { r.end = min(r.end, size) }

// trim gives back what was kept and not used, unless somebody else writes to
// the file.
func (s *Sink) trim() {
	if !s.regular || s.room.blind || s.room.end == 0 {
		return
	}
	var st unix.Stat_t
	pos, err := unix.Seek(s.fd, 0, unix.SEEK_CUR)
	if err == nil && unix.Fstat(s.fd, &st) == nil && st.Size == pos {
		retry(func() error { return unix.Ftruncate(s.fd, pos) })
	}
}
