// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TERM ends the command and what it leaves behind, also that which makes no
// call, or ignores it.
func TestTermEndsAll(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"no calls": `(while :; do :; done) & echo ready; sleep 1000 & wait`,
		"deaf":     `(trap "" TERM; echo ready; while :; do sleep 1; done) & wait`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options{status: 128 + 15}
			c := command(t, &o, "sh", "-c", script)
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			out.Read(make([]byte, 16))
			began := time.Now()
			c.Process.Signal(unix.SIGTERM)
			c.Wait()
			if took := time.Since(began); took > 30*time.Second || c.ProcessState.ExitCode() != o.status {
				t.Errorf("it took %v, status %d", took, c.ProcessState.ExitCode())
			}
			readStream(t, o)
		})
	}
}

// A thread of ours that is stuck in the kernel for want of somebody outside, and
// a task of the workload after it, keep neither the stream from its end nor the
// user from knowing. Only the last of our process goes when the other answers.
func TestTermThoughStuckInTheKernel(t *testing.T) {
	t.Parallel()
	for name, both := range map[string]bool{"we alone": false, "with the task": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fs := outsideFuse(t)
			o := options{status: 128 + 15, lost: both}
			c := command(t, &o, "sh", "-c", `cat `+fs.dir+`/lookup.never & echo $!; while :; do sleep 0.1; done`)
			var errs bytes.Buffer
			c.Stderr = &errs
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			pid, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			cat := number(t, strings.TrimSpace(pid))
			eventually(t, "the server is asked", func() bool { return fs.asked("lookup", "lookup.never") > 0 })
			if both {
				eventually(t, "the task itself waits for it", func() bool {
					stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", cat))
					return bytes.Contains(stack, []byte("d_alloc_parallel")) || bytes.Contains(stack, []byte("fuse_"))
				})
			}
			began := time.Now()
			c.Process.Signal(unix.SIGTERM)
			for time.Since(began) < 60*time.Second {
				b, _ := os.ReadFile(o.output)
				if bytes.Contains(b, []byte(`{"export": {"type": "end"}`)) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			took := time.Since(began)
			fs.letGo()
			c.Wait()
			if took > 30*time.Second {
				t.Errorf("the stream was complete after %v", took)
			}
			if both != strings.Contains(errs.String(), "do not die") {
				t.Errorf("standard error: %q", errs.String())
			}
			s := readStream(t, o)
			if s.end == nil || both != (s.end.Lost == "") {
				t.Errorf("the end is %+v", s.end)
			}
		})
	}
}
