// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"bytes"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// release is one of Linux, such as 6.6. A call that a kernel does not have is
// stopped all the same, and does nothing.
type release struct{ major, minor int }

// running is the release that this is.
var running = sync.OnceValue(func() (r release) {
	var names unix.Utsname
	if unix.Uname(&names) != nil {
		return release{}
	}
	text, _, _ := bytes.Cut(names.Release[:], []byte{0})
	r, _ = parseRelease(string(text))
	return r
})

func parseRelease(text string) (r release, ok bool) {
	n, err := fmt.Sscanf(text, "%d.%d", &r.major, &r.minor)
	return r, n == 2 && err == nil
}

func (r release) before(other release) bool {
	return r.major < other.major || r.major == other.major && r.minor < other.minor
}

// atLeast tells whether this kernel is of a release, or later.
func atLeast(r release) bool { return !running().before(r) }
