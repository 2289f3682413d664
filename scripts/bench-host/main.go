// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Bench-host measures what the collector of the whole host costs everybody on it:
// work without it, with its events exported to a file, and with a full ring that
// nobody reads; and with auditd watching the same calls, where the kernel can. All
// in turn, several times; it prints medians and ratios.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	program := flag.String("program", "./quixote-export", "`path` of quixote-export")
	rounds := flag.Int("rounds", 5, "how often each is measured")
	flag.Parse()
	if err := run(*program, *rounds); err != nil {
		fmt.Fprintf(os.Stderr, "bench-host: %v\n", err)
		os.Exit(1)
	}
}

// work is what the host does meanwhile.
var work = []struct{ name, script string }{
	{"find", "find /usr >/dev/null"},
	{"compile", "for i in $(seq 30); do gcc -O1 -c -o $i.o unit.c; done"},
	{"true", "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done"},
}

const unit = `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/socket.h>
int f(int n) { char b[99]; snprintf(b, sizeof b, "%d", n); return strlen(b) + rand(); }
`

// A way is how the host is watched; begin starts that, and its result ends it.
type way struct {
	name  string
	begin func() (end func() error, err error)
}

func run(program string, rounds int) error {
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("it is for root")
	}
	dir, err := os.MkdirTemp("", "bench-host-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "unit.c"), []byte(unit), 0o644); err != nil {
		return err
	}
	mount := filepath.Join(dir, "bpf")
	if err := os.Mkdir(mount, 0o700); err != nil {
		return err
	}
	defer syscall.Unmount(mount, syscall.MNT_DETACH)
	h := &host{program: program, dir: dir, pins: filepath.Join(mount, "bench")}
	ways := []way{
		{"nothing", func() (func() error, error) { return func() error { return nil }, nil }},
		{"to a file", h.drained},
		{"full, unread", h.unread},
	}
	audit := &auditor{dir: dir}
	if err := audit.available(); err != nil {
		fmt.Printf("auditd is not measured: %v\n", err)
	} else {
		ways = append(ways, way{"auditd", audit.watch})
	}
	fmt.Printf("%-10s", "work")
	for _, w := range ways {
		fmt.Printf("%22s", w.name)
	}
	fmt.Println()
	for _, job := range work {
		times := make([][]time.Duration, len(ways))
		for range rounds {
			for i, w := range ways {
				took, err := measure(w, dir, job.script)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", job.name, w.name, err)
				}
				times[i] = append(times[i], took)
			}
		}
		fmt.Printf("%-10s", job.name)
		for i := range ways {
			fmt.Printf("%14.3f s %5.2f", median(times[i]).Seconds(), median(times[i]).Seconds()/median(times[0]).Seconds())
		}
		fmt.Println()
	}
	if audit.lost > 0 {
		fmt.Printf("auditd has lost %d records\n", audit.lost)
	}
	fmt.Printf("memory of the exporter, without the ring: %d kB at most\n", h.memory)
	return nil
}

func measure(w way, dir, script string) (time.Duration, error) {
	end, err := w.begin()
	if err != nil {
		return 0, err
	}
	c := exec.Command("sh", "-c", script)
	c.Dir = dir
	began := time.Now()
	err = c.Run()
	took := time.Since(began)
	return took, errors.Join(err, end())
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// patience is how long something may take that is not measured.
const patience = time.Minute

// host is a collector.
type host struct {
	program, dir, pins string
	memory             int // of the largest exporter, in kB
}

func (h *host) command(args ...string) *exec.Cmd {
	c := exec.Command(h.program, append(args, "--pins", h.pins)...)
	c.Dir = h.dir
	return c
}

func (h *host) run(args ...string) error {
	if out, err := h.command(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// drained has the events exported to a file, and none lost.
func (h *host) drained() (func() error, error) {
	if err := h.run("--install-collector"); err != nil {
		return nil, err
	}
	output := filepath.Join(h.dir, "out.exp")
	c := h.command("-R", "-f", "--no-shell", "-o", output)
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		return nil, err
	}
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if st, err := os.Stat(output); err == nil && st.Size() > 0 {
			break // it follows when something has come
		}
		if time.Now().After(until) {
			c.Process.Kill()
			c.Wait()
			return nil, fmt.Errorf("nothing is exported: %s", bytes.TrimSpace(said.Bytes()))
		}
	}
	return func() error {
		h.memory = max(h.memory, own(c.Process.Pid))
		c.Process.Signal(syscall.SIGTERM)
		err := c.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
		}
		os.Remove(output)
		return errors.Join(err, h.run("--remove-collector"))
	}, nil
}

