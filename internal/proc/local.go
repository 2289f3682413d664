// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package proc

// local has the file systems that answer without asking anybody: neither
// another process nor another machine, nor a file system below.
var local = map[string]bool{
	"ext2": true, "ext3": true, "ext4": true, "xfs": true, "btrfs": true, "f2fs": true, "bcachefs": true, "zfs": true,
	"jfs": true, "reiserfs": true, "vfat": true, "exfat": true, "ntfs3": true, "hfsplus": true, "udf": true, "iso9660": true,
	"squashfs": true, "erofs": true, "tmpfs": true, "devtmpfs": true, "ramfs": true, "rootfs": true, "hugetlbfs": true,
	"proc": true, "sysfs": true, "cgroup": true, "cgroup2": true, "debugfs": true, "tracefs": true, "securityfs": true,
	"devpts": true, "mqueue": true, "pipefs": true, "sockfs": true, "anon_inodefs": true, "nsfs": true, "pidfs": true,
}

// Local tells whether the file system can be relied on to answer at once. What
// is asked of another may wait for a server, even for one of the workload.
func (m *Mount) Local() bool { return local[m.FSType] }
