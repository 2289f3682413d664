// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// start measures how much later than by itself a command begins: the clock is
// read when its first byte has come.
func start(out io.Writer, w way, dir string, rounds int) error {
	var times [2][]time.Duration
	for range 2 * rounds {
		for i, prefix := range [][]string{nil, w.prefix} {
			args := append(slices.Clone(prefix), "/bin/sh", "-c", "echo x >&2; exec sleep 0")
			c := exec.Command(args[0], args[1:]...)
			c.Dir = dir
			first, err := c.StderrPipe()
			if err != nil {
				return err
			}
			began := time.Now()
			if err := c.Start(); err != nil {
				return err
			}
			if _, err := first.Read(make([]byte, 1)); err != nil {
				return err
			}
			times[i] = append(times[i], time.Since(began))
			io.Copy(io.Discard, first)
			if err := c.Wait(); err != nil {
				return err
			}
		}
	}
	alone, watched := median(times[0]), median(times[1])
	fmt.Fprintf(out, "start to first act: %.1f ms alone, %.1f ms more when watched\n",
		1000*alone.Seconds(), 1000*(watched-alone).Seconds())
	return nil
}

// memory measures the largest of the processes of a run with very many events
// and tasks.
func memory(out io.Writer, w way, dir string) error {
	const script = `i=0; while [ $i -lt 5000 ]; do i=$((i+1)); /bin/true; done
exec /usr/bin/python3 -c 'import os
for i in range(900000): os.stat(".")'`
	args := append(slices.Clone(w.prefix), "sh", "-c", script)
	c := exec.Command(args[0], args[1:]...)
	c.Dir = dir
	began := time.Now()
	if err := c.Run(); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	usage := c.ProcessState.SysUsage().(*syscall.Rusage)
	fmt.Fprintf(out, "memory after a million events and 5,000 tasks: at most %.1f MB, in %.0f s\n",
		float64(usage.Maxrss)/1024, time.Since(began).Seconds())
	return nil
}
