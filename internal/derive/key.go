// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"golang.org/x/sys/unix"

	"quixote-export/internal/proc"
	"quixote-export/tsem"
)

// The keyrings that a call may name by their part, from linux/keyctl.h, and
// the permissions that the kernel gives to those that it makes.
const (
	threadKeyring      = -1
	processKeyring     = -2
	sessionKeyring     = -3
	userKeyring        = -4
	userSessionKeyring = -5

	ownKeyringPerm = 0x3f010000 // the possessor may do all, the user look at it
	newKeyPerm     = 0x3f010000 // the same, of a key that can be read and updated

	keyInQuota    = 1 << 2 // of the flags of a key
	keyOfUser     = 1 << 9
	overrunsQuota = 1 // of the flags of an allocation

	maxPayload = 1<<20 - 1
	maxDesc    = 4096
	maxKeyType = 32
)

// creds describes the credentials of the task.
func (d *Deriver) creds(c *Call) tsem.Creds {
	return tsem.Creds{COE: d.COE(c.Task), Securebits: d.shared.Secure.Of(c.Task.TID)}
}

// keyHook emits the hook for one use of a key.
func (d *Deriver) keyHook(c *Call, k proc.Key) {
	cell := &tsem.KeyPermissionCell{
		Possessed: 1, UID: k.UID, GID: k.GID, Flags: k.Flags, Perm: k.Perm, Cred: d.creds(c),
	}
	if d.opts.Current {
		cell.UID, cell.GID = d.lens.UID(c.Task, k.UID), d.lens.GID(c.Task, k.GID)
	}
	d.emit(tsem.KeyPermission, cell)
}

func (d *Deriver) allocate(c *Call, flags uint64) {
	d.emit(tsem.KeyAlloc, &tsem.KeyAllocCell{Cred: d.creds(c), Flags: flags})
}

// errUnknownKeys ends a derivation where the next events depend on keyrings
// that cannot be looked into from outside: those of the session.
const errUnknownKeys = unix.ENOKEY

// ownKeyring is the thread's or the process's keyring r, as the kernel makes it.
func (d *Deriver) ownKeyring(c *Call, r *ring) proc.Key {
	coe := &c.Task.Status.COE
	k := proc.Key{UID: coe.UID, GID: coe.GID, Perm: ownKeyringPerm, Flags: keyInQuota, Type: "keyring"}
	if r.perm != 0 {
		k.Perm = r.perm
	}
	return k
}

// keyring finds the keyring that a call names, up to the hook, and makes it if
// create. It returns the ring that is known of it, or nil.
func (d *Deriver) keyring(c *Call, id int32, create bool) (proc.Key, *ring, error) {
	switch id {
	case threadKeyring, processKeyring:
		r := d.shared.Keys.ring(c.Task, id)
		if !r.exists {
			if !create {
				return proc.Key{}, nil, unix.ENOKEY
			}
			d.allocate(c, overrunsQuota)
			r.exists = true
		}
		return d.ownKeyring(c, r), r, nil
	case userKeyring, userSessionKeyring:
		// Both are looked up in the register of the user namespace.
		found, err := d.lens.UserKeyrings(c.Task)
		if err != nil {
			return proc.Key{}, nil, errUnknownKeys
		}
		for _, k := range []proc.Key{found.User, found.Session} {
			d.keyHook(c, found.Register)
			d.keyHook(c, k)
		}
		if id == userKeyring {
			return found.User, nil, nil
		}
		return found.Session, nil, nil
	}
	return proc.Key{}, nil, errUnknownKeys
}

// lookup finds the key that a call names by its part or its number, and emits
// what the kernel does on the way: it searches the keyrings of the task to see
// whether the task possesses the key.
func (d *Deriver) lookup(c *Call, id int32, create bool) (proc.Key, error) {
	if id < 0 {
		k, _, err := d.keyring(c, id, create)
		return k, err
	}
	k, err := d.lens.Key(c.Task, id)
	if err != nil {
		return k, errUnknownKeys
	}
	rings := d.shared.Keys.holding(c.Task, &k)
	if len(rings) == 0 {
		return k, errUnknownKeys
	}
	for _, r := range rings {
		d.keyHook(c, d.ownKeyring(c, r))
	}
	d.keyHook(c, k)
	return k, nil
}

// addKey is add_key.
func addKey(d *Deriver, c *Call) error {
	size := c.Args[3]
	if size > maxPayload {
		return unix.EINVAL
	}
	kind, desc, err := d.keyName(c)
	if err != nil {
		return err
	}
	if c.Args[2] != 0 && size > 0 {
		if err := d.lens.Read(c.Task, c.Args[2], make([]byte, size)); err != nil {
			return unreadable(err)
		}
	}
	k, r, err := d.keyring(c, c.arg(4), true)
	if err != nil {
		return err
	}
	d.keyHook(c, k)
	hasPayload := size > 0 && c.Args[2] != 0
	switch kind {
	case "user", "logon":
		if !hasPayload || size > 32767 {
			return unix.EINVAL
		}
	case "keyring":
		if size != 0 {
			return unix.EINVAL
		}
	default:
		return errUnknownKeys // it may not exist, or not take the payload
	}
	d.keyHook(c, k)
	if r == nil {
		return d.addToUser(c, &k, kind, desc)
	}
	made := proc.Key{
		UID: c.Task.Status.COE.FSUID, GID: c.Task.Status.COE.FSGID, Perm: newKeyPerm, Flags: keyInQuota, Type: kind, Desc: desc,
	}
	if kind != "keyring" && r.has(&made) {
		d.keyHook(c, made)
		return nil
	}
	d.allocate(c, 0)
	r.add(&made)
	return nil
}

