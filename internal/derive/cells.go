// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import "quixote-export/tsem"

// cells keeps the cells of the events that there are many of, to be filled
// anew by the next derivation: no record then costs memory.
type cells struct {
	file    kept[tsem.FileCell]
	command kept[tsem.FileCmdCell]
	mapping kept[tsem.MmapCell]
	getattr kept[tsem.GetattrCell]
	setattr kept[tsem.SetattrCell]
	create  kept[tsem.CreateCell]
	remove  kept[tsem.RemoveCell]
}

// free gives all of them up.
func (c *cells) free() {
	c.file.n, c.command.n, c.mapping.n, c.getattr.n = 0, 0, 0, 0
	c.setattr.n, c.create.n, c.remove.n = 0, 0, 0
}

// kept is cells of one shape, the first n of them in use.
type kept[T any] struct {
	cells []*T
	n     int
}

// put returns a cell that holds v.
func (k *kept[T]) put(v T) *T {
	if k.n == len(k.cells) {
		k.cells = append(k.cells, new(T))
	}
	k.n++
	*k.cells[k.n-1] = v
	return k.cells[k.n-1]
}
