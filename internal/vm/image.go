// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Programs are what the root file system of a machine has, as Debian packages;
// what these depend on comes with them.
var programs = []string{
	"acl", "attr", "base-files", "base-passwd", "bash", "busybox-static", "coreutils", "dash", "diffutils", "dpkg", "e2fsprogs", "findutils",
	"fuse3", "gawk", "gcc", "git", "grep", "gzip", "iproute2", "kmod", "libc-bin", "libc6-dev", "libcap2-bin", "make",
	"mosquitto", "mosquitto-clients", "mount", "procps", "python3", "runc", "sed", "strace", "systemd", "tar", "util-linux",
}

// recipe changes with what is made of the packages below.
const recipe = 3

// early are the modules that disks and ports need; a kernel that has one of
// them built in has no file for it.
var early = []string{"virtio_pci", "virtio_blk", "virtio_console"}

// An Image is what a machine is booted from.
type Image struct {
	// Series is the one asked for, such as 6.12, Version that of the package.
	Series, Version string

	kernel, initial, root string // file names
}

// Prepare makes the image of the newest kernel of a series that Debian's
// repositories of this host offer, or finds it in the cache. It says what it
// does, for that can take a while. The machine has the packages that are named
// in more besides the usual ones.
func Prepare(ctx context.Context, series string, say func(string), more ...string) (*Image, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("%w: only amd64 machines are known here", ErrUnavailable)
	}
	for _, need := range [][2]string{{"qemu-system-x86_64", "qemu-system-x86"}, {"mke2fs", "e2fsprogs"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"}, {"xz", "xz-utils"}, {"go", "golang"}} {
		if _, err := exec.LookPath(need[0]); err != nil {
			return nil, fmt.Errorf("%w: %s is not installed (Debian package %s)", ErrUnavailable, need[0], need[1])
		}
	}
	cache, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	name, version, err := newest(ctx, series)
	if err != nil {
		return nil, err
	}
	b := builder{ctx: ctx, cache: cache, say: say, programs: slices.Concat(programs, more)}
	return b.image(series, name, version)
}

