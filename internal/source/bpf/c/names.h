// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Where a path leads: the way of the kernel through its cache of names, without a
// lock. What a call has just looked up is there. What is not there, or lies on a
// file system that compares names in its own way, is not found.

#pragma once

#include "tasks.h"

// Where the table of names is, and how far a hash is shifted to be a place in it:
// the other side finds out. 0 while that is not known.
u64 name_table;
u32 name_shift;

#define PATH_BUFFER 4096 // a power of two
#define PATH_SLACK 512

// before is what a task is before an exec.
struct before {
	u32 known, pad;
	char comm[16];
	u32 ids[8];
	u64 capeff;
};

// way is a walk through names.
struct way {
	u64 dentry, mount; // where it is; in the end what was found
	u64 parent, above; // the directory of the last name, and its mount
	u32 at, size;      // in the path
	u32 last, length;  // the last name in it
	u32 which;         // of the two buffers
	u32 follow;        // a link in the last name too
	u32 links;         // that were followed
	u32 state;
	struct before before;
	char path[2 * PATH_BUFFER + PATH_SLACK];
};

enum way_state { WAY_GOES, WAY_FOUND, WAY_ABSENT, WAY_LOST };

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct way);
} ways SEC(".maps");

// place is byte i of one of the buffers, in a way that the verifier can follow.
static __always_inline u32 place(u32 which, u32 i)
{
	u32 x = (which & 1) * PATH_BUFFER + (i & (PATH_BUFFER - 1));
	asm volatile("" : "+r"(x));
	return x & (2 * PATH_BUFFER - 1);
}

static __always_inline char letter(struct way *w, u32 i) { return w->path[place(w->which, i)]; }

static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull
#define GOLDEN 0x61C8864680B583EBull
#define ROL(x, n) ((x) << (n) | (x) >> (64 - (n)))

// hash_name has the hash of a name in its upper half and the length in the lower
// one: hash_name and fold_hash of fs/namei.c, with the words of 64-bit machines.
// The name ends at a slash or NUL. 0 for one that is too long.
__noinline u64 hash_name(struct way *w, u32 at, u64 salt)
{
	if (!w)
		return 0;
	u64 x = 0, y = salt;
	for (u32 len = 0; len < 256; len += 8) {
		if (at + len > PATH_BUFFER)
			return 0;
		u64 a = *(u64 *)&w->path[place(w->which, at + len)];
		u64 b = a ^ ONES * '/';
		u64 ends = ((a - ONES) & ~a & HIGHS) | ((b - ONES) & ~b & HIGHS);
		if (!ends) {
			x ^= a;
			y ^= x;
			x = ROL(x, 12);
			x += y;
			y = ROL(y, 45);
			y *= 9;
			continue;
		}
		u64 mask = ((ends - 1) & ~ends) >> 7;
		u32 n = (mask & ONES) * ONES >> 56; // bytes of the mask
		x ^= a & mask;
		y ^= x * GOLDEN;
		y *= GOLDEN;
		return (y >> 32) << 32 | (len + n);
	}
	return 0;
}

// child finds a name in a directory.
struct bucket {
	u64 node, parent, found;
	u32 hash, length;
};

static long look_into(u32 i, struct bucket *b)
{
	struct dentry *d = (void *)b->node - bpf_core_field_offset(struct dentry, d_hash);
	if (!b->node)
		return 1;
	if (READ(d, d_name.hash) == b->hash && READ(d, d_name.len) == b->length &&
	    (u64)READ(d, d_parent) == b->parent) {
		b->found = (u64)d;
		return 1;
	}
	b->node = (u64)READ(d, d_hash.next);
	return 0;
}

__noinline u64 child(u64 parent, u32 hash, u32 length)
{
	struct bucket b = {.parent = parent, .hash = hash, .length = length};
	if (!name_table)
		return 0;
	bpf_probe_read_kernel(&b.node, 8, (void *)(name_table + 8 * (u64)(hash >> (name_shift & 31))));
	b.node &= ~1ull;
	bpf_loop(128, look_into, &b, 0);
	return b.found;
}

// into goes from what a file system is mounted on to its root.
struct mounts {
	u64 mount, dentry, next, found;
};

