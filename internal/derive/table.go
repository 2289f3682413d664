// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"slices"

	"quixote-export/tsem"
)

// Row is all there is to know of one system call. Argument positions count
// from 0; none means that the call has no such argument.
type Row struct {
	Name   string
	Events []tsem.Type // what the call can turn out to be, the main one first
	When   When        // which calls are of interest
	derive func(*Deriver, *Call) error

	dir, path   int8 // a directory descriptor, and the path that begins there
	dir2, path2 int8 // the second pair
	fd          int8 // the descriptor the call is about, instead of a path
	flags       int8
	mode        int8 // the mode, or the first of the new values

	on      set   // the sets of numbers in which the row counts
	io      bool  // only where transfers are wanted as well
	fixed   int32 // flags, or the like, of a call that has none as an argument
	packed  bool  // the arguments are in memory, at the address in the first
	pages   bool  // the offset counts pages
	narrow  bool  // ids are of 16 bits
	split   bool  // 64-bit values: two registers, or two words in memory
	micro   bool  // times in microseconds
	seconds bool  // times in seconds
	plain   bool  // its derivation touches neither memory nor files of the caller

	since release // the first kernel that has the call; zero: all that we know

	executes bool            // it opens files to execute them
	stands   func() []string // the calls it can stand for, or nil
}

// fixedArg is fixed as an argument position.
func (r *Row) fixedArg() int8 { return int8(r.fixed) }

// set tells the machine's own numbers from those of 32-bit programs on it.
type set uint8

const (
	everywhere set = iota
	native
	compat
)

const none = -1

// at is a row in which only the given positions exist.
func at(r Row, positions ...int8) Row {
	for i, p := range []*int8{&r.dir, &r.path, &r.dir2, &r.path2, &r.fd, &r.flags, &r.mode} {
		*p = none
		if i < len(positions) {
			*p = positions[i]
		}
	}
	return r
}

// types is the event types of a row.
func types(t ...tsem.Type) []tsem.Type { return t }

// Table is the system calls that are of interest, with their names as in the
// kernel. The positions in the rows are dir, path, dir2, path2, fd, flags,
// mode.
func Table() []Row {
	return slices.Concat(fileRows(), transferRows(), socketRows(), taskRows(), systemRows(), compatRows())
}
