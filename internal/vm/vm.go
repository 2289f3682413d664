// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Package vm runs one command as root in a virtual machine with a stock Debian
// kernel and a small Debian around it, for tests that need another kernel than
// the host's. It needs QEMU, but neither KVM nor a network in the machine;
// kernels and programs come from Debian's packages, which are unpacked into a
// cache and never installed.
//
// The cache is $QUIXOTE_VM_CACHE, else quixote-export/vm in the user's.
package vm

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"quixote-export/internal/vm/job"
)

// ErrUnavailable is what a virtual machine cannot be had for, such as a missing
// program or package.
var ErrUnavailable = errors.New("no virtual machine")

// ErrStopped is that of a machine that stopped by itself while it ran the command.
var ErrStopped = errors.New("the virtual machine stopped without a result")

// bootLimit is how long a machine may take until it gives a sign of life, and
// boots how often it is tried. An idle host takes some seconds.
const (
	bootLimit = 3 * time.Minute
	boots     = 3
)

// processor is one that is quick to emulate: copies made by one instruction are
// emulated byte by byte, wide registers by calls, a fifth level of page tables and
// the switches of access to memory of users cost what they cost.
const processor = "max,erms=off,fsrm=off,la57=off,smap=off,avx=off,avx2=off"

// careless spares a kernel the work that protects it from others, of whom there
// are none in a machine.
const careless = "mitigations=off init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off"

// A Command is what to run in a machine.
type Command struct {
	// Args are the command's, looked for in the machine.
	Args []string
	// Env adds to PATH, HOME and LANG.
	Env []string
	// Systemd has the machine run systemd, as the first process; Before is a command
	// that is run before that, and has to end with 0.
	Systemd bool
	Before  []string
	// Files are put into the machine before, Get is taken out after.
	Files, Get []Copy
	// Stdout and Stderr get what the command writes, Console what the kernel does;
	// each may be nil, and the first two the same.
	Stdout, Stderr, Console io.Writer
	// Single has the processors of the machine take turns, instead of running at the
	// same time: then no kernel stumbles over code that it changes itself.
	Single bool
	// Append is more for the kernel's command line; the last of an option counts.
	Append []string
}

// A Copy is a file or folder, and what it becomes.
type Copy struct{ From, To string }

// Run boots the machine, runs the command in it and returns its exit status. A
// machine that does not come up is tried again. Whatever becomes of it, no
// process is left when Run returns.
func (i *Image) Run(ctx context.Context, c Command) (int, error) {
	dir, err := os.MkdirTemp("", "vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	payload := filepath.Join(dir, "payload.tar")
	if err := c.pack(payload); err != nil {
		return 0, err
	}
	for try := 1; ; try++ {
		status, alive, err := i.boot(ctx, c, payload)
		if alive || err == nil || ctx.Err() != nil || try == boots {
			return status, err
		}
	}
}

// pack writes the payload: the job, and the files for the root.
func (c *Command) pack(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	task := job.Job{
		Args: c.Args, Dir: "/root", Systemd: c.Systemd, Before: c.Before,
		Env: append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}, c.Env...),
	}
	for _, get := range c.Get {
		task.Get = append(task.Get, get.From)
	}
	text, err := json.Marshal(task)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(f)
	if err := archive.WriteHeader(&tar.Header{Name: job.Name, Typeflag: tar.TypeReg, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := archive.Write(text); err != nil {
		return err
	}
	for _, file := range c.Files {
		if err := packTree(archive, file); err != nil {
			return err
		}
	}
	return archive.Close()
}

func packTree(archive *tar.Writer, c Copy) error {
	return filepath.Walk(c.From, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&os.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(c.From, path)
		if err != nil {
			return err
		}
		header.Name = filepath.Join("/", c.To, rest)
		if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(archive, f)
		return err
	})
}