static long look_mounted(u32 i, struct mounts *m)
{
	u64 end = m->mount + bpf_core_field_offset(struct mount, mnt_mounts);
	if (m->next == end || !m->next)
		return 1;
	struct mount *c = (void *)m->next - bpf_core_field_offset(struct mount, mnt_child);
	if ((u64)READ(c, mnt_mountpoint) == m->dentry) {
		m->found = (u64)c;
		return 1;
	}
	m->next = (u64)READ(c, mnt_child.next);
	return 0;
}

static __always_inline int into(struct way *w)
{
	if (!w)
		return 0;
	u32 mounted = 0x10000;
	if (bpf_core_enum_value_exists(enum dentry_flags, DCACHE_MOUNTED))
		mounted = bpf_core_enum_value(enum dentry_flags, DCACHE_MOUNTED);
	for (int i = 0; i < 8; i++) {
		struct dentry *d = (void *)w->dentry;
		struct mount *at = (void *)w->mount;
		if (!(READ(d, d_flags) & mounted))
			break;
		struct mounts m = {.mount = w->mount, .dentry = w->dentry, .next = (u64)READ(at, mnt_mounts.next)};
		bpf_loop(4096, look_mounted, &m, 0);
		if (!m.found)
			break;
		struct mount *c = (void *)m.found;
		w->mount = m.found;
		w->dentry = (u64)READ(c, mnt.mnt_root);
	}
	return 0;
}

// up goes to the directory above.
__noinline int up(struct way *w)
{
	struct task_struct *t = bpf_get_current_task_btf();
	if (!w)
		return 0;
	for (int i = 0; i < 8; i++) {
		struct dentry *d = (void *)w->dentry;
		struct mount *m = (void *)w->mount;
		if (d == READ(t, fs, root.dentry) && m == mount_of(READ(t, fs, root.mnt)))
			return 0;
		if (d != READ(m, mnt.mnt_root)) {
			w->dentry = (u64)READ(d, d_parent);
			return into(w);
		}
		struct mount *parent = READ(m, mnt_parent);
		if (parent == m)
			return 0;
		w->dentry = (u64)READ(m, mnt_mountpoint);
		w->mount = (u64)parent;
	}
	return 0;
}

static __always_inline void to_root(struct way *w)
{
	struct task_struct *t = bpf_get_current_task_btf();
	w->dentry = (u64)READ(t, fs, root.dentry);
	w->mount = (u64)mount_of(READ(t, fs, root.mnt));
}

// through goes on where a link leads: its text comes before the rest of the path.
__noinline int through(struct way *w, u64 link)
{
	if (!w)
		return 0;
	u32 from = w->which & 1, to = !from;
	long n = bpf_probe_read_kernel_str(&w->path[to * PATH_BUFFER], PATH_BUFFER, (void *)link);
	u32 left = w->size - w->at;
	w->state = WAY_LOST;
	if (n <= 1 || n > PATH_BUFFER / 2 || left > PATH_SLACK - 1 || w->links > 40)
		return 0;
	if (left) {
		w->path[place(to, n - 1)] = '/';
		bpf_probe_read_kernel(&w->path[place(to, n)], PATH_SLACK, &w->path[place(from, w->at)]);
	}
	w->size = left ? n + left : n - 1;
	w->which = to;
	w->at = 0;
	w->links++;
	w->state = WAY_GOES;
	if (letter(w, 0) == '/') {
		to_root(w);
	} else {
		w->dentry = w->parent;
		w->mount = w->above;
	}
	return 0;
}

