// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// labelName is the file that says what the records are.
const labelName = "label"

// Label returns what Options said of the records that a folder holds, nil when
// it is none of a queue or holds nothing. It takes no lock.
func Label(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, labelName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the label of a spool: %w", err)
	}
	return text, nil
}

// writeLabel writes the label before the first record.
func (q *Queue) writeLabel() error {
	if q.label == nil {
		return nil
	}
	f, err := q.dir.open(labelName, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.writeAll([][]byte{q.label}, 0); err != nil {
		return q.dir.fail("write", labelName, err)
	}
	if err := f.syncData(); err != nil {
		return q.dir.fail("sync", labelName, err)
	}
	q.label = nil
	return nil
}
