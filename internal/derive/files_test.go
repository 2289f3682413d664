// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package derive

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/model"
	"quixote-export/tsem"
)

// filer is a caller with the machine's own numbers, and a folder.
func filer(t *testing.T) (*caller, string) {
	t.Helper()
	c := newCaller(t)
	arches, err := Arches(runtime.GOARCH, Interest{model.Default(), true})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range arches[0].Rows {
		c.rows[row.Name] = row
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func (c *caller) write(path, content string) {
	c.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.Fatal(err)
	}
}

// inodeAt describes the inode at path from what the system says of it, without
// the code under test.
func (c *caller) inodeAt(path string) tsem.Inode {
	c.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		c.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		c.Fatal(err)
	}
	in := tsem.Inode{UID: st.Uid, GID: st.Gid, Mode: st.Mode, Magic: uint32(fs.Type)}
	link, err := os.Readlink("/sys/dev/block/" + devNumberOf(st.Dev))
	if err != nil {
		c.Skipf("the folder %s is not on a block device", filepath.Dir(path))
	}
	in.SID = []byte(filepath.Base(link))
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		c.Fatal(err)
	}
	defer dir.Close()
	in.UUID, _ = kernel.FilesystemUUID(int(dir.Fd()))
	return in
}

func devNumberOf(dev uint64) string {
	return uitoa(unix.Major(dev)) + ":" + uitoa(unix.Minor(dev))
}

func uitoa(n uint32) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return uitoa(n/10) + uitoa(n%10)
}

// pathAt is the absolute path of a file whose folder exists.
func (c *caller) pathAt(path string) tsem.Path {
	c.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Dir(path), &st); err != nil {
		c.Fatal(err)
	}
	return tsem.Path{
		HasDev: true, Dev: tsem.Dev{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)},
		Type: tsem.PathRoot, Pathname: []byte(path),
	}
}

// nameAt is a name in a folder: the path begins at the root of the file system.
func (c *caller) nameAt(path string) tsem.Dentry {
	c.Helper()
	p := c.pathAt(path)
	top := filepath.Dir(path)
	for {
		var here, up unix.Stat_t
		if unix.Lstat(top, &here) != nil || unix.Lstat(filepath.Dir(top), &up) != nil || here.Dev != up.Dev || top == "/" {
			break
		}
		top = filepath.Dir(top)
	}
	if top != "/" {
		p.Pathname = []byte(strings.TrimPrefix(path, top))
	}
	return tsem.Dentry{Path: p}
}

// dentryAt is a name with its inode.
func (c *caller) dentryAt(path string) tsem.Dentry {
	c.Helper()
	d := c.nameAt(path)
	d.HasInode, d.Inode = true, c.inodeAt(path)
	return d
}

func (c *caller) fileAt(path string, flags uint32) tsem.File {
	c.Helper()
	f := tsem.File{Flags: flags, Inode: c.inodeAt(path), Path: c.pathAt(path)}
	content, err := os.ReadFile(path)
	if err != nil {
		c.Fatal(err)
	}
	sum := sha256.Sum256(content)
	f.Digest = sum[:]
	return f
}

// madeAs marks a path as that of a file which the task has made.
func (c *caller) madeAs(p tsem.Path, instance uint64) tsem.Path {
	p.Created, p.Owner, p.Instance = true, c.task.TaskID, instance
	return p
}

// at1 is AT_FDCWD as an argument.
const at1 = 1<<64 - 100

func opened(f tsem.File) Event { return Event{tsem.FileOpen, &tsem.FileCell{File: f}} }

func TestOpenExisting(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/file"
	c.write(file, "content")
	for _, test := range []struct{ asked, seen uint64 }{
		{unix.O_RDONLY, largeFile},
		{unix.O_RDWR | unix.O_CLOEXEC, unix.O_RDWR | largeFile},
		{unix.O_WRONLY | unix.O_APPEND | unix.O_NONBLOCK, unix.O_WRONLY | unix.O_APPEND | unix.O_NONBLOCK | largeFile},
		{unix.O_RDONLY | unix.O_CREAT, unix.O_CREAT | largeFile},
		{unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NOATIME, unix.O_NOFOLLOW | unix.O_NOATIME | largeFile},
	} {
		got := c.derive("openat", at1, c.text(file), test.asked, 0o600)
		c.want(got, opened(c.fileAt(file, uint32(test.seen))))
	}
	how := make([]byte, 32)
	how[0] = unix.O_RDWR
	for _, size := range []uint64{24, 32} {
		c.want(c.derive("openat2", at1, c.text(file), c.bytes(how), size), opened(c.fileAt(file, unix.O_RDWR|largeFile)))
	}
	how[24] = 1 // something that is not known here
	c.want(c.derive("openat2", at1, c.text(file), c.bytes(how), 32))
}

func TestOpenTruncates(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/file"
	c.write(file, "content")
	flags := uint32(unix.O_WRONLY | unix.O_TRUNC | largeFile)
	want := opened(c.fileAt(file, flags))
	c.want(c.derive("openat", at1, c.text(file), uint64(flags), 0), want, Event{tsem.InodeSetattr, &tsem.SetattrCell{
		Dentry: c.dentryAt(file), Valid: 8 | 32 | 64 | 8192 | 32768,
	}})
}

