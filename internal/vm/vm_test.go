// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// prepare returns an image, or skips with what is missing for one.
func prepare(t *testing.T, series string) *Image {
	t.Helper()
	image, err := Prepare(t.Context(), series, func(what string) { t.Log(what) })
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// runAgain runs a command that attaches programs, and twice more if the machine
// stopped: emulated ones do now and then, while the kernel changes its own code for
// that. Where processors take turns they do so seldom (Linux 6.1 was seen to call a
// program that was gone), and leave the host's others to other machines.
func runAgain(t *testing.T, image *Image, c Command) (int, error) {
	t.Helper()
	c.Single = true
	for try := 1; ; try++ {
		for _, w := range []io.Writer{c.Stdout, c.Stderr} {
			if b, ok := w.(*bytes.Buffer); ok {
				b.Reset()
			}
		}
		status, err := image.Run(t.Context(), c)
		if try == 3 || !errors.Is(err, ErrStopped) {
			return status, err
		}
		t.Log(err)
	}
}

// What a command writes, its status and its files come back, each in its
// place, though it leaves a process behind.
func TestRun(t *testing.T) {
	t.Parallel()
	image := prepare(t, "6.12")
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.MkdirAll(filepath.Join(in, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in, "deep/file"), []byte("what went in"), 0o640); err != nil {
		t.Fatal(err)
	}
	// Somebody who reads slowly gets everything, though the machine has ended.
	const many = 300_000
	slow := filepath.Join(dir, "slow")
	if err := unix.Mkfifo(slow, 0o600); err != nil {
		t.Fatal(err)
	}
	slowly := make(chan int, 1)
	go func() {
		n := 0
		if f, err := os.Open(slow); err == nil {
			defer f.Close()
			for buffer := make([]byte, 4096); ; time.Sleep(10 * time.Millisecond) {
				got, err := f.Read(buffer)
				if n += got; err != nil {
					break
				}
			}
		}
		slowly <- n
	}()
	var out, words bytes.Buffer
	status, err := image.Run(t.Context(), Command{
		Args: []string{"bash", "-c", `head -c 300000 /dev/zero >/many; cat /place/deep/file; echo "$WORD" >&2; cp -a /place /taken
			cat /sys/kernel/security/lsm >/taken/lsm; uname -r >/taken/kernel; sleep 1000 & exit 7`},
		Env:    []string{"WORD=to be said"},
		Files:  []Copy{{From: in, To: "/place"}},
		Get:    []Copy{{From: "/taken", To: filepath.Join(dir, "out")}, {From: "/taken/lsm", To: filepath.Join(dir, "lsm")}, {From: "/many", To: slow}},
		Stdout: &out, Stderr: &words,
	})
	if err != nil || status != 7 {
		t.Fatalf("status %d, %v", status, err)
	}
	if n := <-slowly; n != many {
		t.Errorf("%d bytes came slowly, want %d", n, many)
	}
	if out.String() != "what went in" || words.String() != "to be said\n" {
		t.Errorf("wrote %q and %q", out.String(), words.String())
	}
	for name, part := range map[string]string{"out/deep/file": "what went in", "out/kernel": "6.12.", "lsm": ",bpf"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), part) {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
}

// A machine that stops by itself after the command was started is not started
// again, and the end of its console says what happened.
func TestPanic(t *testing.T) {
	t.Parallel()
	image := prepare(t, "6.12")
	var out bytes.Buffer
	_, err := image.Run(t.Context(), Command{
		Args: []string{"bash", "-c", "echo once; echo 1 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger"}, Stdout: &out,
	})
	if err == nil || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("%v", err)
	}
	if out.String() != "once\n" {
		t.Errorf("wrote %q", out.String())
	}
}

// A machine that stops before it gives a sign of life is tried again, and given
// up with the end of its console.
func TestNeverUp(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho boot >>" + dir + "/boots\necho Kernel panic >/dev/fd/3\n"
	if err := os.WriteFile(filepath.Join(dir, "qemu-system-x86_64"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	_, err := new(Image).Run(t.Context(), Command{Args: []string{"true"}})
	if err == nil || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("%v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "boots"))
	if tries := strings.Count(string(text), "boot"); err != nil || tries != boots {
		t.Errorf("%d boots, %v", tries, err)
	}
}

// A command that does not end is ended with its machine, in time.
func TestLimit(t *testing.T) {
	t.Parallel()
	image := prepare(t, "6.12")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	started := writer(func(text []byte) { cancel() })
	if _, err := image.Run(ctx, Command{Args: []string{"bash", "-c", "echo started; sleep 100000"}, Stdout: started}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// What is missing is said, as what a test can be skipped for.
func TestUnavailable(t *testing.T) {
	if _, err := exec.LookPath("apt-cache"); err == nil {
		if _, err := Prepare(t.Context(), "0.1", nil); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a series that is not there: %v", err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Prepare(t.Context(), "6.12", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without programs: %v", err)
	}
}