// boot runs the machine once. It says whether the machine came up, so that
// what is wrong is the command's matter.
func (i *Image) boot(ctx context.Context, c Command, payload string) (status int, alive bool, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	early := time.AfterFunc(bootLimit, func() { stop(fmt.Errorf("no sign of life within %s", bootLimit)) })
	defer early.Stop()

	threads := "multi"
	if c.Single {
		threads = "single"
	}
	args := []string{
		"-accel", "tcg,thread=" + threads, "-cpu", processor, "-smp", "2", "-m", "1G", "-no-reboot", "-nodefaults",
		"-display", "none", "-kernel", i.kernel, "-initrd", i.initial,
		"-append", strings.Join(append([]string{"console=ttyS0 quiet panic=-1 oops=panic lsm=lockdown,capability,landlock,bpf " + careless}, c.Append...), " "),
		"-drive", "file=" + i.root + ",if=virtio,format=raw,snapshot=on",
		"-drive", "file=" + payload + ",if=virtio,format=raw,readonly=on",
		"-device", "virtio-serial",
	}
	cmd := exec.Command("qemu-system-x86_64", args...)
	var tail console
	ending, seen := job.Ending{}, false
	var reading sync.WaitGroup
	var ends []*os.File
	var problems [2]error
	reader := func(read func(io.Reader)) (path string, err error) {
		r, w, err := os.Pipe()
		if err != nil {
			return "", err
		}
		ends = append(ends, w)
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		reading.Go(func() {
			read(r)
			io.Copy(io.Discard, r) // never let QEMU wait for somebody who reads no more
			r.Close()
		})
		return "/dev/fd/" + strconv.Itoa(2+len(cmd.ExtraFiles)), nil
	}
	defer func() {
		for _, w := range ends {
			w.Close()
		}
		reading.Wait()
	}()
	var turn sync.Mutex
	stdout, stderr := inTurn{&turn, or(c.Stdout)}, inTurn{&turn, or(c.Stderr)}
	for _, port := range []struct {
		name string
		read func(io.Reader)
	}{
		{"console", func(r io.Reader) { io.Copy(io.MultiWriter(&tail, or(c.Console)), r) }},
		{job.PortControl, func(r io.Reader) {
			lines := bufio.NewScanner(r)
			for lines.Scan() {
				if lines.Text() == job.Alive {
					early.Stop()
					alive = true
				} else if err := json.Unmarshal(lines.Bytes(), &ending); err == nil {
					seen = true
				}
			}
		}},
		{job.PortStdout, func(r io.Reader) { io.Copy(stdout, r) }},
		{job.PortStderr, func(r io.Reader) { io.Copy(stderr, r) }},
		{job.PortFiles, func(r io.Reader) { problems[0] = c.receive(r) }},
	} {
		path, err := reader(port.read)
		if err != nil {
			return 0, false, err
		}
		cmd.Args = append(cmd.Args, "-chardev", "file,id="+port.name+",path="+path)
		if port.name == "console" {
			cmd.Args = append(cmd.Args, "-serial", "chardev:console")
		} else {
			cmd.Args = append(cmd.Args, "-device", "virtserialport,chardev="+port.name+",name="+port.name)
		}
	}
	var words strings.Builder
	cmd.Stderr = &words
	problems[1] = runUntil(ctx, cmd)
	for _, w := range ends {
		w.Close()
	}
	ends = nil
	reading.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, alive, fmt.Errorf("the virtual machine with kernel %s was ended: %w%s", i.Version, context.Cause(ctx), tail.last())
	case problems[1] != nil:
		return 0, alive, fmt.Errorf("run qemu-system-x86_64: %w: %s", problems[1], strings.TrimSpace(words.String()))
	case !seen:
		return 0, alive, fmt.Errorf("%w: kernel %s%s", ErrStopped, i.Version, tail.last())
	case ending.Error != "":
		return 0, true, errors.New(ending.Error)
	}
	return ending.Status, true, problems[0]
}

// runUntil runs cmd to its end or that of the context. It is killed too if
// this process dies.
func runUntil(ctx context.Context, cmd *exec.Cmd) error {
	done := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		// The signal comes when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		cmd.Process.Kill()
		return <-done
	}
}

// receive puts the files of a machine where they were wanted.
func (c *Command) receive(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive the machine's files: %w", err)
		}
		place, rest, _ := strings.Cut(strings.TrimSuffix(header.Name, "/"), "/")
		n, err := strconv.Atoi(place)
		if err != nil || n >= len(c.Get) || rest != "" && !filepath.IsLocal(rest) {
			return fmt.Errorf("receive the machine's files: unexpected %q", header.Name)
		}
		name := filepath.Join(c.Get[n].To, rest)
		if header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(name, 0o755); err != nil {
				return err
			}
			continue
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, header.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, archive); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}

// inTurn is a writer that may be the same as another.
type inTurn struct {
	turn *sync.Mutex
	to   io.Writer
}

func (w inTurn) Write(b []byte) (int, error) {
	w.turn.Lock()
	defer w.turn.Unlock()
	return w.to.Write(b)
}

func or(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// A console keeps the end of what a kernel says.
type console struct{ text []byte }

const consoleKept = 4096

func (c *console) Write(p []byte) (int, error) {
	c.text = append(c.text, p...)
	if len(c.text) > consoleKept {
		c.text = c.text[len(c.text)-consoleKept:]
	}
	return len(p), nil
}

func (c *console) last() string {
	if len(c.text) == 0 {
		return "; its console is empty"
	}
	return "; the end of its console:\n" + strings.ReplaceAll(string(c.text), "\r", "")
}