// cacheFolder is where images are kept; it is made.
func cacheFolder() (string, error) {
	dir := os.Getenv("QUIXOTE_VM_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(user, "quixote-export", "vm")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// lock lets one process at a time make images.
func lock(name string) (func(), error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// newest finds the package of the latest kernel of a series.
func newest(ctx context.Context, series string) (name, version string, err error) {
	pattern := "^linux-image-" + regexp.QuoteMeta(series) + "[.].*-cloud-amd64-unsigned$"
	found, err := output(ctx, "", "apt-cache", "search", "--names-only", pattern)
	if err != nil {
		return "", "", err
	}
	names := []string{"show", "--no-all-versions"}
	for line := range strings.Lines(found) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) == 2 {
		return "", "", fmt.Errorf("%w: no Debian package %s is to be had here (apt-get update, or another series)", ErrUnavailable, pattern)
	}
	shown, err := output(ctx, "", "apt-cache", names...)
	if err != nil {
		return "", "", err
	}
	var last string
	for line := range strings.Lines(shown) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch field {
		case "Package":
			last = value
		case "Version":
			if version == "" || exec.CommandContext(ctx, "dpkg", "--compare-versions", value, "gt", version).Run() == nil {
				name, version = last, value
			}
		}
	}
	return name, version, nil
}

// A builder makes the files of an image.
type builder struct {
	ctx   context.Context
	cache string
	say   func(string)

	programs []string // packages
}

func (b *builder) run(dir, name string, args ...string) error {
	_, err := output(b.ctx, dir, name, args...)
	return err
}

func (b *builder) image(series, name, version string) (*Image, error) {
	dir := filepath.Join(b.cache, name+"_"+strings.ReplaceAll(version, ":", "_"))
	i := &Image{
		Series: series, Version: version,
		kernel: filepath.Join(dir, "vmlinuz"), initial: filepath.Join(dir, "initrd"),
	}
	rootKey := sha256.Sum256(fmt.Append(nil, recipe, b.programs))
	i.root = filepath.Join(dir, fmt.Sprintf("root-%x.ext4", rootKey[:4]))
	if missing(i.root) || missing(i.kernel) {
		if os.Geteuid() != 0 {
			return nil, fmt.Errorf("%w: the root file system of kernel %s is not in %s yet, and only root can make it", ErrUnavailable, version, b.cache)
		}
		b.say("making the root file system for " + name + " " + version)
		if err := b.root(i, name, dir); err != nil {
			return nil, err
		}
	}
	// This depends on our own sources, which the go command watches.
	return i, b.initial(i, dir)
}

func missing(name string) bool {
	_, err := os.Stat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// root makes the kernel and the root file system in which its modules are.
func (b *builder) root(i *Image, name, dir string) error {
	work, err := os.MkdirTemp(b.cache, "work-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tree, debs, kernel := filepath.Join(work, "tree"), filepath.Join(work, "debs"), filepath.Join(work, "kernel")
	for _, d := range []string{tree, filepath.Join(debs, "partial"), kernel, filepath.Join(kernel, "tree"), dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	status := filepath.Join(work, "status")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return err
	}
	// With nothing installed, the whole closure is downloaded.
	err = b.download(kernel, append([]string{"apt-get", "--yes", "--no-install-recommends", "--download-only",
		"-o", "Dir::State::status=" + status, "-o", "Dir::Cache::archives=" + debs, "-o", "Debug::NoLocking=true", "install"}, b.programs...))
	if err != nil {
		return err
	}
	if err := b.download(kernel, []string{"apt-get", "-o", "APT::Sandbox::User=root", "download", name}); err != nil {
		return err
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(tree, "usr", d), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+d, filepath.Join(tree, d)); err != nil {
			return err
		}
	}
	packages, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, p := range packages {
		if err := b.unpack(p, tree); err != nil {
			return err
		}
	}
	packages, err = filepath.Glob(filepath.Join(kernel, "*.deb"))
	if err != nil {
		return err
	}
	if len(packages) != 1 {
		return fmt.Errorf("unpack %s: %d packages came of one", name, len(packages))
	}
	if err := b.unpack(packages[0], filepath.Join(kernel, "tree")); err != nil {
		return err
	}
	if err := b.settle(tree, filepath.Join(kernel, "tree"), dir); err != nil {
		return err
	}
	half := i.root + ".half"
	os.Remove(half)
	err = b.run("", "mke2fs", "-q", "-t", "ext4", "-d", tree, "-E", "lazy_itable_init=1,lazy_journal_init=1,discard", "-m", "0", half, "2G")
	if err != nil {
		return err
	}
	return os.Rename(half, i.root)
}

// download runs a command that fetches packages, and once more after asking
// for newer lists, since a package that has been replaced is gone.
func (b *builder) download(dir string, command []string) error {
	err := b.run(dir, command[0], command[1:]...)
	if err == nil {
		return nil
	}
	b.say("asking for newer lists of packages")
	if err := b.run("", "apt-get", "update", "-qq"); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := b.run(dir, command[0], command[1:]...); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// unpack adds the files of a package to a tree.
func (b *builder) unpack(name, tree string) error {
	return b.run("", "sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2" --exclude ./usr/share/doc --exclude ./usr/share/man --exclude ./usr/share/locale`, "sh", name, tree)
}

// settle does what the packages' own scripts would: users, libraries, modules.
// It also copies the kernel, and the modules for the initial file system, to
// dir.
func (b *builder) settle(tree, kernel, dir string) error {
	for _, f := range []string{"passwd", "group"} {
		text, err := os.ReadFile(filepath.Join(tree, "usr/share/base-passwd", f+".master"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, "etc", f), text, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/hosts"), []byte("127.0.0.1 localhost vm\n"), 0o644); err != nil {
		return err
	}
	for link, target := range map[string]string{"usr/bin/sh": "dash", "usr/bin/awk": "gawk"} {
		if missing(filepath.Join(tree, link)) {
			if err := os.Symlink(target, filepath.Join(tree, link)); err != nil {
				return err
			}
		}
	}
	versions, err := filepath.Glob(filepath.Join(kernel, "lib/modules/*"))
	if err != nil || len(versions) != 1 {
		return fmt.Errorf("find the modules of the kernel package: %d folders: %w", len(versions), err)
	}
	version := filepath.Base(versions[0])
	for _, step := range [][]string{
		{"cp", "-a", versions[0], filepath.Join(tree, "usr/lib/modules/")},
		{"cp", filepath.Join(kernel, "boot/vmlinuz-"+version), filepath.Join(dir, "vmlinuz")},
		{"chroot", tree, "/sbin/depmod", version},
		{"chroot", tree, "/sbin/ldconfig"},
	} {
		if step[0] == "cp" && step[1] == "-a" {
			if err := os.MkdirAll(step[3], 0o755); err != nil {
				return err
			}
		}
		if err := b.run("", step[0], step[1:]...); err != nil {
			return err
		}
	}
	return b.modules(filepath.Join(tree, "usr/lib/modules", version), dir)
}

// modules copies those that are needed before there is a root, numbered in the
// order in which they are loaded.
func (b *builder) modules(from, dir string) error {
	to := filepath.Join(dir, "modules")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	needs, err := os.ReadFile(filepath.Join(from, "modules.dep"))
	if err != nil {
		return err
	}
	var order []string
	for _, name := range early {
		for line := range strings.Lines(string(needs)) {
			file, before, _ := strings.Cut(line, ":")
			if plain, _, _ := strings.Cut(filepath.Base(file), "."); plain != name {
				continue
			}
			// What it needs comes with what that needs, the last first.
			files := append([]string{file}, strings.Fields(before)...)
			slices.Reverse(files)
			order = append(order, files...)
		}
	}
	for n, file := range order {
		text, err := b.decompress(filepath.Join(from, file))
		if err != nil {
			return err
		}
		plain, _, _ := strings.Cut(filepath.Base(file), ".")
		if err := os.WriteFile(filepath.Join(to, fmt.Sprintf("%02d-%s.ko", n, plain)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) decompress(name string) ([]byte, error) {
	if !strings.HasSuffix(name, ".xz") {
		return os.ReadFile(name)
	}
	text, err := output(b.ctx, "", "xz", "-dc", name)
	return []byte(text), err
}

// initial makes the initial file system: our first process, and modules.
func (b *builder) initial(i *Image, dir string) error {
	guest := filepath.Join(b.cache, "guest")
	build := exec.CommandContext(b.ctx, "go", "build", "-o", guest, "quixote-export/internal/vm/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the first process of the machine: %w: %s", err, out)
	}
	init, err := os.ReadFile(guest)
	if err != nil {
		return err
	}
	modules, err := filepath.Glob(filepath.Join(dir, "modules", "*.ko"))
	if err != nil {
		return err
	}
	var text bytes.Buffer
	archive := cpio{to: &text}
	for _, d := range []string{"dev", "root", "modules"} {
		archive.add(d, modeFolder, nil)
	}
	archive.add("init", modeFile, init)
	for _, m := range modules {
		module, err := os.ReadFile(m)
		if err != nil {
			return err
		}
		archive.add("modules/"+filepath.Base(m), modeFile, module)
	}
	if err := archive.close(); err != nil {
		return err
	}
	// A machine may be reading the one before.
	half := i.initial + ".half"
	if err := os.WriteFile(half, text.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(half, i.initial)
}

// output runs a command and returns what it says.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(words.String()))
	}
	return out.String(), nil
}