// addToUser tells whether a key is made in a keyring of the user, or updated:
// what that holds can be read.
func (d *Deriver) addToUser(c *Call, in *proc.Key, kind, desc string) error {
	keys, err := d.lens.KeysIn(c.Task, in)
	if err != nil {
		return errUnknownKeys
	}
	for _, k := range keys {
		if k.Type == kind && k.Desc == desc && kind != "keyring" {
			d.keyHook(c, k)
			return nil
		}
	}
	d.allocate(c, 0)
	return nil
}

// keyName reads the type and the description of a key.
func (d *Deriver) keyName(c *Call) (kind, desc string, err error) {
	b, err := d.lens.String(c.Task, nil, c.Args[0], maxKeyType)
	if err != nil {
		return "", "", unreadable(err)
	}
	kind = string(b)
	if kind == "" {
		return "", "", unix.EINVAL
	}
	if kind[0] == '.' {
		return "", "", unix.EPERM
	}
	if c.Args[1] == 0 {
		return kind, "", nil
	}
	b, err = d.lens.String(c.Task, nil, c.Args[1], maxDesc)
	if err != nil {
		return "", "", unreadable(err)
	}
	desc = string(b)
	if kind == "keyring" && desc != "" && desc[0] == '.' {
		return "", "", unix.EPERM
	}
	return kind, desc, nil
}

// requestKey is request_key. The search goes through the keyrings of thread and
// process; what it meets behind them cannot be told.
func requestKey(d *Deriver, c *Call) error {
	kind, desc, err := d.keyName(c)
	if err != nil {
		return err
	}
	linked := c.Args[3] != 0
	var into *ring
	if linked {
		k, r, err := d.keyring(c, c.arg(3), true)
		if err != nil {
			return err
		}
		d.keyHook(c, k)
		into = r
	}
	switch kind {
	case "user", "logon", "keyring":
	default:
		return errUnknownKeys
	}
	wanted := proc.Key{Type: kind, Desc: desc}
	for _, r := range d.shared.Keys.rings(c.Task) {
		d.keyHook(c, d.ownKeyring(c, r))
		k, ok := r.find(&wanted)
		if !ok {
			continue
		}
		d.keyHook(c, k)
		if linked {
			d.keyHook(c, k)
		}
		if into != nil {
			into.add(&k)
		}
		return nil
	}
	return errUnknownKeys
}

// keyOperation is what a command of keyctl does with one key.
type keyOperation struct {
	create bool // makes the keyring if it is named by its part
	hooks  int  // how often the hook is asked once the key is found
	second bool // the keyring in the second argument is looked up first
}

// keyOperations are the commands that are about one key.
var keyOperations = map[int32]keyOperation{
	unix.KEYCTL_GET_KEYRING_ID: {hooks: 1},
	unix.KEYCTL_UPDATE:         {hooks: 2},
	unix.KEYCTL_REVOKE:         {hooks: 1},
	unix.KEYCTL_CHOWN:          {hooks: 1, create: true},
	unix.KEYCTL_SETPERM:        {hooks: 1, create: true},
	unix.KEYCTL_DESCRIBE:       {hooks: 1},
	unix.KEYCTL_CLEAR:          {hooks: 1, create: true},
	unix.KEYCTL_LINK:           {hooks: 1, create: true, second: true},
	unix.KEYCTL_UNLINK:         {hooks: 1, second: true},
	unix.KEYCTL_READ:           {hooks: 2},
	unix.KEYCTL_SET_TIMEOUT:    {hooks: 1, create: true},
	unix.KEYCTL_GET_SECURITY:   {hooks: 1},
	unix.KEYCTL_INVALIDATE:     {hooks: 1},
}

// keyctl is keyctl.
func keyctl(d *Deriver, c *Call) error {
	cmd := c.arg(0)
	op, ok := keyOperations[cmd]
	if !ok {
		return unix.EOPNOTSUPP
	}
	if cmd == unix.KEYCTL_GET_KEYRING_ID {
		op.create = c.Args[2] != 0
	}
	if op.second {
		k, err := d.lookup(c, c.arg(2), op.create)
		if err != nil {
			return err
		}
		d.keyHook(c, k)
	}
	k, err := d.lookup(c, c.arg(1), op.create)
	if err != nil {
		return err
	}
	for range op.hooks {
		d.keyHook(c, k)
	}
	d.afterKeyctl(c, cmd, &k)
	return nil
}

// afterKeyctl notes what a command changes in the keyrings of the task.
func (d *Deriver) afterKeyctl(c *Call, cmd int32, k *proc.Key) {
	own := func(i int8) *ring {
		if id := c.arg(i); id == threadKeyring || id == processKeyring {
			return d.shared.Keys.ring(c.Task, id)
		}
		return nil
	}
	switch r := own(1); {
	case r != nil && cmd == unix.KEYCTL_SETPERM:
		r.perm = uint32(c.Args[2])
	case r != nil && cmd == unix.KEYCTL_CLEAR:
		r.keys = nil
	}
	switch r := own(2); {
	case r != nil && cmd == unix.KEYCTL_LINK:
		r.add(k)
	case r != nil && cmd == unix.KEYCTL_UNLINK:
		r.remove(k)
	}
}
