// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Programs on the security hooks of the kernel, which tell of the tasks of one
// workload, or of the whole host, what they do, and do nothing else: each
// returns what the kernel takes for no opinion.
//
// A task of the workload has a state; its children inherit it, so nobody else
// ever has one. On the whole host every task gets one. An event is put together in a scratch that belongs to the task,
// as a head and parts one behind the other, and goes into the ring in one piece.
// What identities need besides goes into a ring of its own, which the other
// side reads first. ../event.go reads what is written here.

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "wire.h"
#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// Set before loading.
const volatile u32 want_users; // tell how ids look in the task's user namespace
const volatile u64 born;       // when the machine was booted, in nanoseconds since 1970
const volatile u32 no_opens;   // file_open is there for the first exec alone
const volatile u32 want_hash;  // the number that the kernel has for the digest algorithm
const volatile u32 host;       // tell of every task
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

// The namespaces of the container, when its first program is executed.
u32 box_mounts, box_pids;

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
		p->ctime = BPF_CORE_READ(eleven, i_ctime_sec) * 1000000000 + BPF_CORE_READ(eleven, i_ctime_nsec);
		p->mtime = BPF_CORE_READ(eleven, i_mtime_sec) * 1000000000 + BPF_CORE_READ(eleven, i_mtime_nsec);
		return;
	}
	if (bpf_core_field_exists(six->__i_ctime))
		p->ctime = BPF_CORE_READ(six, __i_ctime.tv_sec) * 1000000000 + BPF_CORE_READ(six, __i_ctime.tv_nsec);
	else
		p->ctime = BPF_CORE_READ(i, i_ctime.tv_sec) * 1000000000 + BPF_CORE_READ(i, i_ctime.tv_nsec);
	if (bpf_core_field_exists(six->__i_mtime))
		p->mtime = BPF_CORE_READ(six, __i_mtime.tv_sec) * 1000000000 + BPF_CORE_READ(six, __i_mtime.tv_nsec);
	else
		p->mtime = BPF_CORE_READ(i, i_mtime.tv_sec) * 1000000000 + BPF_CORE_READ(i, i_mtime.tv_nsec);
}

// real tells whether the device number of a file system counts: it has one, or
// directories that can be renamed.
static __always_inline u32 real_device(struct super_block *sb)
{
	if (BPF_CORE_READ(sb, s_dev) >> 20)
		return 1;
	return BPF_CORE_READ(sb, s_root, d_inode, i_op, rename) != NULL;
}

