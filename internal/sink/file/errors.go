// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"quixote-export/internal/record"
)

func (s *Sink) fail(err error) error {
	return fmt.Errorf("cannot write %s: %w%s", s.Name(), err, hint(err))
}

func (s *Sink) writeError(taken int, err error) error {
	return &record.WriteError{Taken: taken, Cause: cause(err), Err: s.fail(err)}
}

func cause(err error) record.Cause {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return record.CauseOutputFull
	case errors.Is(err, unix.EPIPE):
		return record.CauseOutputClosed
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
	}
	return ""
}
