// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// A segment is one file of frames.
type segment struct {
	first uint64 // number of its first record
	size  int64  // of its whole frames
	file  *file  // open for writing until it is full and synced, else nil
	dirty bool   // written since the last sync
	full  bool   // no more is to be written to it
}

// closeFull closes the file of a segment that is full and synced.
func (s *segment) closeFull() {
	if s.full && !s.dirty && s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

const suffix = ".seg"

// name is as long as any, so that names sort as numbers.
func (s *segment) name() string { return fmt.Sprintf("%020d%s", s.first, suffix) }

// segmentNumber tells whether a name is that of a segment.
func segmentNumber(name string) (uint64, bool) {
	digits, found := strings.CutSuffix(name, suffix)
	if !found || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// segments lists those of the folder in order.
func (d *folder) segments() ([]*segment, error) {
	names, err := d.names()
	if err != nil {
		return nil, err
	}
	var all []*segment
	for _, name := range names {
		first, ok := segmentNumber(name)
		if !ok {
			continue
		}
		size, err := d.size(name)
		if err != nil {
			return nil, err
		}
		all = append(all, &segment{first: first, size: size, full: true})
	}
	slices.SortFunc(all, func(a, b *segment) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return all, nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
