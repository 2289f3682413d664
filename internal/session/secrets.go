// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"crypto/tls"
	"os"
	"strconv"

	"quixote-export/internal/broker"
)

// secrets are the password and the certificates of a plan.
type secrets struct {
	credentials broker.Credentials
	tls         *tls.Config
}

// loadSecrets reads what the flags name, once: it may be a pipe. password is
// the value of broker.PasswordVariable.
func (p *Plan) loadSecrets(password string) (*secrets, error) {
	if p.secrets != nil {
		return p.secrets, nil
	}
	var (
		s   secrets
		err error
	)
	if s.credentials, err = broker.LoadCredentials(p.MQTT.User, p.MQTT.PasswordFile, password, broker.DefaultPasswordFile); err != nil {
		return nil, err
	}
	if s.tls, err = broker.LoadTLS(p.MQTT.CA, p.MQTT.Cert, p.MQTT.Key); err != nil {
		return nil, err
	}
	p.secrets = &s
	return p.secrets, nil
}

// takePassword takes the password of the broker out of our environment, so
// that the workload and the watchdog do not inherit it, and out of what others
// see of it in /proc. It is the one difference between their environment and
// that of our caller. It is for before anything is started.
func takePassword() string {
	password := os.Getenv(broker.PasswordVariable)
	os.Unsetenv(broker.PasswordVariable)
	if password != "" {
		wipe(broker.PasswordVariable, password)
	}
	return password
}

// wipe overwrites the value of a variable in the memory that the kernel shows
// as /proc/PID/environ. Go has its own copy of it. Kernels that allow nobody
// to write to /proc/PID/mem leave the value there, for root and us to see.
func wipe(name, value string) {
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return
	}
	start, ok := environStart()
	if !ok {
		return
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer memory.Close()
	variable := []byte(name + "=" + value + "\x00")
	for at := 0; ; {
		i := bytes.Index(environ[at:], variable)
		if i < 0 {
			return
		}
		at += i
		if at == 0 || environ[at-1] == 0 {
			memory.WriteAt(make([]byte, len(value)), start+int64(at+len(name)+1))
		}
		at += len(variable)
	}
}

// environStart is the address of what /proc/self/environ shows.
func environStart() (int64, bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, false
	}
	// The name of the program, in parentheses, is field 2; this is field 50.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const field = 50 - 3
	if len(fields) <= field {
		return 0, false
	}
	start, err := strconv.ParseInt(string(fields[field]), 10, 64)
	return start, err == nil && start > 0
}
