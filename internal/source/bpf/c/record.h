// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// How an event is put together and sent: in a scratch that belongs to the task, as
// a head and parts one behind the other, which go into the ring in one piece. What
// identities need besides goes into a ring of its own, which the other side reads
// first. ../decode.go reads what is written here.

#pragma once

#include "read.h"
#include <bpf/bpf_tracing.h>
#include "wire.h"
#include "events.h"

// Set before loading.
const volatile u32 want_users; // tell how ids look in the task's user namespace
const volatile u64 born;       // when the machine was booted, in nanoseconds since 1970
const volatile u32 no_opens;   // file_open is there for the first exec alone
const volatile u32 want_hash;  // the number that the kernel has for the digest algorithm
const volatile u32 host;       // tell of every task
const volatile u32 contained;  // what is told of makes a container
const volatile u32 wake_every; // bytes in the ring, a power of two, of which the reader is told
const volatile u32 rules_used; // but of those that rules leave out
const volatile struct rule rules[RULES_MAX];

// Read by the other side.
u64 lost[LOST_CAUSES]; // events that were not written, by cause
u64 live;              // tasks of the workload
u64 execs, tasks_made, files_made;

// Where the one stands who watches: what tasks have in common with that is not
// told as another root or namespace.
u64 home_root;
u32 home_mounts;

// The kernel makes no digests.
u32 no_digests;

// The namespaces of the container, from the exec of its first program on for as
// long as one of its tasks is alive.
u64 box_mounts;
u32 box_pids;

// number is that of a process in its pid namespace.
struct number {
	u32 pid, space;
};

// state is what makes a task one of the workload.
struct state {
	u64 tnum;      // number of the task
	u64 ttd, pttd; // number of its last exec, and of its maker's when it was made
	u64 name, made;        // the dentry that it is about to make, and the number of that
	u64 above, made_above; // the same on an overlay
	struct number number;  // of its process
	u32 mute;              // what it waits for
	u32 counted;           // among the live
	u32 context;           // number of another context that it is in
	u32 exe_dev;           // its executable
	u64 exe_ino;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct state);
} states SEC(".maps");

// exporter is the executable of who exports the host, of which nothing is told.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct own);
} exporter SEC(".maps");

// hashed are the files whose digest was sent.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct version);
	__type(value, u32);
} hashed SEC(".maps");

#define LIMIT 7168 // parts begin before it
#define SLACK 576  // and are no longer

struct scratch {
	u32 busy, used;
	u8 b[LIMIT + SLACK];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

// socket_owners has the number of the exec of who made a socket.
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u64);
} socket_owners SEC(".maps");

// ipc_owners has that of a System V object, by its address.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, u64);
	__type(value, u64);
} ipc_owners SEC(".maps");

// leaders has that of each process, by its number in its pid namespace.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct number);
	__type(value, u64);
} leaders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} notes SEC(".maps");

// head begins each event.
struct head {
	u16 type;
	u8 place, flags;
	u32 pid, tgid, mounts;
	u64 ts, tnum, ttd, pttd, lost;
	char comm[16];
	u32 ids[8];
	u64 capeff;
};

_Static_assert(sizeof(struct head) == HEAD_SIZE, "head");
_Static_assert(sizeof(struct made_note) == NOTE_SIZE, "note");
_Static_assert(sizeof(struct digest_note) == DIGEST_NOTE_SIZE, "digest");
_Static_assert(sizeof(struct state) == STATE_SIZE && __builtin_offsetof(struct state, mute) == MUTE_AT &&
	       __builtin_offsetof(struct state, context) == CONTEXT_AT, "state");

static __always_inline void lose(u32 cause)
{
	__sync_fetch_and_add(&lost[cause], 1);
}

static __always_inline u64 lost_so_far(void)
{
	u64 n = 0;
	for (int i = 0; i < LOST_CAUSES; i++)
		n += lost[i];
	return n;
}

static __always_inline struct state *state_of(struct task_struct *t)
{
	return bpf_task_storage_get(&states, t, 0, 0);
}