func TestOpenCreates(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/new"
	var umask int
	c.within(func() { umask = unix.Umask(0o027); unix.Umask(umask) })
	folder := c.inodeAt(dir)
	flags := uint32(unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL)
	got, fd := c.do(unix.SYS_OPENAT, "openat", at1, c.text(file), uint64(flags), 0o666)
	defer unix.Close(fd)
	name := c.nameAt(file)
	name.Path = c.madeAs(name.Path, 1)
	f := tsem.File{Flags: flags | largeFile, Inode: c.inodeAt(file), Path: c.madeAs(c.pathAt(file), 1)}
	z := sha256.Sum256(nil)
	f.Digest = z[:]
	if !hasACL(dir) {
		t.Skip("the file system keeps no access lists: the hook sees another mode")
	}
	c.want(got, Event{tsem.InodeCreate, &tsem.CreateCell{Dir: folder, Dentry: name, Mode: 0o100666}}, opened(f))
	// Its maker is known afterwards, and its content is not hashed.
	c.write(file, "content")
	f.Flags = largeFile
	f.Inode = c.inodeAt(file)
	c.want(c.derive("openat", at1, c.text(file), unix.O_RDONLY, 0), opened(f))
}

func hasACL(dir string) bool { return kernel.HasXattr(dir, "system.posix_acl_access") }

// What never comes to the hook has no event.
func TestOpenNothing(t *testing.T) {
	c, dir := filer(t)
	c.write(dir+"/file", "x")
	for link, target := range map[string]string{"link": "file", "loop": "loop"} {
		if err := os.Symlink(target, dir+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path  string
		flags uint64
	}{
		{dir + "/none", unix.O_RDONLY}, {dir, unix.O_RDONLY}, {dir + "/fifo", unix.O_RDONLY}, {"/dev/null", unix.O_RDWR},
		{dir + "/file", unix.O_PATH}, {dir + "/file", unix.O_CREAT | unix.O_EXCL}, {dir + "/file", unix.O_DIRECTORY},
		{dir + "/link", unix.O_NOFOLLOW}, {dir + "/loop", unix.O_RDONLY}, {dir + "/file/", unix.O_RDONLY},
		{dir + "/link", unix.O_CREAT | unix.O_EXCL}, {dir + "/none/x", unix.O_CREAT}, {dir + "/new/", unix.O_CREAT},
		{"", unix.O_RDONLY}, {strings.Repeat("x", 256), unix.O_CREAT}, {strings.Repeat("x/", 2100), unix.O_RDONLY},
	} {
		c.want(c.derive("openat", at1, c.text(test.path), test.flags, 0o600))
	}
	c.want(c.derive("openat", at1, 16, 0, 0)) // not an address
}

func TestMmap(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/file"
	c.write(file, "content")
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := uint64(f.Fd())
	c.want(c.derive("mmap", 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, 0),
		Event{tsem.MmapFile, &tsem.MmapCell{HasFile: true, File: c.fileAt(file, unix.O_RDWR|unix.O_APPEND|largeFile), Prot: 3, Flags: 1}})
	c.want(c.derive("mmap", 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, 1<<64-1, 0),
		Event{tsem.MmapFile, &tsem.MmapCell{Prot: 5, Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS}})
	c.want(c.derive("mmap", 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, fd, 0))
	c.want(c.derive("mmap", 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, fd, 1)) // not on a page
	c.want(c.derive("mmap", 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, 9999, 0))
	status, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	c.want(c.derive("mmap", 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, uint64(status.Fd()), 0))
}

func TestDescriptors(t *testing.T) {
	c, dir := filer(t)
	file := dir + "/file"
	c.write(file, "content")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := uint64(f.Fd())
	of := func(kind tsem.Type, cmd uint32) Event {
		return Event{kind, &tsem.FileCmdCell{File: c.fileAt(file, unix.O_RDWR|largeFile), Cmd: cmd}}
	}
	c.want(c.derive("ioctl", fd, unix.TCGETS, 0), of(tsem.FileIoctl, unix.TCGETS))
	c.want(c.derive("fcntl", fd, unix.F_GETFL, 0), of(tsem.FileFcntl, unix.F_GETFL))
	lock := c.bytes(append([]byte{unix.F_WRLCK, 0}, make([]byte, 30)...))
	c.want(c.derive("fcntl", fd, unix.F_SETLK, lock), of(tsem.FileFcntl, unix.F_SETLK), of(tsem.FileLock, unix.F_WRLCK))
	c.want(c.derive("fcntl", fd, unix.F_GETLK, lock), of(tsem.FileFcntl, unix.F_GETLK))
	c.want(c.derive("flock", fd, unix.LOCK_EX|unix.LOCK_NB), of(tsem.FileLock, unix.F_WRLCK))
	c.want(c.derive("flock", fd, unix.LOCK_SH), of(tsem.FileLock, unix.F_RDLCK))
	c.want(c.derive("flock", fd, unix.LOCK_UN), of(tsem.FileLock, unix.F_UNLCK))
	c.want(c.derive("flock", fd, 77))
	for _, call := range []string{"ioctl", "fcntl", "flock"} {
		c.want(c.derive(call, 9999, unix.LOCK_EX))
	}
	c.d.opts.Current = false
	compat := &Call{Task: c.task, Row: c.rows["ioctl"], Args: [6]uint64{fd, unix.TCGETS}, Compat: true}
	c.want(c.d.Derive(compat).Events, of(tsem.FileIoctlCompat, unix.TCGETS))
}
