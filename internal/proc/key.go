// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"quixote-export/internal/task"
)

// Key is a key of the kernel, as far as it shows itself. What of its flags is
// not in /proc/keys is taken from what it is.
type Key struct {
	Serial   int32
	UID, GID uint32 // noID where there is none
	Perm     uint32
	Flags    uint64
	Type     string
	Desc     string
}

// Flags of a key, from linux/key.h, and the letters that stand for them.
const (
	keyUIDKeyring = 1 << 9
	keyLetters    = "IRDQUNi"
)

var keyBits = map[byte]uint64{'D': 1 << 0, 'R': 1 << 1, 'Q': 1 << 2, 'U': 1 << 3, 'i': 1 << 5}

// keys lists the keys that t may look at.
func (l *Lens) keys(t *task.Task) (keys []Key, err error) {
	var table []byte
	err = l.as(t, func() (err error) {
		table, err = os.ReadFile("/proc/keys")
		return err
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(table)) {
		if k, ok := parseKey(line); ok {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// parseKey reads a line of /proc/keys.
func parseKey(line string) (k Key, ok bool) {
	f := strings.Fields(line)
	if len(f) < 9 || len(f[1]) != len(keyLetters) {
		return k, false
	}
	serial, err := strconv.ParseUint(f[0], 16, 32)
	if err != nil {
		return k, false
	}
	perm, err := strconv.ParseUint(f[4], 16, 32)
	if err != nil {
		return k, false
	}
	k = Key{Serial: int32(serial), Perm: uint32(perm), UID: keyID(f[5]), GID: keyID(f[6]), Type: f[7]}
	for i := range f[1] {
		k.Flags |= keyBits[f[1][i]]
	}
	// Behind the description stands what the type says of the content.
	_, rest, _ := strings.Cut(line, " "+f[7])
	rest = strings.TrimSpace(rest)
	if i := strings.LastIndex(rest, ": "); i >= 0 {
		rest = rest[:i]
	}
	k.Desc = rest
	if k.Type == "keyring" && strings.HasPrefix(k.Desc, "_uid") && k.GID == noID {
		k.Flags |= keyUIDKeyring
	}
	return k, true
}

// keyID reads an id; the kernel shows one without a number here as overflow.
func keyID(s string) uint32 {
	const overflow = 65534
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == overflow {
		return noID
	}
	return uint32(n)
}

// Key finds a key by its serial number. ENOKEY: t cannot look at it.
func (l *Lens) Key(t *task.Task, serial int32) (Key, error) {
	return l.findKey(t, func(k *Key) bool { return k.Serial == serial })
}

func (l *Lens) findKey(t *task.Task, want func(*Key) bool) (Key, error) {
	keys, err := l.keys(t)
	if err != nil {
		return Key{}, err
	}
	for i := range keys {
		if want(&keys[i]) {
			return keys[i], nil
		}
	}
	return Key{}, unix.ENOKEY
}

// UserKeyrings are the keyrings that belong to the user of a task.
type UserKeyrings struct {
	Register      Key // of the user namespace, where they are found
	User, Session Key
}

// UserKeyrings finds the keyrings of t's user. ENOKEY: they do not exist yet,
// or not all can be looked at.
func (l *Lens) UserKeyrings(t *task.Task) (u UserKeyrings, err error) {
	keys, err := l.keys(t)
	if err != nil {
		return u, err
	}
	uid := strconv.FormatUint(uint64(l.UID(t, t.Status.COE.UID)), 10)
	for _, k := range keys {
		switch {
		case k.Type != "keyring":
		case k.Desc == ".user_reg":
			u.Register = k
		case k.Desc == "_uid."+uid && k.GID == noID:
			u.User = k
		case k.Desc == "_uid_ses."+uid && k.GID == noID:
			u.Session = k
		}
	}
	if u.User.Serial == 0 || u.Session.Serial == 0 {
		return u, unix.ENOKEY
	}
	if u.Register.Serial == 0 {
		// Only root sees the register of the first user namespace; all are
		// made alike.
		const registerPerm = 0x0c030000
		u.Register = Key{Perm: registerPerm, Flags: keyBits['Q'], GID: noID, Type: "keyring"}
	}
	return u, nil
}

// KeysIn lists what a keyring of t's user holds.
func (l *Lens) KeysIn(t *task.Task, in *Key) (keys []Key, err error) {
	b := make([]byte, 4*1024)
	n := 0
	err = l.as(t, func() (err error) {
		n, err = unix.KeyctlBuffer(unix.KEYCTL_READ, int(in.Serial), b, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if n > len(b) {
		return nil, unix.E2BIG
	}
	all, err := l.keys(t)
	if err != nil {
		return nil, err
	}
	for b = b[:n]; len(b) >= 4; b = b[4:] {
		serial := int32(binary.NativeEndian.Uint32(b))
		for _, k := range all {
			if k.Serial == serial {
				keys = append(keys, k)
			}
		}
	}
	return keys, nil
}
