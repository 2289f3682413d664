// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"quixote-export/internal/magazine"
)

// show writes a line for each bundle of the magazine: its name, and what is
// wrong with it if anything is.
func show(w io.Writer, dir string) error {
	bundles, err := magazine.List(dir)
	var b strings.Builder
	switch {
	case errors.Is(err, magazine.ErrNone):
		fmt.Fprintf(&b, "there is no magazine %s\n", oneLine(dir))
	case err != nil:
		return err
	case len(bundles) == 0:
		fmt.Fprintf(&b, "the magazine %s is empty\n", oneLine(dir))
	}
	for _, e := range bundles {
		b.WriteString(oneLine(e.Name))
		if e.Problem != nil {
			fmt.Fprintf(&b, ": %v", e.Problem)
		}
		b.WriteByte('\n')
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	return nil
}
