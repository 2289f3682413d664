// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

// shown is the name of the output as a message shows it.
func (s *Sink) shown() string { return shown(s.Name()) }

// shown quotes a path that would not be visible, or not in one line.
func shown(path string) string {
	if !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(path)
	}
	return path
}

func (s *Sink) fail(err error) error {
	return fmt.Errorf("cannot write %s: %w%s", s.shown(), err, hint(err))
}

func (s *Sink) writeError(taken int, err error) error {
	return &record.WriteError{Taken: taken, Cause: cause(err), Err: s.fail(err)}
}

// bare is an error without the path in it, which the message names itself.
func bare(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

func cause(err error) record.Cause {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return record.CauseOutputFull
	case errors.Is(err, unix.EPIPE):
		return record.CauseOutputClosed
	case errors.Is(err, ErrCircle), errors.Is(err, errHurried):
		return record.CauseOutputStuck
	}
	return record.CauseOutputError
}

func hint(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return " (free some space, or write to another file system)"
	case errors.Is(err, unix.EDQUOT):
		return " (raise the quota, or write to another file system)"
	case errors.Is(err, unix.EFBIG):
		return " (raise the limit with ulimit -f)"
	case errors.Is(err, unix.EPIPE):
		return " (its reader ended before the workload)"
	case errors.Is(err, ErrCircle):
		return " (read it outside of the workload)"
	}
	return ""
}
