// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// Guest is the first process of a virtual machine that package vm starts. It
// mounts the root file system, puts the files it was given into it, runs one
// command as root, hands back what that wrote and how it ended, and resets the
// machine.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quixote-export/internal/vm/job"
)

func main() {
	act := run
	if len(os.Args) == 2 && os.Args[1] == besides {
		act = runBesides
	}
	if err := act(); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
	// Without -no-reboot this would be a reboot; with it, QEMU ends.
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	if err := mountRoot(); err != nil {
		return err
	}
	if err := mountRest(); err != nil {
		return err
	}
	ports, err := findPorts()
	if err != nil {
		return err
	}
	payload, err := os.Open("/dev/vdb")
	if err != nil {
		return err
	}
	task, err := unpack(payload)
	if err != nil {
		return fmt.Errorf("unpack the payload: %w", err)
	}
	payload.Close()
	if err := raiseLoopback(); err != nil {
		return err
	}
	if _, err := io.WriteString(ports[job.PortControl], job.Alive+"\n"); err != nil {
		return err
	}
	if task.Systemd {
		if ready, err := prepare(task, ports); !ready {
			return err
		}
		return makeRoom(task, ports)
	}
	return carryOut(task, ports)
}

// besides is the argument of a guest that is not the first process.
const besides = "besides"

// portOrder is the order in which it inherits the ports.
var portOrder = []string{job.PortControl, job.PortStdout, job.PortStderr, job.PortFiles}

// prepare runs what is to be run before systemd. If that does not end well there
// is nothing more to be done, and that has been told.
func prepare(task job.Job, ports map[string]*os.File) (ready bool, err error) {
	if len(task.Before) == 0 {
		return true, nil
	}
	before := task
	before.Args = task.Before
	ending, err := execute(before, ports[job.PortStdout], ports[job.PortStderr])
	if err != nil {
		ending.Error = err.Error()
	}
	if ending.Status == 0 && err == nil {
		return true, nil
	}
	return false, conclude(ending, task, ports)
}

// makeRoom has another process carry out the task, and becomes systemd.
func makeRoom(task job.Job, ports map[string]*os.File) error {
	text, err := json.Marshal(task)
	if err != nil {
		return err
	}
	files := []uintptr{0, 1, 2}
	for _, name := range portOrder {
		files = append(files, ports[name].Fd())
	}
	_, err = syscall.ForkExec("/proc/self/exe", []string{"guest", besides}, &syscall.ProcAttr{
		Dir: "/", Env: []string{job.Name + "=" + string(text)}, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	// Without an identity systemd takes it for the first boot, and asks.
	if err := os.WriteFile("/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o444); err != nil {
		return err
	}
	const units = "/etc/systemd/system/"
	if err := os.MkdirAll(units, 0o755); err != nil {
		return err
	}
	for _, unit := range []string{"systemd-firstboot.service", "serial-getty@ttyS0.service", "getty.target"} {
		if err := os.Symlink(os.DevNull, units+unit); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	const systemd = "/lib/systemd/systemd"
	return fmt.Errorf("become systemd: %w", unix.Exec(systemd, []string{systemd}, []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}))
}

// runBesides carries out the task when systemd answers.
func runBesides() error {
	ports := make(map[string]*os.File)
	for i, name := range portOrder {
		unix.CloseOnExec(3 + i)
		ports[name] = os.NewFile(uintptr(3+i), name)
	}
	var task job.Job
	if err := json.Unmarshal([]byte(os.Getenv(job.Name)), &task); err != nil {
		return err
	}
	const answers = "/run/systemd/private"
	for !exists(answers) {
		time.Sleep(10 * time.Millisecond) // nothing tells when its folder is made
	}
	return carryOut(task, ports)
}

// carryOut runs the command and hands back what came of it.
func carryOut(task job.Job, ports map[string]*os.File) error {
	ending, err := execute(task, ports[job.PortStdout], ports[job.PortStderr])
	if err != nil {
		ending.Error = err.Error()
	}
	return conclude(ending, task, ports)
}

// conclude hands back the files, and how the command ended.
func conclude(ending job.Ending, task job.Job, ports map[string]*os.File) error {
	if err := deliver(ports[job.PortFiles], task.Get); err != nil && ending.Error == "" {
		ending.Error = err.Error()
	}
	if err := push(ports[job.PortFiles]); err != nil && ending.Error == "" {
		ending.Error = err.Error()
	}
	return json.NewEncoder(ports[job.PortControl]).Encode(ending)
}

// push returns when what was written to a port has left the machine, which ends
// without regard to what waits in a queue for a slow reader. So more is written than
// the queue has room for, byte by byte: nobody reads behind the end of an archive.
func push(port io.Writer) error {
	const queued = 128 // buffers at most
	for range 2 * queued {
		if _, err := port.Write([]byte{0}); err != nil {
			return fmt.Errorf("hand out the files: %w", err)
		}
	}
	return nil
}

// mountRoot loads what the disks need and makes the first of them the root.
func mountRoot() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(modules) // they are numbered in the order in which they need one another
	for _, name := range modules {
		image, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := unix.InitModule(image, ""); err != nil && err != unix.EEXIST {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	if err := mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	if err := await("/dev", func() (bool, error) { return exists("/dev/vda") && exists("/dev/vdb"), nil }); err != nil {
		return err
	}
	if err := mount("/dev/vda", "/root", "ext4", 0, ""); err != nil {
		return err
	}
	// What switch_root does: the root of the initial memory file system can
	// not be left with pivot_root, which is then free for the command.
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount("/dev", "dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move /dev: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// mountRest mounts what a running system has.
func mountRest() error {
	const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"proc", "/proc", "proc", plain, ""},
		{"sysfs", "/sys", "sysfs", plain, ""},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=620,gid=5,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"securityfs", "/sys/kernel/security", "securityfs", plain, ""},
		{"bpf", "/sys/fs/bpf", "bpf", plain, "mode=700"},
		{"tracefs", "/sys/kernel/tracing", "tracefs", plain, ""},
		{"debugfs", "/sys/kernel/debug", "debugfs", plain, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", plain, "nsdelegate"},
	} {
		if err := mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return err
		}
	}
	for _, l := range [][2]string{{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"}} {
		if err := os.Symlink(l[0], l[1]); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := os.MkdirAll("/mnt", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/hostname", []byte("vm\n"), 0o644); err != nil {
		return err
	}
	return unix.Sethostname([]byte("vm"))
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, target, err)
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// await returns when done says so, which it asks whenever a file is made in
// dir. The host ends the machine if that never comes.
func await(dir string, done func() (bool, error)) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		return err
	}
	for buffer := make([]byte, 4096); ; {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if _, err := unix.Read(fd, buffer); err != nil && err != unix.EINTR {
			return err
		}
	}
}

// findPorts opens the serial ports of the host by their names.
func findPorts() (map[string]*os.File, error) {
	ports := make(map[string]*os.File)
	err := await("/dev", func() (bool, error) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return false, err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return false, err
			}
			port := strings.TrimSpace(string(text))
			if port == "" || ports[port] != nil {
				continue
			}
			f, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(name)), os.O_WRONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return false, err
			}
			ports[port] = f
		}
		return len(ports) == job.Ports, nil
	})
	return ports, err
}