// The verifier takes the arguments of hooks for pointers that are never NULL, and
// drops what compares them with it, and some members of structs too. What can be
// NULL after all must therefore come as a number: read with this, or with
// BPF_CORE_READ. What follows looks at objects in the latter way alone, which
// reads nothing from NULL.
static __always_inline void *argument(u64 *ctx, u32 n)
{
	void *p = NULL;
	bpf_probe_read_kernel(&p, sizeof(p), &ctx[n]);
	return p;
}

static __noinline struct state *one_of_all(struct task_struct *t);

// me is the state of the calling task, if it is to be told of.
static __always_inline struct state *me(void)
{
	if (host)
		return one_of_all(bpf_get_current_task_btf());
	struct state *st = state_of(bpf_get_current_task_btf());
	return st && !st->mute ? st : NULL;
}

// Parts. Each begins at a multiple of eight.

static __always_inline void *room(struct scratch *s, u32 size)
{
	u32 at = s->used;
	if (at >= LIMIT)
		return NULL;
	s->used = at + size;
	return s->b + at;
}

static __always_inline void put(struct scratch *s, u64 v)
{
	u64 *p = room(s, 8);
	if (p)
		*p = v;
}

static __always_inline void put2(struct scratch *s, u32 a, u32 b)
{
	u32 *p = room(s, 8);
	if (p) {
		p[0] = a;
		p[1] = b;
	}
}

#define ALIGN8(n) (((n) + 7) & ~7u)
#define TEXT_MAX 4096
#define CHUNK 512

// put_bytes writes size and the bytes, in pieces that have room behind LIMIT.
// What does not fit makes the event one that is too long.
struct copy {
	struct scratch *s;
	u64 from;
	u32 at, left, over;
};

static long copy_piece(u32 i, struct copy *c)
{
	u32 n = c->left < CHUNK ? c->left : CHUNK;
	u32 at = c->at;
	if (n == 0)
		return 1;
	if (at >= LIMIT) {
		c->over = 1;
		return 1;
	}
	if (bpf_probe_read_kernel(c->s->b + at, n & (2 * CHUNK - 1), (void *)c->from))
		return 1;
	c->at = at + n;
	c->from += n;
	c->left -= n;
	return 0;
}

static __noinline void put_bytes(struct scratch *s, const void *from, u32 size)
{
	struct copy c = {.s = s, .from = (u64)from, .left = size};
	put(s, size);
	c.at = s->used;
	if (size)
		bpf_loop(LIMIT / CHUNK + 1, copy_piece, &c, 0);
	s->used = ALIGN8(c.at);
	if (c.over || c.left)
		s->used = LIMIT + SLACK;
}

// put_address writes a socket address.
static __noinline void put_address(struct scratch *s, const void *from, u32 size)
{
	if (size > ADDRESS_MAX)
		size = ADDRESS_MAX;
	put(s, size);
	void *to = room(s, ADDRESS_MAX);
	if (to)
		bpf_probe_read_kernel(to, size & (2 * ADDRESS_MAX - 1), from);
}

// put_text writes a string that ends in NUL.
static __noinline void put_text(struct scratch *s, const char *from)
{
	u64 *size = room(s, 8);
	if (!size)
		return;
	*size = NOTHING;
	if (!from)
		return;
	u64 n = 0;
	for (int i = 0; i < 9; i++) {
		u32 to = s->used;
		if (to >= LIMIT) {
			s->used = LIMIT + SLACK;
			return;
		}
		long got = bpf_probe_read_kernel_str(s->b + to, CHUNK, from + i * (CHUNK - 1));
		if (got <= 0)
			break;
		n += got - 1;
		s->used = to + (u32)(got - 1);
		if (got < CHUNK)
			break;
	}
	*size = n;
	s->used = ALIGN8(s->used);
}

struct inode_part {
	u32 uid, gid, mode, dev;
	u64 magic, ino, size;
	s64 ctime, mtime;
	u32 generation, nlink, flags, pad;
	u8 uuid[16];
	char sid[32];
};

_Static_assert(sizeof(struct inode_part) == INODE_SIZE, "inode");

