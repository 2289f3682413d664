// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// DefaultUser is who we are at a broker when there is a password and no name.
const DefaultUser = "tsem"

// PasswordVariable is the environment variable of the password.
const PasswordVariable = "TSEM_PASSWORD"

// DefaultPasswordFile is where the password is looked for when nobody says
// otherwise.
const DefaultPasswordFile = "/opt/Quixote/etc/mqtt.pwd"

// maxPassword is the longest password in bytes that the protocol can express.
const maxPassword = 65535

// Credentials are who we are at a broker. Without a user we are nobody.
type Credentials struct {
	User     string
	Password []byte // nil: none
}

// LoadCredentials finds user and password: user and file are those of the
// flags, variable is the value of PasswordVariable, fallback the file that is
// tried when there is neither; it may be missing.
func LoadCredentials(user, file, variable, fallback string) (Credentials, error) {
	c := Credentials{User: user}
	var err error
	switch {
	case file != "":
		c.Password, err = readPassword(file, "name one that this user may read")
	case variable != "":
		c.Password = []byte(variable)
	default:
		c.Password, err = readPassword(fallback, "run as root, or set "+PasswordVariable)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return Credentials{}, err
	}
	if len(c.Password) > maxPassword {
		return Credentials{}, fmt.Errorf("the MQTT password is longer than %d bytes", maxPassword)
	}
	if c.User == "" && c.Password != nil {
		c.User = DefaultUser
	}
	return c, nil
}

// readPassword reads a file that nobody else can read. mend is what to do where
// we may not.
func readPassword(path, mend string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var reason error = err
		if e := (*os.PathError)(nil); errors.As(err, &e) {
			reason = e.Err
		}
		if !errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("cannot open the MQTT password file %s: %w", path, reason)
		}
		return nil, fmt.Errorf("cannot open the MQTT password file %s: %w (%s)", path, reason, mend)
	}
	defer f.Close()
	if err := checkSecret(f); err != nil {
		return nil, fmt.Errorf("cannot use the MQTT password file %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPassword+3))
	if err != nil {
		return nil, fmt.Errorf("cannot read the MQTT password file: %w", err)
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	if len(text) == 0 {
		return nil, fmt.Errorf("the MQTT password file %s is empty", path)
	}
	return text, nil
}

// checkSecret refuses a file that others can read or change. The group of root
// is no other: credentials that systemd gives a service show its bits.
func checkSecret(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	cerr := conn.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) })
	if err := errors.Join(err, cerr); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errors.New("it is a folder")
	}
	if int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return errors.New("it belongs to another user (chown it)")
	}
	refused := uint32(0o077)
	if st.Gid == 0 {
		refused = 0o027
	}
	if st.Mode&refused != 0 {
		return fmt.Errorf("others can read or change it, its mode is %03o (chmod 600 %s)", st.Mode&0o777, f.Name())
	}
	return nil
}
