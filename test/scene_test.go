// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quixote-export/tsem"
)

// scene is where an act takes place, and what was there before.
type scene struct {
	t       *testing.T
	dir     string // the act's own folder
	uid     int    // who acts
	stream  *stream
	taskID  tsem.Digest
	pTaskID tsem.Digest

	// Where the file system of dir hangs, and the directory of it that is seen
	// there. Empty: it is the root file system, whole.
	point, root string

	inodes  map[string]tsem.Inode
	devs    map[string]tsem.Dev
	digests map[string]tsem.Digest
}

var zDigest = func() tsem.Digest { d := sha256.Sum256(nil); return d[:] }()

// addr is the address of the first byte of b, for raw system calls.
func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func (s *scene) path(name string) string {
	if filepath.IsAbs(name) || name == "" {
		return filepath.Join(s.dir, strings.TrimPrefix(name, s.dir))
	}
	return filepath.Join(s.dir, name)
}

// write makes a file.
func (s *scene) write(name, content string, mode os.FileMode) {
	s.t.Helper()
	s.do(os.WriteFile(s.path(name), []byte(content), 0o600))
	s.do(os.Chmod(s.path(name), mode))
	if s.uid != 0 {
		s.do(os.Chown(s.path(name), s.uid, s.uid))
		s.do(os.Chmod(s.path(name), mode))
	}
}

func (s *scene) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// remember notes all there is in the folder.
func (s *scene) remember() {
	s.t.Helper()
	s.inodes = make(map[string]tsem.Inode)
	s.devs = make(map[string]tsem.Dev)
	s.digests = make(map[string]tsem.Digest)
	s.do(filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s.inodes[path], s.devs[path] = inodeAt(s.t, path)
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			s.digests[path] = sum[:]
		}
		return nil
	}))
}

// inodeAt describes what is at a path, links not followed.
func inodeAt(t *testing.T, path string) (tsem.Inode, tsem.Dev) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	dir := path
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		dir = filepath.Dir(path)
	}
	in := fileSystem(t, dir)
	in.UID, in.GID, in.Mode = st.Uid, st.Gid, st.Mode
	return in, tsem.Dev{Major: unix.Major(st.Dev), Minor: unix.Minor(st.Dev)}
}

// fileSystem describes the file system of a directory.
func fileSystem(t *testing.T, dir string) (in tsem.Inode) {
	t.Helper()
	var sfs unix.Statfs_t
	var st unix.Stat_t
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	defer unix.Close(fd)
	if err := unix.Fstatfs(fd, &sfs); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	in.Magic = uint32(sfs.Type)
	device := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if link, err := os.Readlink(device); err == nil {
		in.SID = []byte(filepath.Base(link))
	} else if in.Magic == unix.TMPFS_MAGIC {
		in.SID = []byte("tmpfs")
	} else if in.Magic == unix.OVERLAYFS_SUPER_MAGIC {
		in.SID = []byte("overlay")
	}
	const getUUID = 0x80111500 // FS_IOC_GETFSUUID
	var uuid [17]byte
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getUUID, addr(uuid[:])); errno == 0 && uuid[0] == 16 {
		copy(in.UUID[:], uuid[1:])
	}
	return in
}

// inode is what was at a name before the act.
func (s *scene) inode(name string) tsem.Inode {
	s.t.Helper()
	in, ok := s.inodes[s.path(name)]
	if !ok {
		s.t.Fatalf("there was no %s", s.path(name))
	}
	return in
}

// newInode is that of a new file.
func (s *scene) newInode(mode uint32) tsem.Inode {
	in := s.inode("")
	in.UID, in.GID, in.Mode = uint32(s.uid), uint32(s.uid), mode
	return in
}

// absolute is the path of a FILE.
func (s *scene) absolute(name string) tsem.Path {
	return tsem.Path{HasDev: true, Dev: s.devs[s.dir], Type: tsem.PathRoot, Pathname: []byte(s.path(name))}
}

// relative is the path of a DENTRY.
func (s *scene) relative(name string) tsem.Path {
	p := s.absolute(name)
	if rest, ok := strings.CutPrefix(s.path(name), s.point); ok && s.point != "" {
		p.Pathname = []byte(filepath.Join("/", s.root, rest))
	}
	return p
}

// file is a FILE that was there before.
func (s *scene) file(name string, flags uint32) tsem.File {
	s.t.Helper()
	f := tsem.File{Flags: flags, Inode: s.inode(name), Path: s.absolute(name), Digest: s.digests[s.path(name)]}
	if f.Inode.Magic == unix.TMPFS_MAGIC {
		f.Digest = zDigest
	}
	return f
}

// newFile is a FILE that the act makes.
func (s *scene) newFile(name string, flags, mode uint32, instance uint64) tsem.File {
	f := tsem.File{Flags: flags, Inode: s.newInode(unix.S_IFREG | mode), Path: s.absolute(name), Digest: zDigest}
	s.own(&f.Path, instance)
	return f
}

// own marks a path as that of a file which the act made.
func (s *scene) own(p *tsem.Path, instance uint64) {
	p.Created, p.Owner, p.Instance = true, s.taskID, instance
}

// dentry is a DENTRY that was there before.
func (s *scene) dentry(name string) tsem.Dentry {
	s.t.Helper()
	return tsem.Dentry{HasInode: true, Inode: s.inode(name), Path: s.relative(name)}
}

// newName is a DENTRY that is not there yet.
func (s *scene) newName(name string) tsem.Dentry { return tsem.Dentry{Path: s.relative(name)} }

// opened is the event of opening a file.
func opened(f tsem.File) record { return record{tsem.FileOpen, &tsem.FileCell{File: f}} }

// created is the event of making a file or directory.
func (s *scene) created(kind tsem.Type, name string, mode uint32, instance uint64) record {
	s.t.Helper()
	d := s.newName(name)
	s.own(&d.Path, instance)
	return record{kind, &tsem.CreateCell{Dir: s.inode(filepath.Dir(s.path(name))), Dentry: d, Mode: s.asked(mode)}}
}

// asked is the mode that the hook sees: on file systems with access lists the
// umask is applied behind it.
func (s *scene) asked(mode uint32) uint32 {
	_, err := unix.Getxattr(s.dir, "system.posix_acl_default", nil)
	if err == unix.EOPNOTSUPP {
		mode &^= 0o022
	}
	return mode
}

// none is what an act wants that comes to no hook.
func none(*scene) []record { return nil }

// ownCOE is the credentials of this process.
func ownCOE(t *testing.T) (coe tsem.COE) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		ids := func(to ...*uint32) {
			for i, p := range to {
				n, _ := strconv.ParseUint(f[i+1], 10, 32)
				*p = uint32(n)
			}
		}
		switch f[0] {
		case "Uid:":
			ids(&coe.UID, &coe.EUID, &coe.SUID, &coe.FSUID)
		case "Gid:":
			ids(&coe.GID, &coe.EGID, &coe.SGID, &coe.FSGID)
		case "CapEff:":
			coe.CapEff, _ = strconv.ParseUint(f[1], 16, 64)
		}
	}
	return coe
}

// needRoot skips a test that cannot be done without.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