static __always_inline void stamps(struct inode *i, struct inode_part *p)
{
	struct inode___6 *six = (void *)i;
	struct inode___11 *eleven = (void *)i;
	if (bpf_core_field_exists(eleven->i_ctime_sec)) {
		p->ctime = READ(eleven, i_ctime_sec) * 1000000000 + (READ(eleven, i_ctime_nsec) & CTIME_NSEC);
		p->mtime = READ(eleven, i_mtime_sec) * 1000000000 + READ(eleven, i_mtime_nsec);
		return;
	}
	if (bpf_core_field_exists(six->__i_ctime))
		p->ctime = READ(six, __i_ctime.tv_sec) * 1000000000 + READ(six, __i_ctime.tv_nsec);
	else
		p->ctime = READ(i, i_ctime.tv_sec) * 1000000000 + READ(i, i_ctime.tv_nsec);
	if (bpf_core_field_exists(six->__i_mtime))
		p->mtime = READ(six, __i_mtime.tv_sec) * 1000000000 + READ(six, __i_mtime.tv_nsec);
	else
		p->mtime = READ(i, i_mtime.tv_sec) * 1000000000 + READ(i, i_mtime.tv_nsec);
}

// real tells whether the device number of a file system counts: it has one, or
// directories that can be renamed.
static __always_inline u32 real_device(struct super_block *sb)
{
	if (READ(sb, s_dev) >> 20)
		return 1;
	return READ(sb, s_root, d_inode, i_op, rename) != NULL;
}

static __noinline void put_inode(struct scratch *s, struct inode *i)
{
	struct inode_part *p = room(s, sizeof(*p));
	if (!p)
		return;
	struct super_block *sb = READ(i, i_sb);
	p->uid = READ(i, i_uid.val);
	p->gid = READ(i, i_gid.val);
	p->mode = READ(i, i_mode);
	p->dev = READ(sb, s_dev);
	p->magic = READ(sb, s_magic);
	p->ino = READ(i, i_ino);
	p->size = READ(i, i_size);
	p->generation = READ(i, i_generation);
	p->nlink = READ(i, i_nlink);
	p->flags = real_device(sb);
	stamps(i, p);
	bpf_core_read(p->uuid, sizeof(p->uuid), &sb->s_uuid);
	bpf_core_read(p->sid, sizeof(p->sid), &sb->s_id);
}

// A path is written from its end: each name behind its length.

struct path_part {
	u32 size, flags;
	u32 dev, real;
};

_Static_assert(sizeof(struct path_part) == PATH_SIZE, "path");

struct walk {
	struct scratch *s;
	struct dentry *dentry;
	struct mount *mount; // NULL: to the root of the file system only
	u32 at, flags;
};

static long walk_up(u32 i, struct walk *w)
{
	struct dentry *d = w->dentry, *parent = READ(d, d_parent);
	struct mount *m = w->mount;
	if (m) {
		if (d == READ(m, mnt.mnt_root)) {
			struct mount *above = READ(m, mnt_parent);
			if (above == m)
				return 1;
			w->dentry = READ(m, mnt_mountpoint);
			w->mount = above;
			return 0;
		}
		if (d == parent)
			w->flags |= PATH_DETACHED;
	}
	if (d == parent && !(m && i == 0))
		return 1;
	u32 at = w->at;
	if (at >= LIMIT) {
		w->flags |= PATH_TOO_LONG;
		return 1;
	}
	u32 n = READ(d, d_name.len);
	if (n > 255) { // no file has such a name, but one can be asked for
		n = 255;
		w->flags |= PATH_TOO_LONG;
	}
	w->s->b[at] = n;
	bpf_probe_read_kernel(w->s->b + at + 1, n & 255, READ_TEXT(d, d_name.name));
	w->at = at + 1 + n;
	w->dentry = parent;
	return d == parent;
}