static __noinline void put_inode(struct scratch *s, struct inode *i)
{
	struct inode_part *p = room(s, sizeof(*p));
	if (!p)
		return;
	struct super_block *sb = BPF_CORE_READ(i, i_sb);
	p->uid = BPF_CORE_READ(i, i_uid.val);
	p->gid = BPF_CORE_READ(i, i_gid.val);
	p->mode = BPF_CORE_READ(i, i_mode);
	p->dev = BPF_CORE_READ(sb, s_dev);
	p->magic = BPF_CORE_READ(sb, s_magic);
	p->ino = BPF_CORE_READ(i, i_ino);
	p->size = BPF_CORE_READ(i, i_size);
	p->generation = BPF_CORE_READ(i, i_generation);
	p->nlink = BPF_CORE_READ(i, i_nlink);
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
	struct dentry *d = w->dentry, *parent = BPF_CORE_READ(d, d_parent);
	struct mount *m = w->mount;
	if (m) {
		if (d == BPF_CORE_READ(m, mnt.mnt_root)) {
			struct mount *above = BPF_CORE_READ(m, mnt_parent);
			if (above == m)
				return 1;
			w->dentry = BPF_CORE_READ(m, mnt_mountpoint);
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
	u32 n = BPF_CORE_READ(d, d_name.len);
	if (n > 255)
		n = 255;
	w->s->b[at] = n;
	bpf_probe_read_kernel(w->s->b + at + 1, n & 255, BPF_CORE_READ(d, d_name.name));
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
	struct super_block *sb = BPF_CORE_READ(d, d_sb);
	p->dev = BPF_CORE_READ(sb, s_dev);
	p->real = real_device(sb);
	if (mnt)
		w.mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	if (d != BPF_CORE_READ(d, d_parent) && !BPF_CORE_READ(d, d_hash.pprev))
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
	struct inode *i = BPF_CORE_READ(d, d_inode);
	put(s, i != NULL);
	if (i)
		put_inode(s, i);
	put_path(s, d, mnt, 0);
}

static __noinline void put_file(struct scratch *s, struct file *f)
{
	put(s, BPF_CORE_READ(f, f_flags));
	struct inode *i = BPF_CORE_READ(f, f_inode);
	put_inode(s, i);
	put_path(s, BPF_CORE_READ(f, f_path.dentry), BPF_CORE_READ(f, f_path.mnt), 0);
	// The invented names of namespaces begin with their kinds.
	const char *kind = NULL;
	if (BPF_CORE_READ(i, i_sb, s_magic) == NSFS_MAGIC) {
		struct ns_common *ns = BPF_CORE_READ(i, i_private);
		kind = BPF_CORE_READ(ns, ops, name);
	}
	put_text(s, kind);
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
	ids[0] = BPF_CORE_READ(c, uid.val);
	ids[1] = BPF_CORE_READ(c, euid.val);
	ids[2] = BPF_CORE_READ(c, suid.val);
	ids[3] = BPF_CORE_READ(c, gid.val);
	ids[4] = BPF_CORE_READ(c, egid.val);
	ids[5] = BPF_CORE_READ(c, sgid.val);
	ids[6] = BPF_CORE_READ(c, fsuid.val);
	ids[7] = BPF_CORE_READ(c, fsgid.val);
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
	put(s, BPF_CORE_READ(c, securebits));
}

static __noinline void put_perm(struct scratch *s, struct kern_ipc_perm *p)
{
	u64 at = (u64)p;
	u64 *owner = bpf_map_lookup_elem(&ipc_owners, &at);
	put2(s, BPF_CORE_READ(p, uid.val), BPF_CORE_READ(p, gid.val));
	put2(s, BPF_CORE_READ(p, cuid.val), BPF_CORE_READ(p, cgid.val));
	put(s, BPF_CORE_READ(p, mode));
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
	put2(s, BPF_CORE_READ(ns, uid_map.nr_extents), BPF_CORE_READ(ns, gid_map.nr_extents));
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
	const struct cred *c = BPF_CORE_READ(t, cred);
	write_ids(h->ids, c);
	h->capeff = capabilities(&c->cap_effective);
	h->mounts = BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum);
	h->place = PLACE_ROOT;
	if (h->mounts != home_mounts)
		h->place = PLACE_NAMESPACE;
	else if ((u64)BPF_CORE_READ(t, fs, root.dentry) != home_root)
		h->place = PLACE_CHROOT;
	h->flags = 0;
	s->used = sizeof(*h);
	if (want_users) {
		struct user_namespace *ns = BPF_CORE_READ(c, user_ns);
		if (BPF_CORE_READ(ns, level)) {
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
		if (bpf_ringbuf_output(&ring, s->b, n, 0))
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

// Membership.

static __always_inline struct number number_of(struct task_struct *t)
{
	struct number n = {};
	struct pid *pid = BPF_CORE_READ(t, thread_pid);
	struct upid *own = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			   BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
	n.pid = BPF_CORE_READ(own, nr);
	n.space = BPF_CORE_READ(own, ns, ns.inum);
	return n;
}

// count adds a task to the live.
static __always_inline void count(struct task_struct *t, struct state *st)
{
	if (st->counted)
		return;
	st->counted = 1;
	__sync_fetch_and_add(&live, 1);
	if (t->pid == t->tgid) {
		st->number = number_of(t);
		bpf_map_update_elem(&leaders, &st->number, &st->ttd, BPF_ANY);
	}
}

// discount takes one off. With the last the workload has ended.
static __always_inline void discount(struct state *st)
{
	if (!st->counted)
		return;
	st->counted = 0;
	if (__sync_fetch_and_sub(&live, 1) == 1 && !host) {
		// If there is no room for it, the other side looks at live.
		u64 note = NOTE_END;
		bpf_ringbuf_output(&ring, &note, sizeof(note), BPF_RB_FORCE_WAKEUP);
	}
}

// awaken begins to tell of a task that waits for its first exec, and returns
// its state if that is now. A thread that is not the first of its process
// becomes it by the exec. Somebody who has entered the namespaces of a container
// from outside is one of it from its exec on.
static __noinline struct state *awaken(struct task_struct *t)
{
	struct state *st = state_of(t);
	u32 mounts = BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum);
	if (st && st->mute == MUTE_RUNTIME) {
		if (mounts == home_mounts)
			return NULL;
		box_pids = number_of(t).space;
		box_mounts = mounts;
	}
	if (!st) {
		if (mounts != box_mounts || number_of(t).space != box_pids) {
			struct task_struct *leader = t->group_leader;
			struct state *first = state_of(leader);
			if (!first || first->mute != MUTE_EXEC)
				return NULL;
			first->mute = 0;
		}
		st = bpf_task_storage_get(&states, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!st) {
			lose(LOST_TASK);
			return NULL;
		}
		st->mute = 1;
	}
	st->mute = 0;
	st->tnum = __sync_fetch_and_add(&tasks_made, 1) + 1;
	count(t, st);
	return st;
}

// note sends what is in the scratch to the other ring.
static __noinline int note(struct scratch *s)
{
	u32 n = s->used;
	if (n >= LIMIT + SLACK || bpf_ringbuf_output(&notes, s->b, n, 0))
		lose(LOST_NOTE);
	release(s);
	return 0;
}

// The whole host.

static __always_inline void note_executable(struct state *st, struct file *exe)
{
	struct inode *i = BPF_CORE_READ(exe, f_inode);
	st->exe_ino = BPF_CORE_READ(i, i_ino);
	st->exe_dev = BPF_CORE_READ(i, i_sb, s_dev);
}

// introduce gives an identity to a process of which nothing is known: it was
// there before us. It is that of an exec by its parent.
static __noinline void introduce(struct task_struct *t, struct state *st)
{
	struct file *exe = BPF_CORE_READ(t, mm, exe_file);
	st->ttd = st->pttd = NOTHING;
	if (exe) {
		struct task_struct *parent = t->real_parent;
		struct state *maker = parent ? state_of(parent) : NULL;
		if (maker && maker->tnum)
			st->pttd = maker->ttd;
		note_executable(st, exe);
		struct scratch *s = begin_of(t, st, NOTE_EXEC);
		st->ttd = __sync_fetch_and_add(&execs, 1) + 1;
		if (s) {
			put(s, st->ttd);
			put_file(s, exe);
			note(s);
		}
	}
	st->tnum = __sync_fetch_and_add(&tasks_made, 1) + 1;
	count(t, st);
}

// met is the state of any task, which gets one if it has none.
static __noinline struct state *met(struct task_struct *t)
{
	struct state *st = bpf_task_storage_get(&states, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!st) {
		lose(LOST_TASK);
		return NULL;
	}
	if (st->tnum)
		return st;
	if (t->pid == t->tgid) {
		introduce(t, st);
		return st;
	}
	struct task_struct *leader = t->group_leader;
	struct state *first = bpf_task_storage_get(&states, leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!first) {
		lose(LOST_TASK);
		return NULL;
	}
	if (!first->tnum)
		introduce(leader, first);
	st->ttd = first->ttd;
	st->pttd = first->pttd;
	st->context = first->context;
	st->exe_ino = first->exe_ino;
	st->exe_dev = first->exe_dev;
	st->tnum = __sync_fetch_and_add(&tasks_made, 1) + 1;
	count(t, st);
	return st;
}

// left_out tells whether a rule says that the calling task is not told of.
static __noinline u32 left_out(struct task_struct *t, struct state *st)
{
	u32 wanted = 0, is = 0;
	for (u32 i = 0; i < RULES_MAX && i < rules_used; i++) {
		const volatile struct rule *r = &rules[i];
		u32 kind = r->kind, holds;
		if (kind == RULE_UID)
			holds = BPF_CORE_READ(t, cred, uid.val) == (u32)r->id;
		else if (kind == RULE_EXECUTABLE)
			holds = st->exe_ino == r->id && st->exe_dev == r->at;
		else
			holds = bpf_get_current_ancestor_cgroup_id(r->at) == r->id;
		if (!r->only && holds)
			return 1;
		if (r->only) {
			wanted |= 1 << (kind & 3);
			is |= holds << (kind & 3);
		}
	}
	return wanted & ~is;
}

static __noinline struct state *one_of_all(struct task_struct *t)
{
	struct state *st = state_of(t);
	if (!st || !st->tnum) {
		st = met(t);
		if (!st)
			return NULL;
	}
	u32 zero = 0;
	struct own *own = bpf_map_lookup_elem(&exporter, &zero);
	if (own && st->exe_ino == own->ino && st->exe_dev == own->dev)
		return NULL;
	if (rules_used && left_out(t, st))
		return NULL;
	return st;
}

SEC("lsm/task_alloc")
int BPF_PROG(task_alloc, struct task_struct *task, unsigned long clone_flags)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct state *st = host ? met(t) : state_of(t);
	if (!st || st->mute == MUTE_EXEC)
		return 0;
	struct state *child = bpf_task_storage_get(&states, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!child) {
		lose(LOST_TASK);
		return 0;
	}
	child->mute = st->mute;
	if (st->mute)
		return 0;
	child->ttd = child->pttd = st->ttd;
	child->context = st->context;
	child->exe_ino = st->exe_ino;
	child->exe_dev = st->exe_dev;
	child->tnum = __sync_fetch_and_add(&tasks_made, 1) + 1;
	return 0;
}

// Workers of io_uring do not come here, and do not outlive their makers.
SEC("tp_btf/task_newtask")
int BPF_PROG(task_newtask, struct task_struct *task, unsigned long clone_flags)
{
	struct state *st = state_of(task);
	if (st && !st->mute)
		count(task, st);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct state *st = state_of(task);
	if (st)
		discount(st);
	return 0;
}

SEC("lsm/task_free")
void BPF_PROG(task_free, struct task_struct *task)
{
	struct state *st = state_of(task);
	if (!st)
		return;
	if (st->number.pid)
		bpf_map_delete_elem(&leaders, &st->number);
	discount(st);
}

SEC("lsm/bprm_committed_creds")
void BPF_PROG(bprm_committed_creds, struct linux_binprm *bprm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct state *st = host ? met(t) : me();
	if (!st)
		return;
	if (host)
		note_executable(st, bprm->file);
	u64 ttd = __sync_fetch_and_add(&execs, 1) + 1;
	struct scratch *s = begin(st, NOTE_EXEC);
	st->ttd = ttd;
	st->number = number_of(t);
	bpf_map_update_elem(&leaders, &st->number, &st->ttd, BPF_ANY);
	if (!s)
		return;
	put(s, ttd);
	put_file(s, bprm->file);
	note(s);
}

// making notes that the task is about to make what dentry names. A file system
// that lies on another has that make something too.
static __always_inline u64 making(struct state *st, struct inode *dir, struct dentry *dentry)
{
	u32 above = BPF_CORE_READ(dir, i_sb, s_magic) == OVERLAYFS_MAGIC;
	u64 made = __sync_fetch_and_add(&files_made, 1) + 1;
	if (above) {
		st->above = (u64)dentry;
		st->made_above = made;
	} else {
		st->name = (u64)dentry;
		st->made = made;
	}
	return made;
}

SEC("lsm/d_instantiate")
void BPF_PROG(d_instantiate, struct dentry *dentry)
{
	struct state *st = me();
	if (!st)
		return;
	struct inode *inode = argument(ctx, 1);
	if (!inode)
		return;
	struct made_note n = {.type = NOTE_MADE};
	if (st->name == (u64)dentry) {
		n.made = st->made;
		st->name = 0;
	} else if (st->above == (u64)dentry) {
		n.made = st->made_above;
		st->above = 0;
	} else {
		return;
	}
	n.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	n.generation = BPF_CORE_READ(inode, i_generation);
	n.ino = BPF_CORE_READ(inode, i_ino);
	if (bpf_ringbuf_output(&notes, &n, sizeof(n), 0))
		lose(LOST_NOTE);
}

SEC("lsm/socket_post_create")
int BPF_PROG(socket_post_create, struct socket *sock, int family, int type, int protocol, int kern)
{
	struct state *st = me();
	struct sock *sk = sock->sk;
	if (!st || !sk)
		return 0;
	u64 *owner = bpf_sk_storage_get(&socket_owners, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (owner)
		*owner = st->ttd;
	else
		lose(LOST_OWNER);
	return 0;
}

static __always_inline int own_ipc(struct kern_ipc_perm *perm)
{
	struct state *st = me();
	u64 at = (u64)perm;
	if (st && bpf_map_update_elem(&ipc_owners, &at, &st->ttd, BPF_ANY))
		lose(LOST_OWNER);
	return 0;
}

static __always_inline void disown_ipc(struct kern_ipc_perm *perm)
{
	u64 at = (u64)perm;
	bpf_map_delete_elem(&ipc_owners, &at);
}

#define IPC_LIFE(kind)                                                  \
	SEC("lsm/" #kind "_alloc_security")                             \
	int BPF_PROG(kind##_alloc_security, struct kern_ipc_perm *perm) \
	{                                                               \
		return own_ipc(perm);                                   \
	}                                                               \
	SEC("lsm/" #kind "_free_security")                              \
	void BPF_PROG(kind##_free_security, struct kern_ipc_perm *perm) \
	{                                                               \
		disown_ipc(perm);                                       \
	}
IPC_LIFE(shm)
IPC_LIFE(sem)
IPC_LIFE(msg_queue)

// Families of events.

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file)
{
	struct state *st = me();
	if (!st) {
		if (host || !(BPF_CORE_READ(file, f_flags) & FMODE_EXEC))
			return 0;
		st = awaken(bpf_get_current_task_btf());
		if (!st)
			return 0;
	}
	if (no_opens || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	struct scratch *s = begin(st, EVENT_file_open);
	if (!s)
		return 0;
	put_file(s, file);
	return finish(s);
}

SEC("lsm/file_receive")
int BPF_PROG(file_receive, struct file *file)
{
	EVENT(file_receive);
	put_file(s, file);
	return finish(s);
}

#define FILE_COMMAND(hook)                                                                   \
	SEC("lsm/" #hook)                                                                    \
	int BPF_PROG(hook, struct file *file, unsigned int cmd)                              \
	{                                                                                    \
		EVENT(hook);                                                                 \
		put_file(s, file);                                                           \
		put(s, (u32)cmd);                                                            \
		return finish(s);                                                            \
	}
FILE_COMMAND(file_ioctl)
FILE_COMMAND(file_ioctl_compat)
FILE_COMMAND(file_lock)
FILE_COMMAND(file_fcntl)

SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, void *unused, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	struct file *file = argument(ctx, 0);
	if (!file && !(prot & PROT_EXEC))
		return 0;
	EVENT(mmap_file);
	put2(s, prot, flags);
	put(s, file != NULL);
	if (file)
		put_file(s, file);
	return finish(s);
}

#define NODE(hook, ...) SEC("lsm/" #hook) int BPF_PROG(hook, __VA_ARGS__)

NODE(inode_create, struct inode *dir, struct dentry *dentry, umode_t mode)
{
	EVENT(inode_create);
	put(s, making(st, dir, dentry));
	put_inode(s, dir);
	put_dentry(s, dentry, NULL);
	put(s, mode);
	return finish(s);
}

NODE(inode_mkdir, struct inode *dir, struct dentry *dentry, umode_t mode)
{
	EVENT(inode_mkdir);
	put(s, making(st, dir, dentry));
	put_inode(s, dir);
	put_dentry(s, dentry, NULL);
	put(s, mode);
	return finish(s);
}

NODE(inode_unlink, struct inode *dir, struct dentry *dentry)
{
	EVENT(inode_unlink);
	put_inode(s, dir);
	put_dentry(s, dentry, NULL);
	return finish(s);
}

NODE(inode_rmdir, struct inode *dir, struct dentry *dentry)
{
	EVENT(inode_rmdir);
	put_inode(s, dir);
	put_dentry(s, dentry, NULL);
	return finish(s);
}

NODE(inode_link, struct dentry *old, struct inode *dir, struct dentry *new)
{
	EVENT(inode_link);
	put_dentry(s, old, NULL);
	put_inode(s, dir);
	put_dentry(s, new, NULL);
	return finish(s);
}

NODE(inode_symlink, struct inode *dir, struct dentry *dentry, const char *old_name)
{
	EVENT(inode_symlink);
	put_inode(s, dir);
	put_dentry(s, dentry, NULL);
	put_text(s, old_name);
	return finish(s);
}

NODE(inode_mknod, struct inode *dir, struct dentry *dentry, umode_t mode, u32 dev)
{
	EVENT(inode_mknod);
	put_inode(s, dir);
	put_dentry(s, dentry, NULL);
	put2(s, mode, dev);
	return finish(s);
}

NODE(inode_rename, struct inode *old_dir, struct dentry *old, struct inode *new_dir, struct dentry *new)
{
	EVENT(inode_rename);
	put_inode(s, old_dir);
	put_dentry(s, old, NULL);
	put_inode(s, new_dir);
	put_dentry(s, new, NULL);
	return finish(s);
}

static __always_inline int set_attributes(struct dentry *dentry, struct iattr *attr)
{
	EVENT(inode_setattr);
	put_dentry(s, dentry, NULL);
	put2(s, BPF_CORE_READ(attr, ia_valid), BPF_CORE_READ(attr, ia_mode));
	put2(s, BPF_CORE_READ(attr, ia_uid.val), BPF_CORE_READ(attr, ia_gid.val));
	put(s, BPF_CORE_READ(attr, ia_size));
	return finish(s);
}

NODE(inode_setattr, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	return set_attributes(dentry, attr);
}

// Before Linux 6.3.
SEC("lsm/inode_setattr")
int BPF_PROG(inode_setattr_1, struct dentry *dentry, struct iattr *attr)
{
	return set_attributes(dentry, attr);
}

NODE(inode_getattr, struct path *path)
{
	EVENT(inode_getattr);
	put_dentry(s, BPF_CORE_READ(path, dentry), BPF_CORE_READ(path, mnt));
	return finish(s);
}

SEC("lsm/inode_setxattr")
int inode_setxattr(u64 *ctx)
{
	// The value is of no type, and cannot be taken as an argument.
	u64 args[6] = {};
	bpf_probe_read_kernel(args, sizeof(args), ctx);
	struct dentry *dentry = (void *)ctx[1];
	EVENT(inode_setxattr);
	put_dentry(s, dentry, NULL);
	put_text(s, (const char *)args[2]);
	put(s, (u32)args[5]);
	put_bytes(s, (void *)args[3], args[4] < TEXT_MAX * 16 ? args[4] : TEXT_MAX * 16);
	return finish(s);
}

NODE(inode_getxattr, struct dentry *dentry, const char *name)
{
	EVENT(inode_getxattr);
	put_dentry(s, dentry, NULL);
	put_text(s, name);
	return finish(s);
}

NODE(inode_removexattr, void *idmap, struct dentry *dentry, const char *name)
{
	EVENT(inode_removexattr);
	put_dentry(s, dentry, NULL);
	put_text(s, name);
	return finish(s);
}

NODE(inode_listxattr, struct dentry *dentry)
{
	EVENT(inode_listxattr);
	put_dentry(s, dentry, NULL);
	return finish(s);
}

NODE(inode_killpriv, void *idmap, struct dentry *dentry)
{
	EVENT(inode_killpriv);
	put_dentry(s, dentry, NULL);
	return finish(s);
}

NODE(sb_statfs, struct dentry *dentry)
{
	EVENT(sb_statfs);
	put_dentry(s, dentry, NULL);
	return finish(s);
}

NODE(quota_on, struct dentry *dentry)
{
	EVENT(quota_on);
	put_dentry(s, dentry, NULL);
	return finish(s);
}

// put_place writes a PATH: the path, and what tells who made it.
static __noinline void put_place(struct scratch *s, struct path *p)
{
	struct dentry *d = BPF_CORE_READ(p, dentry);
	put_inode(s, BPF_CORE_READ(d, d_inode));
	put_path(s, d, BPF_CORE_READ(p, mnt), 0);
}

NODE(sb_mount, const char *dev_name, struct path *path, const char *type, unsigned long flags)
{
	EVENT(sb_mount);
	put_text(s, dev_name);
	put_place(s, path);
	put_text(s, type);
	put(s, flags);
	return finish(s);
}

NODE(sb_umount, struct vfsmount *mnt, int flags)
{
	EVENT(sb_umount);
	put_dentry(s, BPF_CORE_READ(mnt, mnt_root), NULL);
	put(s, (u32)flags);
	return finish(s);
}

static __noinline void put_superblock(struct scratch *s, struct super_block *sb)
{
	put_dentry(s, BPF_CORE_READ(sb, s_root), NULL);
	put_text(s, BPF_CORE_READ(sb, s_type, name));
	put(s, BPF_CORE_READ(sb, s_flags));
}

NODE(sb_remount, struct super_block *sb)
{
	EVENT(sb_remount);
	put_superblock(s, sb);
	return finish(s);
}

NODE(sb_pivotroot, struct path *old_path, struct path *new_path)
{
	EVENT(sb_pivotroot);
	put_place(s, old_path);
	put_place(s, new_path);
	return finish(s);
}

NODE(move_mount, struct path *from, struct path *to)
{
	EVENT(move_mount);
	put_place(s, from);
	put_place(s, to);
	return finish(s);
}

NODE(quotactl, int cmds, int type, int id)
{
	struct super_block *sb = argument(ctx, 3);
	EVENT(quotactl);
	put2(s, cmds, type);
	put2(s, id, sb != NULL);
	if (sb)
		put_superblock(s, sb);
	return finish(s);
}

NODE(socket_create, int family, int type, int protocol, int kern)
{
	EVENT(socket_create);
	put2(s, family, type);
	put2(s, protocol, kern);
	return finish(s);
}

#define ADDRESSED(hook)                                                                   \
	NODE(hook, struct socket *sock, struct sockaddr *address, int size)               \
	{                                                                                 \
		EVENT(hook);                                                              \
		put_socket(s, sock);                                                      \
		put_address(s, address, size);                                            \
		return finish(s);                                                         \
	}
ADDRESSED(socket_connect)
ADDRESSED(socket_bind)

NODE(socket_accept, struct socket *sock)
{
	EVENT(socket_accept);
	put_socket(s, sock);
	struct sock *sk = BPF_CORE_READ(sock, sk);
	struct inet_sock *inet = (void *)sk;
	put2(s, BPF_CORE_READ(inet, inet_sport), BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	u8 *six = room(s, 16);
	if (six)
		bpf_core_read(six, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	struct unix_address *own = NULL;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX) {
		struct unix_sock *u = (void *)sk;
		own = BPF_CORE_READ(u, addr);
	}
	put_address(s, own ? (void *)own + bpf_core_field_offset(struct unix_address, name) : NULL,
		    own ? BPF_CORE_READ(own, len) : 0);
	return finish(s);
}

#define SOCKET_VALUE(hook)                             \
	NODE(hook, struct socket *sock, int value)     \
	{                                              \
		EVENT(hook);                           \
		put_socket(s, sock);                   \
		put(s, (u32)value);                    \
		return finish(s);                      \
	}
SOCKET_VALUE(socket_listen)
SOCKET_VALUE(socket_shutdown)

NODE(socket_setsockopt, struct socket *sock, int level, int optname)
{
	EVENT(socket_setsockopt);
	put_socket(s, sock);
	put2(s, level, optname);
	return finish(s);
}

#define SOCKET_ONLY(hook)                    \
	NODE(hook, struct socket *sock)      \
	{                                    \
		EVENT(hook);                 \
		put_socket(s, sock);         \
		return finish(s);            \
	}
SOCKET_ONLY(socket_getsockname)
SOCKET_ONLY(socket_getpeername)

#define MESSAGE(hook)                                                                          \
	NODE(hook, struct socket *sock, struct msghdr *msg)                                    \
	{                                                                                      \
		EVENT(hook);                                                                   \
		put_socket(s, sock);                                                           \
		void *name = BPF_CORE_READ(msg, msg_name);                                     \
		put_address(s, name, name ? BPF_CORE_READ(msg, msg_namelen) : 0);              \
		return finish(s);                                                              \
	}
MESSAGE(socket_sendmsg)
MESSAGE(socket_recvmsg)

#define SOCKET_PAIR(hook)                                             \
	NODE(hook, struct socket *sock, struct socket *other)         \
	{                                                             \
		EVENT(hook);                                          \
		put_socket(s, sock);                                  \
		put_socket(s, other);                                 \
		return finish(s);                                     \
	}
SOCKET_PAIR(socket_socketpair)
SOCKET_PAIR(unix_may_send)

NODE(unix_stream_connect, struct sock *sock, struct sock *other)
{
	EVENT(unix_stream_connect);
	put_sock(s, sock);
	put_sock(s, other);
	return finish(s);
}

NODE(netlink_send, struct sock *sk, struct sk_buff *skb)
{
	EVENT(netlink_send);
	put_sock(s, sk);
	struct netlink_skb_parms *p = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	put2(s, BPF_CORE_READ(p, creds.uid.val), BPF_CORE_READ(p, creds.gid.val));
	put2(s, BPF_CORE_READ(p, portid), BPF_CORE_READ(p, dst_group));
	put2(s, BPF_CORE_READ(p, flags), BPF_CORE_READ(p, nsid_is_set));
	put(s, (u32)BPF_CORE_READ(p, nsid));
	return finish(s);
}

NODE(task_kill, struct task_struct *p, void *info, int sig, const struct cred *cred)
{
	if (sig == SIGURG)
		return 0;
	EVENT(task_kill);
	put_task(s, p);
	put(s, (u32)sig);
	return finish(s);
}

NODE(task_setpgid, struct task_struct *p, s32 pgid)
{
	EVENT(task_setpgid);
	put_task(s, p);
	if (!pgid) {
		put_task(s, p);
		return finish(s);
	}
	struct number n = number_of(bpf_get_current_task_btf());
	n.pid = pgid;
	u64 *group = bpf_map_lookup_elem(&leaders, &n);
	put(s, group ? *group : NOTHING);
	return finish(s);
}

#define ABOUT_TASK(hook)                       \
	NODE(hook, struct task_struct *p)      \
	{                                      \
		EVENT(hook);                   \
		put_task(s, p);                \
		return finish(s);              \
	}
ABOUT_TASK(task_getpgid)
ABOUT_TASK(task_getsid)
ABOUT_TASK(task_getioprio)
ABOUT_TASK(task_setscheduler)
ABOUT_TASK(task_getscheduler)
ABOUT_TASK(ptrace_traceme)

#define TASK_VALUE(hook)                                  \
	NODE(hook, struct task_struct *p, int value)      \
	{                                                 \
		EVENT(hook);                              \
		put_task(s, p);                           \
		put(s, (u32)value);                       \
		return finish(s);                         \
	}
TASK_VALUE(task_setnice)
TASK_VALUE(task_setioprio)
TASK_VALUE(ptrace_access_check)

NODE(task_prlimit, const struct cred *cred, const struct cred *tcred, unsigned int flags)
{
	EVENT(task_prlimit);
	put_creds(s, cred);
	put_creds(s, tcred);
	put(s, flags);
	return finish(s);
}

NODE(task_setrlimit, struct task_struct *p, unsigned int resource, struct rlimit *limit)
{
	EVENT(task_setrlimit);
	put_task(s, p);
	put(s, resource);
	put(s, BPF_CORE_READ(limit, rlim_cur));
	put(s, BPF_CORE_READ(limit, rlim_max));
	return finish(s);
}

// Any other answer would be that of the system call.
#define NO_OPINION -ENOSYS

static __always_inline int tell_prctl(int option, u64 arg2, u64 arg3, u64 arg4, u64 arg5)
{
	EVENT(task_prctl);
	put(s, (u32)option);
	put(s, arg2);
	put(s, arg3);
	put(s, arg4);
	put(s, arg5);
	return finish(s);
}

NODE(task_prctl, int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5)
{
	tell_prctl(option, arg2, arg3, arg4, arg5);
	return NO_OPINION;
}

NODE(capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	EVENT(capable);
	put2(s, cap, opts);
	return finish(s);
}

NODE(capget, struct task_struct *target, kernel_cap_t *effective, kernel_cap_t *inheritable, kernel_cap_t *permitted)
{
	EVENT(capget);
	put_task(s, target);
	put(s, capabilities(effective));
	put(s, capabilities(inheritable));
	put(s, capabilities(permitted));
	return finish(s);
}

NODE(capset, struct cred *new, const struct cred *old, const kernel_cap_t *effective,
     const kernel_cap_t *inheritable, const kernel_cap_t *permitted)
{
	EVENT(capset);
	put(s, capabilities(effective));
	put(s, capabilities(inheritable));
	put(s, capabilities(permitted));
	return finish(s);
}

NODE(kernel_module_request, char *name)
{
	EVENT(kernel_module_request);
	put_text(s, name);
	return finish(s);
}

NODE(kernel_load_data, int id, bool contents)
{
	EVENT(kernel_load_data);
	put2(s, id, contents);
	return finish(s);
}

NODE(kernel_read_file, struct file *file, int id, bool contents)
{
	EVENT(kernel_read_file);
	put2(s, id, contents);
	put_file(s, file);
	return finish(s);
}

#define IPC_VALUE(hook)                                                  \
	NODE(hook, void *unused, int value)                              \
	{                                                                \
		struct kern_ipc_perm *perm = argument(ctx, 0);           \
		if (!perm)                                               \
			return 0;                                        \
		EVENT(hook);                                             \
		put_perm(s, perm);                                       \
		put(s, (u32)value);                                      \
		return finish(s);                                        \
	}
IPC_VALUE(shm_associate)
IPC_VALUE(shm_shmctl)
IPC_VALUE(sem_associate)
IPC_VALUE(sem_semctl)
IPC_VALUE(msg_queue_associate)
IPC_VALUE(msg_queue_msgctl)

NODE(shm_shmat, struct kern_ipc_perm *perm, char *address, int flags)
{
	EVENT(shm_shmat);
	put_perm(s, perm);
	put(s, (u32)flags);
	return finish(s);
}

NODE(msg_queue_msgsnd, struct kern_ipc_perm *perm, void *msg, int flags)
{
	EVENT(msg_queue_msgsnd);
	put_perm(s, perm);
	put(s, (u32)flags);
	return finish(s);
}

NODE(sem_semop, struct kern_ipc_perm *perm, void *ops, unsigned int count, int alter)
{
	EVENT(sem_semop);
	put_perm(s, perm);
	put2(s, count, alter);
	return finish(s);
}

NODE(msg_queue_msgrcv, struct kern_ipc_perm *perm, void *msg, struct task_struct *target, long type, int mode)
{
	EVENT(msg_queue_msgrcv);
	put_perm(s, perm);
	put_task(s, target);
	put(s, type);
	put(s, (u32)mode);
	return finish(s);
}

NODE(ipc_permission, struct kern_ipc_perm *perm, short flag)
{
	EVENT(ipc_permission);
	put_perm(s, perm);
	put(s, (u32)flag);
	return finish(s);
}

NODE(syslog, int type)
{
	EVENT(syslog);
	put(s, (u32)type);
	return finish(s);
}

SEC("lsm/settime")
int settime(u64 *ctx)
{
	struct timespec64 *ts = argument(ctx, 0);
	struct timezone *tz = argument(ctx, 1);
	EVENT(settime);
	put2(s, ts != NULL, tz != NULL);
	put2(s, BPF_CORE_READ(ts, tv_sec), BPF_CORE_READ(ts, tv_nsec));
	put2(s, BPF_CORE_READ(tz, tz_minuteswest), BPF_CORE_READ(tz, tz_dsttime));
	return finish(s);
}

NODE(key_alloc, struct key *key, const struct cred *cred, unsigned long flags)
{
	EVENT(key_alloc);
	put_creds(s, cred);
	put(s, flags);
	return finish(s);
}

SEC("lsm/key_permission")
int key_permission(u64 *ctx)
{
	// The key comes with a bit in its address, in a type that has no definition.
	u64 args[2] = {};
	bpf_probe_read_kernel(args, sizeof(args), ctx);
	const struct cred *cred = (void *)ctx[1];
	EVENT(key_permission);
	struct key *key = (void *)(args[0] & ~1ull);
	put2(s, args[0] & 1, BPF_CORE_READ(key, perm));
	put2(s, BPF_CORE_READ(key, uid.val), BPF_CORE_READ(key, gid.val));
	put(s, BPF_CORE_READ(key, flags));
	put_creds(s, cred);
	return finish(s);
}

NODE(bpf, int cmd, void *attr, unsigned int size)
{
	EVENT(bpf);
	put2(s, cmd, size);
	return finish(s);
}

NODE(bpf_map, struct bpf_map *map, u32 fmode)
{
	EVENT(bpf_map);
	put2(s, BPF_CORE_READ(map, map_type), fmode);
	return finish(s);
}

NODE(bpf_prog, struct bpf_prog *prog)
{
	EVENT(bpf_prog);
	put2(s, BPF_CORE_READ(prog, type), BPF_CORE_READ(prog, expected_attach_type));
	return finish(s);
}

SEC("lsm/tun_dev_create")
int tun_dev_create(u64 *ctx)
{
	EVENT(tun_dev_create);
	return finish(s);
}

SEC("lsm/tun_dev_open")
int tun_dev_open(u64 *ctx)
{
	EVENT(tun_dev_open);
	return finish(s);
}

SEC("lsm/tun_dev_attach_queue")
int tun_dev_attach_queue(u64 *ctx)
{
	EVENT(tun_dev_attach_queue);
	return finish(s);
}

NODE(tun_dev_attach, struct sock *sk)
{
	EVENT(tun_dev_attach);
	return finish(s);
}

// Digests. The kernel can make them where it measures integrity, but keeps none
// unless it has a policy for that: so it is asked once for each version of a file
// that is executed or mapped, and tells of it in a note. The programs are attached
// last and therefore called first.

#define HASH_MAX (16 << 20) // bytes of a file for which a task may be kept waiting
#define SETTLED 20000000    // nanoseconds: two changes at shorter distance may look like one

static __always_inline void hash(struct file *file)
{
	struct digest_note n = {.type = NOTE_DIGEST};
	struct inode *i = BPF_CORE_READ(file, f_inode);
	struct inode_part times;
	u32 one = 1;
	if ((BPF_CORE_READ(i, i_mode) & S_IFMT) != S_IFREG)
		return;
	stamps(i, &times);
	n.of.ino = BPF_CORE_READ(i, i_ino);
	n.of.size = BPF_CORE_READ(i, i_size);
	n.of.ctime = times.ctime;
	n.of.mtime = times.mtime;
	n.of.dev = BPF_CORE_READ(i, i_sb, s_dev);
	n.of.generation = BPF_CORE_READ(i, i_generation);
	n.of.nlink = BPF_CORE_READ(i, i_nlink);
	n.of.magic = BPF_CORE_READ(i, i_sb, s_magic);
	if (n.of.size == 0 || n.of.size > HASH_MAX || bpf_map_lookup_elem(&hashed, &n.of))
		return;
	if ((s64)(bpf_ktime_get_boot_ns() + born - n.of.ctime) < SETTLED)
		return;
	long kind = bpf_ima_file_hash(file, n.digest, sizeof(n.digest));
	if (kind < 0 || kind != want_hash) {
		no_digests = 1;
		return;
	}
	if (!bpf_ringbuf_output(&notes, &n, sizeof(n), 0))
		bpf_map_update_elem(&hashed, &n.of, &one, BPF_ANY);
}

SEC("lsm.s/mmap_file")
int BPF_PROG(hash_mapped, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	if (!no_digests && argument(ctx, 0) && me())
		hash(file);
	return 0;
}

SEC("lsm.s/bprm_committed_creds")
void BPF_PROG(hash_executed, struct linux_binprm *bprm)
{
	if (!no_digests && me())
		hash(bprm->file);
}

// Looking around, from without.

// look is run by the one who watches. It notes where he stands, and writes the
// processes of the workload that are alive.
SEC("iter/task")
int look(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t) {
		struct task_struct *own = bpf_get_current_task_btf();
		home_root = (u64)BPF_CORE_READ(own, fs, root.dentry);
		home_mounts = BPF_CORE_READ(own, nsproxy, mnt_ns, ns.inum);
		return 0;
	}
	struct state *st = host ? met(t) : state_of(t);
	if (st && !st->mute && !t->exit_state) {
		s32 tgid = t->tgid;
		bpf_seq_write(ctx->meta->seq, &tgid, sizeof(tgid));
	}
	return 0;
}

// alive is run by the one who reads for long. It writes which execs are those of
// tasks that are alive, and of who made them.
SEC("iter/task")
int alive(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct state *st = t ? state_of(t) : NULL;
	if (st && st->tnum) {
		u64 numbers[2] = {st->ttd, st->pttd};
		bpf_seq_write(ctx->meta->seq, numbers, sizeof(numbers));
	}
	return 0;
}

// allowed is what tells whether such programs may be loaded at all.
SEC("lsm/file_open")
int BPF_PROG(allowed, struct file *file)
{
	return 0;
}
