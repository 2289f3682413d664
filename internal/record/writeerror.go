// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package record

import "errors"

// A WriteError is what a sink returns when it took only the first records of
// a batch, or none of them.
type WriteError struct {
	Taken int   // records, counted from the first, that are where they should be
	Cause Cause // why the others are not
	Err   error // one line for the user, with the name of the output
}

func (e *WriteError) Error() string { return e.Err.Error() }

// Unwrap gives the error of the system call or library.
func (e *WriteError) Unwrap() error { return e.Err }

// Taken says how many of n records a sink took that returned err, and why it
// did not take the others. An error that is no *WriteError means that it took
// none.
func Taken(err error, n int) (int, Cause) {
	if err == nil {
		return n, 0
	}
	var we *WriteError
	if errors.As(err, &we) {
		return min(max(we.Taken, 0), n), we.Cause
	}
	return 0, CauseOutputError
}