static __noinline void put_path(struct scratch *s, struct dentry *d, struct vfsmount *mnt, u32 flags)
{
	struct walk w = {.s = s, .dentry = d, .flags = flags};
	struct path_part *p = room(s, sizeof(*p));
	if (!p)
		return;
	struct super_block *sb = READ(d, d_sb);
	p->dev = READ(sb, s_dev);
	p->real = real_device(sb);
	if (mnt)
		w.mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	if (d != READ(d, d_parent) && !READ(d, d_hash.pprev))
		w.flags |= PATH_UNLINKED;
	u32 start = s->used;
	w.at = start;
	bpf_loop(2048, walk_up, &w, 0);
	p->size = w.at - start;
	p->flags = w.flags;
	s->used = ALIGN8(w.at);
}

// put_dentry writes the inode, if there is one, and the path.
static __noinline void put_dentry(struct scratch *s, struct dentry *d, struct vfsmount *mnt)
{
	struct inode *i = READ(d, d_inode);
	put(s, i != NULL);
	if (i)
		put_inode(s, i);
	put_path(s, d, mnt, 0);
}

static __noinline void put_file(struct scratch *s, struct file *f)
{
	put(s, READ(f, f_flags));
	struct inode *i = READ(f, f_inode);
	put_inode(s, i);
	put_path(s, READ(f, f_path.dentry), READ(f, f_path.mnt), 0);
	// The invented names of namespaces begin with their kinds.
	const char *kind = NULL;
	if (READ(i, i_sb, s_magic) == NSFS_MAGIC) {
		struct ns_common *ns = READ(i, i_private);
		kind = READ(ns, ops, name);
	}
	put_text(s, kind);
}

// is_hashed tells whether a file system is one of those whose files have digests.
// Mappings of others are not told of.
static __always_inline bool is_hashed(u32 magic)
{
	switch (magic) {
	case 0x01021994: // tmpfs
	case 0x00009fa0: // proc
	case 0x62656572: // sysfs
	case 0x64626720: // debugfs
	case 0x73636673: // securityfs
	case 0xf97cff8c: // selinuxfs
	case 0x43415d53: // smackfs
	case 0x00001cd1: // devpts
	case 0x42494e4d: // binfmt_misc
	case 0x0027e0eb: // cgroup
	case 0x63677270: // cgroup2
	case 0x6e736673: // nsfs
	case 0xde5e81e4: // efivarfs
		return 0;
	}
	return 1;
}

static __noinline void put_sock(struct scratch *s, struct sock *sk)
{
	u64 owner = NOTHING;
	if (sk) {
		u64 *made = bpf_sk_storage_get(&socket_owners, sk, 0, 0);
		if (made)
			owner = *made;
		put2(s, sk->__sk_common.skc_family, sk->sk_type);
		put(s, sk->sk_protocol);
	} else {
		put2(s, 0, 0);
		put(s, 0);
	}
	put(s, owner);
}

static __always_inline void put_socket(struct scratch *s, struct socket *sock)
{
	put_sock(s, sock->sk);
}

static __always_inline void write_ids(u32 *ids, const struct cred *c)
{
	ids[0] = READ(c, uid.val);
	ids[1] = READ(c, euid.val);
	ids[2] = READ(c, suid.val);
	ids[3] = READ(c, gid.val);
	ids[4] = READ(c, egid.val);
	ids[5] = READ(c, sgid.val);
	ids[6] = READ(c, fsuid.val);
	ids[7] = READ(c, fsgid.val);
}

static __always_inline u64 capabilities(const kernel_cap_t *caps)
{
	u64 v = 0;
	bpf_probe_read_kernel(&v, sizeof(v), caps);
	return v;
}

static __noinline void put_creds(struct scratch *s, const struct cred *c)
{
	u32 *ids = room(s, 32);
	if (ids)
		write_ids(ids, c);
	put(s, capabilities(&c->cap_effective));
	put(s, READ(c, securebits));
}

static __noinline void put_perm(struct scratch *s, struct kern_ipc_perm *p)
{
	u64 at = (u64)p;
	u64 *owner = bpf_map_lookup_elem(&ipc_owners, &at);
	put2(s, READ(p, uid.val), READ(p, gid.val));
	put2(s, READ(p, cuid.val), READ(p, cgid.val));
	put(s, READ(p, mode));
	put(s, owner ? *owner : NOTHING);
}