// A step goes past one name.
static long step(u32 i, struct way **p)
{
	struct way *w = *p;
	u32 at = w->at;
	if (w->state != WAY_GOES)
		return 1;
	if (at >= PATH_BUFFER)
		goto lost;
	if (letter(w, at) == '/' && at < w->size) {
		w->at = at + 1;
		return 0;
	}
	if (at >= w->size || !letter(w, at)) {
		w->state = WAY_FOUND;
		return 1;
	}
	struct dentry *dir = (void *)w->dentry;
	u64 h = hash_name(w, at, w->dentry);
	u32 length = (u32)h;
	if (!length || length > 255)
		goto lost;
	u32 next = at + length;
	if (next >= PATH_BUFFER)
		goto lost;
	w->last = at;
	w->length = length;
	w->at = next;
	// Slashes at the end belong to the name.
	u32 end = 1;
	for (u32 k = 0; k < 4; k++) {
		u32 x = next + k;
		if (x >= w->size)
			break;
		if (letter(w, x) != '/') {
			end = 0;
			break;
		}
	}
	w->parent = w->dentry;
	w->above = w->mount;
	if (letter(w, at) == '.') {
		if (length == 1)
			return 0;
		if (length == 2 && letter(w, at + 1) == '.') {
			up(w);
			return 0;
		}
	}
	if (READ(dir, d_flags) & 3) // names are hashed or compared in another way
		goto lost;
	struct dentry *d = (void *)child(w->dentry, h >> 32, length);
	struct inode *inode = READ(d, d_inode);
	if (!d || !inode) {
		w->state = d && end ? WAY_ABSENT : WAY_LOST;
		if (!d && end)
			w->state = WAY_ABSENT;
		return 1;
	}
	u32 kind = READ(inode, i_mode) & S_IFMT;
	if (kind == S_IFLNK && (!end || w->follow)) {
		u64 link = (u64)READ(inode, i_link);
		if (!link)
			goto lost;
		through(w, link);
		return 0;
	}
	w->dentry = (u64)d;
	into(w);
	return 0;
lost:
	w->state = WAY_LOST;
	return 1;
}

// go ways on from where w stands, to the end of its path.
static __always_inline int go(struct way *w)
{
	if (!w)
		return 0;
	struct way *p = w;
	bpf_loop(512, step, &p, 0);
	if (w->state == WAY_GOES)
		w->state = WAY_LOST;
	return 0;
}

static __always_inline struct file *descriptor(s32 fd)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct fdtable *table = READ(t, files, fdt);
	struct file **files = READ(table, fd), *f = NULL;
	if ((u32)fd < READ(table, max_fds))
		bpf_probe_read_kernel(&f, sizeof(f), files + fd);
	return f;
}

// set_out stands where a path begins: the directory of a descriptor, or where the
// task works.
static __always_inline void set_out(struct way *w, s32 dirfd)
{
	struct task_struct *t = bpf_get_current_task_btf();
	w->at = w->which = w->links = w->state = w->last = w->length = 0;
	w->parent = w->above = 0;
	if (w->path[0] == '/') {
		to_root(w);
	} else if (dirfd == AT_FDCWD) {
		w->dentry = (u64)READ(t, fs, pwd.dentry);
		w->mount = (u64)mount_of(READ(t, fs, pwd.mnt));
	} else {
		struct file *f = descriptor(dirfd);
		w->dentry = (u64)READ(f, f_path.dentry);
		w->mount = f ? (u64)mount_of(READ(f, f_path.mnt)) : 0;
		if (!f)
			w->state = WAY_LOST;
	}
}

static __always_inline struct way *new_way(void)
{
	struct way *w = bpf_task_storage_get(&ways, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!w)
		lose(LOST_MEMORY);
	return w;
}

// buckets is run by the other side to find the table of names: it writes in which
// place of it a name is, its hash, and what we take for its hash.
SEC("iter/task")
int buckets(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t)
		return 0;
	struct way *w = new_way();
	struct dentry *d = READ(t, mm, exe_file, f_path.dentry);
	if (!w || !d)
		return 0;
	for (int i = 0; i < 4; i++) {
		struct dentry *parent = READ(d, d_parent);
		u64 node = (u64)d + bpf_core_field_offset(struct dentry, d_hash);
		if (parent == d)
			break;
		u64 at = 0;
		for (int k = 0; k < 16; k++) {
			struct hlist_bl_node *n = (void *)node;
			u64 before = (u64)READ(n, pprev), above = 0, back = 0;
			if (!before)
				break;
			// What comes before is another name if that has a pointer to itself
			// where it should.
			bpf_probe_read_kernel(&above, 8, (void *)(before + 8));
			bpf_probe_read_kernel(&back, 8, (void *)above);
			if ((back & ~1ull) != before) {
				at = before;
				break;
			}
			node = before;
		}
		w->which = 0;
		bpf_probe_read_kernel_str(w->path, 256, READ(d, d_name.name));
		u64 pair[2] = {at, (u64)READ(d, d_name.hash) << 32 | (hash_name(w, 0, (u64)parent) >> 32)};
		if (at)
			bpf_seq_write(ctx->meta->seq, pair, sizeof(pair));
		d = parent;
	}
	return 0;
}
