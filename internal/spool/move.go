// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package spool

// moved is how many bytes are moved before those are synced and given up.
const moved = 8 << 20

// Move puts the records of another queue behind those of q, and returns how
// many. What it could not move stays where it was; none is lost, but after an
// end of the program in the middle some can be in both.
func (q *Queue) Move(from *Queue) (records int, err error) {
	from.Rewind()
	waiting, bytes := 0, 0
	settle := func() error {
		if err := q.Sync(); err != nil {
			return err
		}
		err := from.Ack(waiting)
		records += waiting
		waiting, bytes = 0, 0
		return err
	}
	for {
		buf, ends, err := from.Next(1 << 20)
		if err == nil && len(ends) > 0 {
			err = q.Append(buf, ends)
		}
		if err != nil || len(ends) == 0 {
			if serr := settle(); err == nil {
				err = serr
			}
			return records, err
		}
		waiting += len(ends)
		if bytes += len(buf); bytes >= moved {
			if err := settle(); err != nil {
				return records, err
			}
		}
	}
}
