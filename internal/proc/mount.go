// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"quixote-export/internal/kernel"
	"quixote-export/internal/task"
	"quixote-export/tsem"
)

// Mount is a mount and the file system on it, as events describe them.
type Mount struct {
	Magic  uint32   // s_magic
	SID    []byte   // s_id
	UUID   [16]byte // s_uuid
	HasDev bool     // the device number counts as real
	Dev    tsem.Dev // s_dev
	FSType string
	Pseudo bool // content of its files is never hashed
	NoExec bool
	NoDev  bool
	// DefaultACL: new files take their mode from access lists, so the umask
	// is applied behind the hook.
	DefaultACL bool

	root, point string // where in its file system it begins, and where it hangs
	listed      bool   // in the mount table; else the two are unknown
}

// filesystem is what is special about a type of file system.
type filesystem struct {
	magic  uint32
	noDev  bool // its device number does not count: no device, and directories that cannot be renamed
	pseudo bool // TSEM never hashes its files
}

// filesystems has a row for each type that is not treated like a file system
// on a disk. Without a row a file system on an anonymous device has a device.
var filesystems = map[string]filesystem{
	"anon_inodefs": {unix.ANON_INODE_FS_MAGIC, true, false},
	"autofs":       {unix.AUTOFS_SUPER_MAGIC, true, false},
	"bdev":         {unix.BDEVFS_MAGIC, true, false},
	"binfmt_misc":  {unix.BINFMTFS_MAGIC, true, true},
	"cgroup":       {unix.CGROUP_SUPER_MAGIC, false, true},
	"cgroup2":      {unix.CGROUP2_SUPER_MAGIC, false, true},
	"configfs":     {0x62656570, true, false},
	"debugfs":      {unix.DEBUGFS_MAGIC, true, true},
	"devpts":       {unix.DEVPTS_SUPER_MAGIC, true, true},
	"devtmpfs":     {unix.TMPFS_MAGIC, false, true},
	"dmabuf":       {unix.DMA_BUF_MAGIC, true, false},
	"efivarfs":     {unix.EFIVARFS_MAGIC, true, true},
	"fusectl":      {0x65735543, true, false},
	"mqueue":       {0x19800202, true, false},
	"nsfs":         {unix.NSFS_MAGIC, true, true},
	"pidfs":        {0x50494446, true, false},
	"pipefs":       {unix.PIPEFS_MAGIC, true, false},
	"proc":         {unix.PROC_SUPER_MAGIC, true, true},
	"pstore":       {unix.PSTOREFS_MAGIC, true, false},
	"rpc_pipefs":   {0x67596969, true, false},
	"secretmem":    {unix.SECRETMEM_MAGIC, true, false},
	"securityfs":   {unix.SECURITYFS_MAGIC, true, true},
	"selinuxfs":    {unix.SELINUX_MAGIC, true, true},
	"smackfs":      {unix.SMACK_MAGIC, true, true},
	"sockfs":       {unix.SOCKFS_MAGIC, true, false},
	"sysfs":        {unix.SYSFS_MAGIC, false, true},
	"tmpfs":        {unix.TMPFS_MAGIC, false, true},
	"tracefs":      {unix.TRACEFS_MAGIC, true, false},
}

// Pseudo tells whether TSEM never hashes the files of file systems with that
// magic number.
func Pseudo(magic uint32) bool {
	switch magic {
	case unix.TMPFS_MAGIC, unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC:
		return true
	}
	return filesystems[typeByMagic(magic)].pseudo
}

// typeByMagic names the file systems that have no mount anybody can list.
func typeByMagic(magic uint32) string {
	for name, fs := range filesystems {
		if fs.magic == magic && name != "devtmpfs" {
			return name
		}
	}
	return ""
}

// mounts remembers mounts by their number.
type mounts struct {
	mu     sync.Mutex
	byID   map[uint64]*Mount
	unique bool // the kernel never uses a mount number twice (Linux 6.8)
}

func (m *mounts) init() {
	m.byID = make(map[uint64]*Mount)
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_MNT_ID_UNIQUE, &st)
	m.unique = err == nil && st.Mask&unix.STATX_MNT_ID_UNIQUE != 0
}

// forgetPlaces drops what mounting and unmounting may have made wrong.
func (m *mounts) forgetPlaces() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.byID)
}

// find returns the mount of o, which t has reached.
func (m *mounts) find(l *Lens, t *task.Task, o *Object) *Mount {
	id := o.Stat.Mnt_id
	m.mu.Lock()
	known := m.byID[id]
	m.mu.Unlock()
	if known != nil && m.unique && known.holds(o) {
		return known
	}
	if known != nil && known.Dev == (tsem.Dev{Major: o.Stat.Dev_major, Minor: o.Stat.Dev_minor}) && known.holds(o) {
		return known
	}
	mnt := readMount(l, t, o)
	m.mu.Lock()
	m.byID[id] = mnt
	m.mu.Unlock()
	return mnt
}

// holds tells whether o's path can lie on the mount where it was last seen.
func (m *Mount) holds(o *Object) bool {
	return !m.listed || o.Gone || o.Missing != "" || within(o.Path, m.point)
}

func within(path []byte, dir string) bool {
	n := len(dir)
	return dir == "/" || len(path) >= n && string(path[:n]) == dir && (len(path) == n || path[n] == '/')
}

