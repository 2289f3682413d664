// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"os"

	"quixote-export/tsem"
)

// identities has the TASK_ID that each exec has given, by the number of the
// exec. Those of a whole host are trimmed now and then, or they would fill the
// memory.
type identities struct {
	base    uint64                 // number of the first one of recent
	recent  []tsem.Digest          // in the order of the execs
	old     map[uint64]tsem.Digest // those before that are still needed
	journal *os.File               // has them all, for whoever reads after us; nil: nobody
	path    string                 // of the journal
	buf     []byte
	err     error // of the journal
}

// crowd is how many identities are kept before they are trimmed, and those that
// are kept at least.
const (
	crowd   = 1 << 17
	younger = crowd / 2
)

// get is the identity of an exec, nil if it is not known.
func (i *identities) get(number uint64) tsem.Digest {
	if at := number - i.base; at < uint64(len(i.recent)) {
		return i.recent[at]
	}
	return i.old[number]
}

// set gives an exec its identity.
func (i *identities) set(number uint64, id tsem.Digest) {
	if number < i.base {
		i.remember(number, id)
		return
	}
	for uint64(len(i.recent)) <= number-i.base {
		i.recent = append(i.recent, nil)
	}
	i.recent[number-i.base] = id
}

func (i *identities) remember(number uint64, id tsem.Digest) {
	if i.old == nil {
		i.old = make(map[uint64]tsem.Digest)
	}
	i.old[number] = id
}

// add is set, and written down.
func (i *identities) add(number uint64, id tsem.Digest) {
	i.set(number, id)
	if i.journal != nil && i.err == nil {
		i.buf = appendIdentity(i.buf[:0], number, id)
		_, i.err = i.journal.Write(i.buf)
	}
}

// many tells whether it is time to trim.
func (i *identities) many() bool { return len(i.recent)+len(i.old) > crowd+younger }

// trim forgets those that are neither young nor needed. The journal is begun
// anew.
func (i *identities) trim(needed func(number uint64) bool) {
	if len(i.recent) > younger {
		cut := len(i.recent) - younger
		for at, id := range i.recent[:cut] {
			if number := i.base + uint64(at); id != nil && needed(number) {
				i.remember(number, id)
			}
		}
		i.recent = append([]tsem.Digest(nil), i.recent[cut:]...)
		i.base += uint64(cut)
	}
	for number := range i.old {
		if !needed(number) {
			delete(i.old, number)
		}
	}
	if i.journal != nil && i.err == nil {
		i.err = i.rewrite()
	}
}

// An entry of the journal is the number of an exec, the size of the identity and
// its bytes. One that was not written to its end is the last.
func appendIdentity(b []byte, number uint64, id tsem.Digest) []byte {
	b = binary.NativeEndian.AppendUint64(b, number)
	return append(append(b, byte(len(id))), id...)
}

func (i *identities) rewrite() error {
	var b []byte
	for at, id := range i.recent {
		if id != nil {
			b = appendIdentity(b, i.base+uint64(at), id)
		}
	}
	for number, id := range i.old {
		b = appendIdentity(b, number, id)
	}
	fresh, err := os.OpenFile(i.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err = fresh.Write(b); err == nil {
		err = os.Rename(i.path+".new", i.path)
	}
	if err != nil {
		fresh.Close()
		return err
	}
	i.journal.Close()
	i.journal = fresh
	return nil
}

// keepIn begins with what a journal has, and goes on in it.
func (i *identities) keepIn(path string) error {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("cannot read the identities of the tasks: %w", err)
	}
	whole := 0
	for b := text; len(b) >= 9 && len(b) >= 9+int(b[8]); {
		n := 9 + int(b[8])
		number := binary.NativeEndian.Uint64(b)
		if len(i.recent) == 0 && len(i.old) == 0 && whole == 0 {
			i.base = number
		}
		i.set(number, tsem.Digest(b[9:n:n]))
		b = b[n:]
		whole += n
	}
	i.path = path
	if i.journal, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return fmt.Errorf("cannot keep the identities of the tasks: %w", err)
	}
	if err := i.journal.Truncate(int64(whole)); err != nil {
		return fmt.Errorf("cannot keep the identities of the tasks: %w", err)
	}
	return nil
}

func (i *identities) close() {
	if i.journal != nil {
		i.journal.Close()
	}
}
