// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import "testing"

func TestWhereGroupsAre(t *testing.T) {
	const (
		tmpfs   = "30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
		first   = "39 30 0:36 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
		unified = "40 30 0:37 / /sys/fs/cgroup/unified rw,relatime shared:11 - cgroup2 cgroup2 rw\n"
		alone   = "31 23 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
		part    = "50 23 0:37 /system.slice/a.service /mnt/a\\040part rw - cgroup2 none rw\n"
	)
	for name, row := range map[string]struct {
		table string
		want  groups
		found bool
	}{
		"version 2 alone":  {alone, groups{"/sys/fs/cgroup", 0}, true},
		"both":             {tmpfs + first + unified, groups{"/sys/fs/cgroup/unified", 0}, true},
		"a part":           {part, groups{"/mnt/a part", 2}, true},
		"a part, and all":  {part + unified, groups{"/sys/fs/cgroup/unified", 0}, true},
		"version 1 alone":  {tmpfs + first, groups{}, false},
		"nothing":          {"", groups{}, false},
		"half of a line":   {"40 30 - cgroup2\n", groups{}, false},
		"nothing behind -": {"40 30 0:37 / /x rw - \n", groups{}, false},
	} {
		if g, found := findGroups(row.table); g != row.want || found != row.found {
			t.Errorf("%s: %+v, %v", name, g, found)
		}
	}
}
