// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os"

	"golang.org/x/sys/unix"

	"quixote-export/internal/sink/file"
)

// rotation tells what a SIGHUP means. It asks for a new file where the output
// is one, as of any program that writes a log, and is then not the workload's
// business: except when it comes of a terminal that has hung up.
type rotation struct {
	possible bool // the output is a file that can be opened anew
	terminal bool // there was one at the start
}

func newRotation(p *Plan) rotation {
	return rotation{possible: file.Reopens(p.Output), terminal: controlled()}
}

// meant reports whether the SIGHUP that has just come asks for a new file.
func (r rotation) meant() bool {
	return r.possible && !(r.terminal && !controlled())
}

// controlled reports whether there is a controlling terminal. The kernel takes
// it away before it tells of its end.
func controlled() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