// own is the memory in kB that a process has for itself. The ring, which it has
// mapped twice, is the kernel's.
func own(pid int) (kB int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			fmt.Sscan(rest, &kB)
		}
	}
	return kB
}

// unread has a ring that is full and that nobody reads.
func (h *host) unread() (func() error, error) {
	if err := h.run("--install-collector", "--ring", "64K"); err != nil {
		return nil, err
	}
	for until := time.Now().Add(patience); ; {
		out, err := h.command("--collector-status").Output()
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(out), "(ring_full)") {
			break
		}
		if time.Now().After(until) {
			return nil, errors.New("the ring does not fill")
		}
		exec.Command("ls", "-lR", "/usr/lib").Run()
	}
	return func() error { return h.run("--remove-collector") }, nil
}

// calls are those whose events are most, as auditd is told of them.
var calls = []string{"openat", "newfstatat", "fstat", "statx", "fcntl", "mmap", "execve", "unlinkat", "renameat2", "socket", "connect", "ioctl"}

// auditor is auditd, with a log and a configuration of its own.
type auditor struct {
	dir  string
	lost int // records that it has lost
}

func (a *auditor) available() error {
	if _, err := exec.LookPath("auditd"); err != nil {
		return errors.New("it is not installed (Debian package auditd)")
	}
	out, err := control("-s")
	if err == nil && !strings.Contains(out, "pid 0\n") {
		err = errors.New("it runs already")
	}
	return err
}

// control runs auditctl.
func control(args ...string) (string, error) {
	out, err := exec.Command("auditctl", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("auditctl: %w: %s", err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

// watch has auditd write down the calls that succeed.
func (a *auditor) watch() (func() error, error) {
	const config = "log_file = %s/audit.log\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 4000\nmax_log_file_action = IGNORE\nspace_left = 100\nadmin_space_left = 50\n"
	if err := os.WriteFile(filepath.Join(a.dir, "auditd.conf"), fmt.Appendf(nil, config, a.dir), 0o640); err != nil {
		return nil, err
	}
	c := exec.Command("auditd", "-n", "-c", a.dir)
	if err := c.Start(); err != nil {
		return nil, err
	}
	end := func() error {
		_, err := control("-D")
		out, statErr := control("-s")
		if _, rest, ok := strings.Cut(out, "\nlost "); ok {
			var lost int
			fmt.Sscan(rest, &lost)
			a.lost = max(a.lost, lost)
		}
		_, offErr := control("-e", "0")
		c.Process.Signal(syscall.SIGTERM)
		c.Wait()
		os.Remove(filepath.Join(a.dir, "audit.log"))
		return errors.Join(err, statErr, offErr)
	}
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		out, err := control("-s")
		if err != nil || time.Now().After(until) {
			return nil, errors.Join(err, errors.New("auditd does not start"), end())
		}
		if !strings.Contains(out, "pid 0\n") {
			break
		}
	}
	rule := []string{"-a", "always,exit", "-F", "arch=b64", "-F", "success=1"}
	for _, c := range calls {
		rule = append(rule, "-S", c)
	}
	for _, args := range [][]string{{"-D"}, {"-b", "65536"}, rule, {"-e", "1"}} {
		if _, err := control(args...); err != nil {
			return nil, errors.Join(err, end())
		}
	}
	return end, nil
}