// relative makes an absolute path one from the root of the file system.
func (m *Mount) relative(path []byte) []byte {
	if !m.listed || !within(path, m.point) {
		return path
	}
	rest := path
	if m.point != "/" {
		rest = path[len(m.point):]
	}
	if m.root != "/" {
		return append([]byte(m.root), bytes.TrimSuffix(rest, []byte("/"))...)
	}
	if len(rest) == 0 {
		return []byte("/")
	}
	return rest
}

func readMount(l *Lens, t *task.Task, o *Object) *Mount {
	m := &Mount{Dev: tsem.Dev{Major: o.Stat.Dev_major, Minor: o.Stat.Dev_minor}}
	fd, err := o.open()
	if err != nil {
		fd = -1 // it has gone meanwhile
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) == nil {
		m.Magic = uint32(fs.Type)
		m.NoExec = fs.Flags&unix.ST_NOEXEC != 0
		m.NoDev = fs.Flags&unix.ST_NODEV != 0
	}
	source := ""
	var st unix.Statx_t
	if kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) == nil {
		source = m.readTable(l, t, st.Mnt_id)
	}
	if m.FSType == "" {
		m.FSType = typeByMagic(m.Magic)
	}
	special := filesystems[m.FSType]
	m.HasDev = m.Dev.Major != 0 || !special.noDev
	m.Pseudo = special.pseudo
	m.SID = m.name(source)
	m.UUID = m.readUUID(o)
	if o.IsDir() || o.IsRegular() {
		link, err := o.link()
		m.DefaultACL = err == nil && kernel.HasXattr(link, "system.posix_acl_access")
	}
	return m
}

// readTable finds the mount by its number in the mount table of t, or in ours
// where t stands on the same root, and returns the mount's source.
func (m *Mount) readTable(l *Lens, t *task.Task, id uint64) (source string) {
	file, root := "/proc/self/mountinfo", "/"
	if p := l.place(t); !p.ours && p.mntns != l.World.mntns {
		// There mount points are told from the root directory of the task,
		// which need not be that of its namespace.
		file, root = kernel.ProcPath(t.TID, "mountinfo"), l.rootPath(t)
	}
	table, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	prefix := strconv.FormatUint(id, 10) + " "
	for line := range strings.Lines(string(table)) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		f := strings.Fields(line)
		sep := 6
		for sep < len(f) && f[sep] != "-" {
			sep++
		}
		if sep+2 >= len(f) {
			return ""
		}
		major, minor, _ := strings.Cut(f[2], ":")
		m.Dev = tsem.Dev{Major: decimal(major), Minor: decimal(minor)}
		m.root, m.point = unquote(f[3]), unquote(f[4])
		if root != "/" {
			m.point = root + strings.TrimSuffix(m.point, "/")
		}
		m.listed = true
		m.FSType = f[sep+1]
		return unquote(f[sep+2])
	}
	return ""
}

// rootPath is the path of t's root directory in its mount tree.
func (l *Lens) rootPath(t *task.Task) string {
	fd, err := l.root(t)
	if err != nil {
		return "/"
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "/"
	}
	return path
}

func decimal(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// unquote undoes the octal escapes of the mount table.
func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// name is the kernel's s_id: the block device, or for the rest the type.
func (m *Mount) name(source string) []byte {
	switch {
	case m.Dev.Major != 0:
		link, err := os.Readlink("/sys/dev/block/" + devNumber(m.Dev))
		if err == nil {
			return []byte(filepath.Base(link))
		}
		return []byte(filepath.Base(source))
	case m.FSType == "btrfs":
		return []byte(filepath.Base(source))
	case m.FSType == "nfs" || m.FSType == "nfs4":
		return []byte(devNumber(m.Dev))
	}
	return []byte(m.FSType)
}

func devNumber(d tsem.Dev) string {
	return strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
}

// readUUID asks the file system for its UUID (Linux 6.9), or looks among the
// links that udev makes; zeros where neither knows.
func (m *Mount) readUUID(o *Object) (uuid [16]byte) {
	// To open a file of a remote file system is an act there, and it has no
	// UUID to tell.
	if (m.Local() || m.FSType == "overlay") && (o.IsDir() || o.IsRegular()) {
		if fd, err := o.OpenRead(); err == nil {
			uuid, err = kernel.FilesystemUUID(fd)
			unix.Close(fd)
			if err == nil {
				return uuid
			}
		}
	}
	if m.listed && m.Dev.Major != 0 {
		if fd, err := unix.Open(m.point, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err == nil {
			var st unix.Statx_t
			same := kernel.Stat(fd, emptyPath, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st) == nil &&
				st.Dev_major == o.Stat.Dev_major && st.Dev_minor == o.Stat.Dev_minor
			uuid, err = kernel.FilesystemUUID(fd)
			unix.Close(fd)
			if same && err == nil {
				return uuid
			}
		}
		return uuidByLink(m.Dev)
	}
	return [16]byte{}
}

func uuidByLink(d tsem.Dev) (uuid [16]byte) {
	const dir = "/dev/disk/by-uuid"
	links, _ := os.ReadDir(dir)
	for _, link := range links {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, link.Name()), &st) != nil ||
			unix.Major(st.Rdev) != d.Major || unix.Minor(st.Rdev) != d.Minor {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(link.Name(), "-", ""))
		if err == nil && len(b) == len(uuid) {
			copy(uuid[:], b)
		}
	}
	return uuid
}
