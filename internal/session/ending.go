// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// leftBehind is how long after the command's end tasks that it has left are
// told of.
const leftBehind = 2 * time.Second

func leftLine(pids []int) string {
	what := "1 process is"
	if len(pids) > 1 {
		what = fmt.Sprintf("%d processes are", len(pids))
	}
	return fmt.Sprintf("the command has ended, but %s left and still watched: pid %s (Ctrl-C ends them, --no-wait does so at once)",
		what, someOf(pids))
}

func undyingLine(pids []int) string {
	return fmt.Sprintf("these processes of the workload do not die, they are stuck in the kernel: pid %s; the export is broken off", someOf(pids))
}

// someOf names the first of many.
func someOf(pids []int) string {
	const most = 8
	words := make([]string, 0, most)
	for _, pid := range pids[:min(most, len(pids))] {
		words = append(words, strconv.Itoa(pid))
	}
	if len(pids) > most {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}

// processes lists those that are to be ended.
func (s *session) processes() []int {
	pids := s.src.Processes()
	if s.bundle != nil {
		return pids // the runtime ends what it has started
	}
	for _, pid := range s.work.Processes() {
		if !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
