// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Vm runs a command as root in a virtual machine with a stock Debian kernel,
// and ends with its status. For example, from the folder of the project:
//
//	make && go run ./scripts/vm -kernel 6.1 -- ./quixote-export -X -o - -- id
//
// The first use of a kernel downloads it, and makes a root file system with the
// usual programs; see package vm.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"quixote-export/internal/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		status = 125
	}
	os.Exit(status)
}

// copies is a flag that may be given more than once: FROM:TO.
type copies []vm.Copy

func (c *copies) String() string { return "" }

func (c *copies) Set(text string) error {
	from, to, ok := strings.Cut(text, ":")
	if !ok || from == "" || to == "" {
		return errors.New("want FROM:TO")
	}
	*c = append(*c, vm.Copy{From: from, To: to})
	return nil
}

type list []string

func (l *list) String() string { return "" }

func (l *list) Set(text string) error {
	*l = append(*l, text)
	return nil
}

func run(ctx context.Context, args []string) (int, error) {
	var command vm.Command
	flags := flag.NewFlagSet("vm", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `usage: go run ./scripts/vm [flags] -- COMMAND [ARGUMENT...]

A COMMAND with a slash is a file of this host and is copied in; any other is
looked for in the machine, which has bash, coreutils, find, git, python3, runc,
strace and more. It runs as root in /root. It need not be static where its
libraries are those of Debian.

`)
		flags.PrintDefaults()
	}
	series := flags.String("kernel", "6.12", "the `series` of the kernel: its newest Debian package is taken")
	limit := flags.Duration("limit", 10*time.Minute, "how long all may take")
	flags.BoolVar(&command.Systemd, "systemd", false, "boot systemd, and run the command when that answers")
	before := flags.String("before", "", "a `script` of the shell to run before systemd is started")
	verbose := flags.Bool("v", false, "show the console")
	flags.Var((*copies)(&command.Files), "file", "copy `FROM:TO` into the machine; may be repeated, may be a folder")
	flags.Var((*copies)(&command.Get), "get", "copy `FROM:TO` out of the machine at the end; may be repeated")
	flags.Var((*list)(&command.Env), "env", "set `NAME=VALUE` for the command; may be repeated")
	flags.Var((*list)(&command.Append), "append", "a `word` for the kernel's command line; may be repeated")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, nil
	}
	if flags.NArg() == 0 {
		return 0, errors.New("no command (see -help)")
	}
	if *before != "" {
		command.Before = []string{"bash", "-c", *before}
	}
	command.Args, command.Stdout, command.Stderr = flags.Args(), os.Stdout, os.Stderr
	if program := command.Args[0]; strings.Contains(program, "/") {
		inside := "/vm/" + filepath.Base(program)
		command.Files = append(command.Files, vm.Copy{From: program, To: inside})
		command.Args[0] = inside
	}
	if *verbose {
		command.Console = os.Stderr
		command.Append = append(command.Append, "loglevel=7")
	}
	if err := install(); err != nil {
		return 0, err
	}
	image, err := vm.Prepare(ctx, *series, func(what string) { fmt.Fprintln(os.Stderr, "vm:", what) })
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	return image.Run(ctx, command)
}

// install gets QEMU, where that is possible.
func install() error {
	if _, err := exec.LookPath("qemu-system-x86_64"); err == nil || os.Geteuid() != 0 {
		return nil
	}
	fmt.Fprintln(os.Stderr, "vm: installing qemu-system-x86")
	cmd := exec.Command("apt-get", "install", "-y", "-qq", "--no-install-recommends", "qemu-system-x86")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install qemu-system-x86: %w: %s", err, out)
	}
	return nil
}