// put_task writes what identifies another task.
static __noinline void put_task(struct scratch *s, struct task_struct *t)
{
	struct state *st = t ? state_of(t) : NULL;
	put(s, st && !st->mute ? st->ttd : NOTHING);
}

// put_users writes the maps of the user namespace of the task, for ids as they
// look from within.
static __noinline void put_users(struct scratch *s, struct user_namespace *ns)
{
	put2(s, READ(ns, uid_map.nr_extents), READ(ns, gid_map.nr_extents));
	void *to = room(s, 2 * sizeof(ns->uid_map.extent));
	if (to) {
		bpf_core_read(to, sizeof(ns->uid_map.extent), &ns->uid_map.extent);
		bpf_core_read(to + sizeof(ns->uid_map.extent), sizeof(ns->gid_map.extent), &ns->gid_map.extent);
	}
}

// begin_of gets the scratch of the calling task, with the head of an event of
// task t in it.
static __noinline struct scratch *begin_of(struct task_struct *t, struct state *st, u32 type)
{
	struct scratch *s = bpf_task_storage_get(&scratches, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s) {
		lose(LOST_MEMORY);
		return NULL;
	}
	if (__sync_lock_test_and_set(&s->busy, 1)) {
		lose(LOST_NESTED);
		return NULL;
	}
	struct head *h = (void *)s->b;
	h->type = type;
	h->pid = t->pid;
	h->tgid = t->tgid;
	h->ts = bpf_ktime_get_boot_ns();
	h->tnum = st->tnum;
	h->ttd = st->ttd;
	h->pttd = st->pttd;
	bpf_probe_read_kernel(h->comm, sizeof(h->comm), t->comm);
	// These follow pointers whose type the verifier knows, which takes no calls.
	const struct cred *c = t->cred;
	h->ids[0] = c->uid.val;
	h->ids[1] = c->euid.val;
	h->ids[2] = c->suid.val;
	h->ids[3] = c->gid.val;
	h->ids[4] = c->egid.val;
	h->ids[5] = c->sgid.val;
	h->ids[6] = c->fsuid.val;
	h->ids[7] = c->fsgid.val;
	h->capeff = capabilities(&c->cap_effective);
	h->mounts = t->nsproxy->mnt_ns->ns.inum;
	h->place = PLACE_ROOT;
	if (h->mounts != home_mounts)
		h->place = PLACE_NAMESPACE;
	else if ((u64)t->fs->root.dentry != home_root)
		h->place = PLACE_CHROOT;
	h->flags = 0;
	s->used = sizeof(*h);
	if (want_users) {
		struct user_namespace *ns = READ(c, user_ns);
		if (READ(ns, level)) {
			h->flags = HEAD_USERS;
			put_users(s, ns);
		}
	}
	if (st->context) {
		h->flags |= HEAD_CONTEXT;
		put(s, st->context);
	}
	return s;
}

static __always_inline struct scratch *begin(struct state *st, u32 type)
{
	return begin_of(bpf_get_current_task_btf(), st, type);
}

static __always_inline void release(struct scratch *s)
{
	*(volatile u32 *)&s->busy = 0;
}

// finish sends the event.
static __noinline int finish(struct scratch *s)
{
	u32 n = s->used;
	if (n >= LIMIT + SLACK) {
		lose(LOST_TOO_LONG);
	} else {
		((struct head *)s->b)->lost = lost_so_far();
		// The reader looks by himself, in time unless much comes at once.
		u64 held = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
		u64 flags = BPF_RB_NO_WAKEUP;
		if ((held ^ (held + n)) & -(u64)wake_every)
			flags = BPF_RB_FORCE_WAKEUP;
		if (bpf_ringbuf_output(&ring, s->b, n, flags))
			lose(LOST_RING);
	}
	release(s);
	return 0;
}

// EVENT is the beginning of a program that tells of an event.
#define EVENT(name)                                            \
	struct state *st = me();                               \
	if (!st)                                               \
		return 0;                                      \
	struct scratch *s = begin(st, EVENT_##name);           \
	if (!s)                                                \
		return 0
