// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package mqtttest runs real brokers for tests and benchmarks, and makes the
// certificates they need.
package mqtttest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Mosquitto is a mosquitto with a folder and a port of its own.
type Mosquitto struct {
	Address string // host:port
	Dir     string
	cmd     *exec.Cmd
	log     chan struct{} // closed when its output has ended
}

// Look returns the program, or why there is none.
func Look() (string, error) {
	for _, path := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", errors.New("mosquitto is not installed (Debian package mosquitto)")
}

// Run starts a mosquitto that listens on the loopback of its network
// namespace; config is what else its configuration says, line by line, with
// DIR for the folder dir.
func Run(dir string, config ...string) (*Mosquitto, error) {
	m := &Mosquitto{Dir: dir}
	// Somebody else can take the port before the broker has it.
	var err error
	for range 3 {
		if m.Address, err = freePort(); err != nil {
			return nil, err
		}
		if err = m.configure(config); err != nil {
			return nil, err
		}
		if err = m.Start(); err == nil {
			return m, nil
		}
	}
	return nil, err
}

// New is Run for a test, which ends it. The test is skipped where there is no
// mosquitto.
func New(t testing.TB, config ...string) *Mosquitto {
	t.Helper()
	if _, err := Look(); err != nil {
		t.Skip(err)
	}
	m, err := Run(t.TempDir(), config...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Kill)
	return m
}

// Passwords makes a password file for mosquitto.
func Passwords(t testing.TB, user, password string) (file string) {
	t.Helper()
	program, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("mosquitto_passwd is not installed (Debian package mosquitto)")
	}
	file = filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command(program, "-c", "-b", file, user, password).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (m *Mosquitto) configure(config []string) error {
	host, port, err := net.SplitHostPort(m.Address)
	if err != nil {
		return err
	}
	lines := []string{
		"listener " + port + " " + host, "log_dest stderr",
		// Not 0, for no bound: with that mosquitto 2.0.11 disconnects a
		// client of which it denies a message.
		"max_queued_messages 10000000",
	}
	if os.Geteuid() == 0 {
		lines = append(lines, "user root") // the folder is ours
	}
	text := strings.Join(append(lines, config...), "\n") + "\n"
	text = strings.ReplaceAll(text, "DIR", m.Dir)
	return os.WriteFile(filepath.Join(m.Dir, "mosquitto.conf"), []byte(text), 0o600)
}

// Start starts it, after Kill or Stop, and returns when it listens.
func (m *Mosquitto) Start() error {
	program, err := Look()
	if err != nil {
		return err
	}
	m.cmd = exec.Command(program, "-c", filepath.Join(m.Dir, "mosquitto.conf"))
	// It must not outlive a test that is killed.
	m.cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := m.cmd.StderrPipe()
	if err != nil {
		return err
	}
	ready := make(chan error, 1)
	m.log = make(chan struct{})
	go m.follow(bufio.NewScanner(out), ready)
	if err := <-ready; err != nil {
		m.Kill()
		return err
	}
	return nil
}

// follow starts it, reads its log to the end, and tells when it is ready.
func (m *Mosquitto) follow(lines *bufio.Scanner, ready chan<- error) {
	defer close(m.log)
	runtime.LockOSThread() // the broker dies with the thread that has started it
	defer runtime.UnlockOSThread()
	if err := m.cmd.Start(); err != nil {
		ready <- err
		return
	}
	said := ""
	for lines.Scan() {
		said += "\n" + lines.Text()
		if len(said) > 4<<10 {
			said = said[len(said)-4<<10:]
		}
		if strings.HasSuffix(lines.Text(), " running") {
			select {
			case ready <- nil:
			default:
			}
		}
	}
	select {
	case ready <- fmt.Errorf("mosquitto does not start:%s", said):
	default:
	}
}

// PID is its process.
func (m *Mosquitto) PID() int { return m.cmd.Process.Pid }

// Kill is kill -9.
func (m *Mosquitto) Kill() { m.end(unix.SIGKILL) }

// Stop lets it end in order.
func (m *Mosquitto) Stop() { m.end(unix.SIGTERM) }

func (m *Mosquitto) end(sig unix.Signal) {
	if m.cmd == nil || m.cmd.Process == nil {
		return
	}
	m.cmd.Process.Signal(sig)
	for ended := false; !ended; {
		select {
		case <-m.log: // Wait would close the pipe under who reads it
			ended = true
		case <-time.After(time.Second):
			m.cmd.Process.Signal(sig) // it forgets one that comes right before its loop
		}
	}
	m.cmd.Wait()
	m.cmd = nil
}