// unpack puts the files of the payload into the root, and returns the task,
// which comes first.
func unpack(from io.Reader) (job.Job, error) {
	var task job.Job
	archive := tar.NewReader(from)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return task, nil
		}
		if err != nil {
			return task, err
		}
		if header.Name == job.Name {
			if err := json.NewDecoder(archive).Decode(&task); err != nil {
				return task, err
			}
			continue
		}
		name := filepath.Join("/", header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(name, header.FileInfo().Mode().Perm()); err != nil {
				return task, err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return task, err
		}
		if header.Typeflag == tar.TypeSymlink {
			if err := os.Symlink(header.Linkname, name); err != nil {
				return task, err
			}
			continue
		}
		if err := write(name, archive, header.FileInfo().Mode().Perm()); err != nil {
			return task, err
		}
	}
}

func write(name string, from io.Reader, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, from); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// raiseLoopback makes 127.0.0.1 work.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// execute runs the command until it ends, and kills what it leaves. It also
// collects orphans, as the first process has to.
func execute(task job.Job, stdout, stderr io.Writer) (job.Ending, error) {
	var ending job.Ending
	null, err := os.Open(os.DevNull)
	if err != nil {
		return ending, err
	}
	defer null.Close()
	var copying sync.WaitGroup
	files := []uintptr{null.Fd()}
	var ends []*os.File
	for _, to := range []io.Writer{stdout, stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return ending, err
		}
		files, ends = append(files, w.Fd()), append(ends, w)
		copying.Go(func() { io.Copy(to, r) })
	}
	os.Clearenv()
	for _, pair := range task.Env {
		name, value, _ := strings.Cut(pair, "=")
		os.Setenv(name, value)
	}
	program, err := look(task.Args[0])
	if err != nil {
		return ending, err
	}
	pid, err := syscall.ForkExec(program, task.Args, &syscall.ProcAttr{
		Dir: task.Dir, Env: task.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	for _, w := range ends {
		w.Close()
	}
	if err != nil {
		return ending, fmt.Errorf("start %s: %w", program, err)
	}
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return ending, err
		}
		if got != pid {
			continue
		}
		ending.Status = status.ExitStatus()
		if status.Signaled() {
			ending.Status = 128 + int(status.Signal())
		}
		break
	}
	// A daemon would hold the pipes open.
	syscall.Kill(-1, syscall.SIGKILL)
	copying.Wait()
	return ending, nil
}

// look finds the program of a command in PATH, as a shell does.
func look(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		program := filepath.Join(dir, name)
		if unix.Access(program, unix.X_OK) == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("no program %s in the machine", name)
}

// deliver writes an archive in which each thing that was asked for has its
// place in the list as its folder.
func deliver(to io.Writer, get []string) error {
	archive := tar.NewWriter(to)
	for i, source := range get {
		err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil || !info.Mode().IsRegular() && !info.IsDir() {
				return err
			}
			rest, err := filepath.Rel(source, path)
			if err != nil {
				return err
			}
			header := &tar.Header{Name: filepath.Join(fmt.Sprint(i), rest), Mode: int64(info.Mode().Perm()), Typeflag: tar.TypeDir}
			if info.IsDir() {
				header.Name += "/"
				return archive.WriteHeader(header)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			header.Typeflag, header.Size = tar.TypeReg, int64(len(text))
			if err := archive.WriteHeader(header); err != nil {
				return err
			}
			_, err = io.Copy(archive, bytes.NewReader(text))
			return err
		})
		if err != nil {
			return fmt.Errorf("hand out %s: %w", source, err)
		}
	}
	return archive.Close()
}
