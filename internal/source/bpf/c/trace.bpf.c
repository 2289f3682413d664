// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Programs on the raw tracepoints of system calls, which tell the same of the tasks
// of a workload, or of the whole host, as those on the security hooks, where the
// kernel refuses these: after the call, and if it has succeeded. What a call is
// about to change or to remove is looked at when it begins, and is told of, or
// forgotten, when it ends.

#include "names.h"
#include "look.h"
#include "find.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// calls says what is told of each system call.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * CALLS_MAX);
	__type(key, u32);
	__type(value, struct call);
} calls SEC(".maps");

// wanted tells which event types are told of.
const volatile u8 wanted[256];

// A socket is known by its address, and by its inode, since addresses are used
// again.
struct socket_key {
	u64 sk, ino;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct socket_key);
	__type(value, u64);
} sockets SEC(".maps");

// act is a system call that begins or has ended.
struct act {
	u64 arg[6];
	s64 result;
	struct call c;
	u32 ended, compat;
};

// Parts, each verified once.

__noinline int part_file(struct scratch *s, u64 file)
{
	if (s)
		put_file(s, (struct file *)file);
	return 0;
}

__noinline int part_inode(struct scratch *s, u64 inode)
{
	if (s)
		put_inode(s, (struct inode *)inode);
	return 0;
}

__noinline int part_path(struct scratch *s, u64 dentry, u64 mnt)
{
	if (s)
		put_path(s, (struct dentry *)dentry, (struct vfsmount *)mnt, 0);
	return 0;
}

// part_dentry writes what was found, or that nothing is known.
__noinline int part_dentry(struct scratch *s, u64 dentry, u64 mnt)
{
	if (!s)
		return 0;
	if (dentry) {
		put_dentry(s, (struct dentry *)dentry, (struct vfsmount *)mnt);
		return 0;
	}
	put(s, 0);
	struct path_part *p = room(s, sizeof(*p));
	if (p) {
		__builtin_memset(p, 0, sizeof(*p));
		p->flags = PATH_UNKNOWN;
	}
	return 0;
}

// part_inode_of writes the inode of a directory, or zeros.
__noinline int part_inode_of(struct scratch *s, u64 dentry)
{
	if (!s)
		return 0;
	if (dentry) {
		struct dentry *d = (void *)dentry;
		put_inode(s, READ(d, d_inode));
		return 0;
	}
	struct inode_part *p = room(s, sizeof(*p));
	if (p)
		__builtin_memset(p, 0, sizeof(*p));
	return 0;
}

// part_name writes a directory entry without an inode: the last name of a way in
// the directory where that is.
__noinline int part_name(struct scratch *s, struct way *w)
{
	if (!s || !w)
		return 0;
	put(s, 0);
	struct path_part *p = room(s, sizeof(*p));
	if (!p)
		return 0;
	p->size = p->dev = p->real = 0;
	p->flags = PATH_UNKNOWN;
	if (!w->parent || w->state == WAY_LOST)
		return 0;
	struct dentry *dir = (void *)w->parent;
	struct super_block *sb = READ(dir, d_sb);
	p->dev = READ(sb, s_dev);
	p->real = real_device(sb);
	u32 start = s->used, from = w->last, n = w->length;
	if (start >= LIMIT || from >= PATH_BUFFER || n > 255)
		return 0;
	s->b[start] = n;
	bpf_probe_read_kernel(&s->b[start + 1], n & 255, &w->path[place(w->which, from)]);
	struct walk u = {.s = s, .dentry = dir, .at = start + 1 + n};
	bpf_loop(2048, walk_up, &u, 0);
	p->size = u.at - start;
	p->flags = u.flags;
	s->used = ALIGN8(u.at);
	return 0;
}

static __always_inline struct socket_key key_of(struct sock *sk)
{
	struct socket_key key = {.sk = (u64)sk};
	struct socket *sock = READ(sk, sk_socket);
	if (sock) {
		struct socket_alloc *a = (void *)sock - bpf_core_field_offset(struct socket_alloc, socket);
		key.ino = READ(a, vfs_inode.i_ino);
	}
	return key;
}

// part_sock writes a socket.
__noinline int part_sock(struct scratch *s, u64 socket)
{
	if (!s)
		return 0;
	struct sock *sk = (void *)socket;
	struct socket_key key = key_of(sk);
	u64 *owner = socket ? bpf_map_lookup_elem(&sockets, &key) : NULL;
	put2(s, READ(sk, __sk_common.skc_family), READ(sk, sk_type));
	put(s, READ(sk, sk_protocol));
	put(s, owner ? *owner : NOTHING);
	return 0;
}

// part_user_text writes a string of the task.
__noinline int part_user_text(struct scratch *s, u64 from)
{
	if (!s)
		return 0;
	u64 *size = room(s, 8), n = 0;
	if (!size)
		return 0;
	*size = NOTHING;
	if (!from)
		return 0;
	for (int i = 0; i < 9; i++) {
		u32 to = s->used;
		if (to >= LIMIT) {
			s->used = LIMIT + SLACK;
			return 0;
		}
		long got = bpf_probe_read_user_str(s->b + to, CHUNK, (void *)(from + i * (CHUNK - 1)));
		if (got <= 0)
			break;
		n += got - 1;
		s->used = to + (u32)(got - 1);
		if (got < CHUNK)
			break;
	}
	*size = n;
	s->used = ALIGN8(s->used);
	return 0;
}

static long copy_user_piece(u32 i, struct copy *c)
{
	u32 n = c->left < CHUNK ? c->left : CHUNK, at = c->at;
	if (n == 0)
		return 1;
	if (at >= LIMIT) {
		c->over = 1;
		return 1;
	}
	if (bpf_probe_read_user(c->s->b + at, n & (2 * CHUNK - 1), (void *)c->from))
		return 1;
	c->at = at + n;
	c->from += n;
	c->left -= n;
	return 0;
}

__noinline int part_user_bytes(struct scratch *s, u64 from, u32 size)
{
	if (!s)
		return 0;
	struct copy c = {.s = s, .from = from, .left = size};
	put(s, size);
	c.at = s->used;
	if (size)
		bpf_loop(LIMIT / CHUNK + 1, copy_user_piece, &c, 0);
	s->used = ALIGN8(c.at);
	if (c.over || c.left)
		s->used = LIMIT + SLACK;
	return 0;
}

__noinline int part_user_address(struct scratch *s, u64 from, u32 size)
{
	if (!s)
		return 0;
	if (!from)
		size = 0;
	if (size > ADDRESS_MAX)
		size = ADDRESS_MAX;
	put(s, size);
	void *to = room(s, ADDRESS_MAX);
	if (to && size)
		bpf_probe_read_user(to, size & (2 * ADDRESS_MAX - 1), (void *)from);
	return 0;
}

__noinline int part_creds(struct scratch *s, u64 cred)
{
	if (s)
		put_creds(s, (const struct cred *)cred);
	return 0;
}

// Beginnings and ends.

static __always_inline struct scratch *start(u32 type)
{
	if (!wanted[type & 255])
		return NULL;
	struct state *st = state_of(bpf_get_current_task_btf());
	return st ? begin(st, type) : NULL;
}

#define HELD 2 // in busy: the event waits for the end of the call

// end_of sends what was put together of a call that has ended, and keeps it if that
// only begins.
static __always_inline int end_of(struct act *a, struct scratch *s)
{
	if (a->ended)
		return finish(s);
	*(volatile u32 *)&s->busy = HELD;
	return 0;
}

__noinline int send(struct scratch *s)
{
	return s ? finish(s) : 0;
}

// drop forgets an event that turns out to be none.
static __always_inline int drop(struct scratch *s)
{
	release(s);
	return 0;
}

// lead looks where a path of the task leads. It is true if that is known.
static __always_inline u32 lead(struct way *w, s32 dirfd, u64 path, u32 follow)
{
	long n = bpf_probe_read_user_str(w->path, PATH_BUFFER, (void *)path);
	w->follow = follow;
	w->size = n > 0 ? n - 1 : 0;
	set_out(w, dirfd);
	if (n <= 1)
		w->state = WAY_LOST;
	else
		go(w);
	return w->state == WAY_FOUND;
}

__noinline int lead_to(struct way *w, s32 dirfd, u64 path, u32 follow)
{
	return w ? lead(w, dirfd, path, follow) : 0;
}

static __always_inline u64 arg(struct act *a, s32 i) { return i >= 0 && i < 6 ? a->arg[i] : 0; }
static __always_inline s32 dirfd(struct act *a, s32 i) { return i >= 0 && i < 6 ? (s32)a->arg[i] : AT_FDCWD; }

static __always_inline u32 at_flags(struct act *a)
{
	return a->c.flags >= 0 ? (u32)arg(a, a->c.flags) : a->c.fixed;
}

#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_SYMLINK_FOLLOW 0x400
#define AT_REMOVEDIR 0x200
#define AT_EMPTY_PATH 0x1000

// object is what a call is about.
struct object {
	u64 dentry, mnt;
};

// find looks for what a call is about: a descriptor, or a path. follow tells
// whether that follows a link in its last name.
__noinline int find(struct act *a, struct object *o, u32 follow)
{
	if (!a || !o)
		return 0;
	struct file *f = NULL;
	if (a->c.path < 0) {
		f = descriptor(arg(a, a->c.fd));
	} else {
		u64 path = arg(a, a->c.path);
		char first = 0;
		long bad = path ? bpf_probe_read_user(&first, 1, (void *)path) : 0;
		if (!bad && !first) {
			s32 fd = dirfd(a, a->c.dir);
			if (fd == AT_FDCWD) {
				struct task_struct *t = bpf_get_current_task_btf();
				o->dentry = (u64)READ(t, fs, pwd.dentry);
				o->mnt = (u64)READ(t, fs, pwd.mnt);
				return 1;
			}
			f = descriptor(fd);
		} else {
			struct way *w = new_way();
			if (!w || !lead_to(w, dirfd(a, a->c.dir), path, follow))
				return 0;
			o->dentry = w->dentry;
			o->mnt = w->mount + bpf_core_field_offset(struct mount, mnt);
			return 1;
		}
	}
	if (!f)
		return 0;
	o->dentry = (u64)READ(f, f_path.dentry);
	o->mnt = (u64)READ(f, f_path.mnt);
	return 1;
}

#define S_PRIVATE 512 // in i_flags

// of_kernel tells whether an inode is one of the kernel's own, about which no
// security module is asked.
static __always_inline u32 of_kernel(struct object *o)
{
	struct dentry *d = (void *)o->dentry;
	return READ(d, d_inode, i_flags) & S_PRIVATE;
}

static __always_inline u32 mode_of(u64 dentry)
{
	struct dentry *d = (void *)dentry;
	return READ(d, d_inode, i_mode);
}

#define SB_POSIXACL (1 << 16)

// unmasked is the mode of something new as the hooks see it: where there are access
// lists, the kernel applies the umask later.
static __always_inline u32 unmasked(u64 dir, u32 mode)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct dentry *d = (void *)dir;
	if (!dir || READ(d, d_sb, s_flags) & SB_POSIXACL)
		return mode;
	return mode & ~READ(t, fs, umask);
}

// Opening.

#define O_CREAT 0100
#define O_EXCL 0200
#define O_NOCTTY 0400
#define O_TRUNC 01000
#define O_PATH 010000000
#define TMPFILE 020000000
#define FMODE_CREATED 0x100000

// become tells in a note what the task has made.
static __always_inline u64 become(struct inode *inode)
{
	struct made_note n = {.type = NOTE_MADE};
	n.made = __sync_fetch_and_add(&files_made, 1) + 1;
	n.dev = READ(inode, i_sb, s_dev);
	n.generation = READ(inode, i_generation);
	n.ino = READ(inode, i_ino);
	if (bpf_ringbuf_output(&notes, &n, sizeof(n), BPF_RB_NO_WAKEUP))
		lose(LOST_NOTE);
	return n.made;
}

// made_new tells of something new in a directory.
__noinline int made_new(u64 dentry, u32 type, u32 mode)
{
	struct dentry *d = (void *)dentry;
	struct inode *inode = READ(d, d_inode);
	if (type > 255 || !inode)
		return 0;
	u64 number = become(inode);
	if (!wanted[type])
		return 0;
	struct scratch *s = start(type);
	if (!s)
		return 0;
	put(s, number);
	part_inode(s, (u64)READ(d, d_parent, d_inode));
	put(s, 0);
	part_path(s, dentry, 0);
	put(s, unmasked(dentry, mode));
	return finish(s);
}

__noinline int truncated(u64 dentry)
{
	if (!wanted[EVENT_inode_setattr])
		return 0;
	struct scratch *s = start(EVENT_inode_setattr);
	if (!s)
		return 0;
	part_dentry(s, dentry, 0);
	put2(s, 1 << 3 | 1 << 5 | 1 << 6 | 1 << 13 | 1 << 15, 0);
	put2(s, 0, 0);
	put(s, 0);
	return finish(s);
}

__noinline int opened(struct act *a, u32 asked, u32 mode)
{
	if (!a)
		return 0;
	struct file *f = descriptor(a->result);
	if (!f || (asked & O_PATH))
		return 0;
	u64 dentry = (u64)READ(f, f_path.dentry);
	u32 created = READ(f, f_mode) & FMODE_CREATED && !(asked & TMPFILE);
	if (created)
		made_new(dentry, EVENT_inode_create, S_IFREG | (mode & 07777));
	if ((READ(f, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	if (wanted[EVENT_file_open]) {
		struct scratch *s = start(EVENT_file_open);
		if (s) {
			u32 at = s->used;
			part_file(s, (u64)f);
			// The kernel forgets what matters to an opening alone.
			if (at < LIMIT)
				*(u64 *)&s->b[at] |= asked & (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC);
			finish(s);
		}
	}
	if (asked & O_TRUNC && !created)
		truncated(dentry);
	return 0;
}

__noinline int tell_open(struct act *a)
{
	if (!a || a->result < 0)
		return 0;
	u32 asked = a->c.flags >= 0 ? arg(a, a->c.flags) : O_CREAT | 1 | O_TRUNC;
	return opened(a, asked, arg(a, a->c.mode));
}

__noinline int tell_openat2(struct act *a)
{
	u64 how[2] = {};
	if (!a || a->result < 0)
		return 0;
	bpf_probe_read_user(how, sizeof(how), (void *)a->arg[2]);
	return opened(a, how[0], how[1]);
}

__noinline int mapped(struct act *a, u32 prot, u32 flags, s32 fd)
{
	if (!a)
		return 0;
	struct file *f = flags & 0x20 ? NULL : descriptor(fd); // MAP_ANONYMOUS
	if (!f && !(prot & PROT_EXEC))
		return 0;
	if (f && ((READ(f, f_inode, i_mode) & S_IFMT) != S_IFREG || !is_hashed(READ(f, f_inode, i_sb, s_magic))))
		return 0;
	struct scratch *s = start(EVENT_mmap_file);
	if (!s)
		return 0;
	put2(s, prot, flags);
	put(s, f != NULL);
	if (f)
		part_file(s, (u64)f);
	return finish(s);
}

__noinline int tell_mmap(struct act *a)
{
	if (!a || ((u64)a->result >= -4095ull))
		return 0;
	return mapped(a, a->arg[2], a->arg[3], a->arg[4]);
}

__noinline int tell_mmap_packed(struct act *a)
{
	u32 v[6] = {};
	if (!a || ((u64)a->result >= -4095ull))
		return 0;
	bpf_probe_read_user(v, sizeof(v), (void *)a->arg[0]);
	return mapped(a, v[2], v[3], v[4]);
}

// Names.

// tell_removal is unlink and rmdir.
static __always_inline int tell_removal(struct act *a, u32 type)
{
	if (!a || type > 255 || !wanted[type & 255])
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	lead_to(w, dirfd(a, a->c.dir), arg(a, a->c.path), 0);
	u64 found = w->state == WAY_FOUND ? w->dentry : 0;
	if (!a->ended && !found)
		return 0;
	if (a->ended)
		found = 0; // what is there by now is something else
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_inode_of(s, w->state == WAY_LOST ? 0 : w->parent);
	if (found)
		part_dentry(s, found, 0);
	else
		part_name(s, w);
	return end_of(a, s);
}

__noinline int tell_unlink(struct act *a)
{
	if (!a)
		return 0;
	return tell_removal(a, at_flags(a) & AT_REMOVEDIR ? EVENT_inode_rmdir : EVENT_inode_unlink);
}

__noinline int tell_rmdir(struct act *a)
{
	return a ? tell_removal(a, EVENT_inode_rmdir) : 0;
}

__noinline int tell_link(struct act *a)
{
	struct object o = {};
	if (!a)
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	find(a, &o, !!(at_flags(a) & AT_SYMLINK_FOLLOW));
	struct scratch *s = start(EVENT_inode_link);
	if (!s)
		return 0;
	part_dentry(s, o.dentry, 0);
	lead_to(w, dirfd(a, a->c.dir2), arg(a, a->c.path2), 0);
	part_inode_of(s, w->state == WAY_LOST ? 0 : w->parent);
	part_name(s, w);
	return finish(s);
}

__noinline int tell_symlink(struct act *a)
{
	if (!a)
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	lead_to(w, dirfd(a, a->c.dir), arg(a, a->c.path), 0);
	struct scratch *s = start(EVENT_inode_symlink);
	if (!s)
		return 0;
	part_inode_of(s, w->state == WAY_LOST ? 0 : w->parent);
	part_name(s, w);
	part_user_text(s, arg(a, a->c.path2));
	return finish(s);
}

// new_name tells of a directory or file that a path names by now.
static __always_inline int new_name(struct act *a, u32 type, u32 mode)
{
	if (!a)
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	if (lead_to(w, dirfd(a, a->c.dir), arg(a, a->c.path), 0))
		return made_new(w->dentry, type, mode);
	if (type > 255 || !wanted[type])
		return 0;
	struct scratch *s = start(type);
	if (!s)
		return 0;
	put(s, __sync_fetch_and_add(&files_made, 1) + 1);
	part_inode_of(s, w->state == WAY_LOST ? 0 : w->parent);
	part_name(s, w);
	put(s, unmasked(w->parent, mode));
	return finish(s);
}

__noinline int tell_mkdir(struct act *a)
{
	return a ? new_name(a, EVENT_inode_mkdir, arg(a, a->c.mode) & 01777) : 0;
}

__noinline int tell_mknod(struct act *a)
{
	if (!a)
		return 0;
	u32 mode = arg(a, a->c.mode), kind = mode & S_IFMT, dev = arg(a, a->c.mode + 1);
	if (!kind || kind == S_IFREG)
		return new_name(a, EVENT_inode_create, S_IFREG | (mode & 07777));
	if (!wanted[EVENT_inode_mknod])
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	lead_to(w, dirfd(a, a->c.dir), arg(a, a->c.path), 0);
	struct scratch *s = start(EVENT_inode_mknod);
	if (!s)
		return 0;
	part_inode_of(s, w->state == WAY_LOST ? 0 : w->parent);
	part_name(s, w);
	if (kind != 0020000 && kind != 0060000)
		dev = 0;
	put2(s, unmasked(w->parent, mode), (dev >> 8 & 0xfff) << 20 | (dev & 0xff) | (dev >> 12 & 0xfff00));
	return finish(s);
}

#define RENAME_EXCHANGE 2

__noinline int part_end(struct scratch *s, struct way *w, u64 inode_of)
{
	if (!s || !w)
		return 0;
	part_inode_of(s, w->state == WAY_LOST ? 0 : w->parent);
	if (inode_of)
		part_dentry(s, inode_of, 0);
	else
		part_name(s, w);
	return 0;
}

__noinline int tell_rename(struct act *a)
{
	if (!a)
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	struct scratch *s = start(EVENT_inode_rename);
	if (!s)
		return 0;
	lead_to(w, dirfd(a, a->c.dir), arg(a, a->c.path), 0);
	u64 old = w->state == WAY_FOUND && !a->ended ? w->dentry : 0;
	if (!old && !a->ended)
		return drop(s);
	part_end(s, w, old);
	lead_to(w, dirfd(a, a->c.dir2), arg(a, a->c.path2), 0);
	if (w->state == WAY_LOST && !a->ended)
		return drop(s);
	part_end(s, w, w->state == WAY_FOUND && !a->ended ? w->dentry : 0);
	return end_of(a, s);
}

// Attributes.

#define UNSET 0xffffffff

static __always_inline int set_attributes(struct act *a, u32 valid, u32 mode, u64 ids, u64 size)
{
	struct object o = {};
	if (!a)
		return 0;
	find(a, &o, !(at_flags(a) & AT_SYMLINK_NOFOLLOW));
	if ((!o.dentry && !a->ended) || of_kernel(&o))
		return 0;
	struct scratch *s = start(EVENT_inode_setattr);
	if (!s)
		return 0;
	part_dentry(s, o.dentry, 0);
	if (valid & 1)
		mode = (mode & 07777) | (mode_of(o.dentry) & ~07777);
	put2(s, valid, mode);
	put2(s, ids, ids >> 32);
	put(s, size);
	return end_of(a, s);
}

__noinline int tell_chmod(struct act *a)
{
	return a ? set_attributes(a, 1 | 1 << 6, arg(a, a->c.mode), 0, 0) : 0;
}

__noinline int tell_chown(struct act *a)
{
	if (!a)
		return 0;
	u32 uid = arg(a, a->c.mode), gid = arg(a, a->c.mode + 1), valid = 1 << 6;
	if (a->c.how & CALL_NARROW) {
		uid = (u16)uid == 0xffff ? UNSET : (u16)uid;
		gid = (u16)gid == 0xffff ? UNSET : (u16)gid;
	}
	if (uid != UNSET)
		valid |= 2;
	if (gid != UNSET)
		valid |= 4;
	return set_attributes(a, valid, 0, uid | (u64)gid << 32, 0);
}

__noinline int tell_truncate(struct act *a)
{
	if (!a)
		return 0;
	u64 size = arg(a, a->c.mode);
	if (a->c.how & CALL_SPLIT)
		size = (u32)size | arg(a, a->c.mode + 1) << 32;
	return set_attributes(a, a->c.path < 0 ? 1 << 3 | 1 << 5 | 1 << 6 | 1 << 13 : 1 << 3, 0, 0, size);
}

#define UTIME_NOW 0x3fffffff
#define UTIME_OMIT 0x3ffffffe

// time_kind is what a call wants of a time that is kept as nanoseconds.
static __always_inline u64 time_kind(u64 times, u32 i, u32 word)
{
	u64 v = 0;
	bpf_probe_read_user(&v, word & 15, (void *)(times + (2 * i + 1) * word));
	return v;
}

__noinline int tell_utimes(struct act *a)
{
	if (!a)
		return 0;
	u64 times = arg(a, a->c.mode);
	u32 valid = 1 << 6 | 1 << 5 | 1 << 4;
	u64 at = UTIME_NOW, mt = UTIME_NOW;
	if (times && a->c.how & CALL_COARSE) {
		at = mt = 0;
	} else if (times) {
		u32 word = a->compat && !(a->c.how & CALL_SPLIT) ? 4 : 8;
		at = time_kind(times, 0, word);
		mt = time_kind(times, 1, word);
	}
	if (at == UTIME_OMIT && mt == UTIME_OMIT)
		return 0;
	if (at == UTIME_NOW && mt == UTIME_NOW) {
		valid |= 1 << 17;
	} else {
		valid |= 1 << 16;
		if (at == UTIME_OMIT)
			valid &= ~(1 << 4);
		else if (at != UTIME_NOW)
			valid |= 1 << 7;
		if (mt == UTIME_OMIT)
			valid &= ~(1 << 5);
		else if (mt != UTIME_NOW)
			valid |= 1 << 8;
	}
	return set_attributes(a, valid, 0, 0, 0);
}

__noinline int tell_getattr(struct act *a)
{
	struct object o = {};
	if (!a)
		return 0;
	find(a, &o, !(at_flags(a) & AT_SYMLINK_NOFOLLOW));
	if (of_kernel(&o))
		return 0;
	struct scratch *s = start(EVENT_inode_getattr);
	if (!s)
		return 0;
	part_dentry(s, o.dentry, o.mnt);
	return finish(s);
}

__noinline int tell_statfs(struct act *a)
{
	struct object o = {};
	if (!a)
		return 0;
	find(a, &o, 1);
	struct scratch *s = start(EVENT_sb_statfs);
	if (!s)
		return 0;
	part_dentry(s, o.dentry, 0);
	return finish(s);
}

// attribute begins an event about an extended attribute.
static __always_inline struct scratch *attribute(struct act *a, u32 type)
{
	struct object o = {};
	find(a, &o, !(at_flags(a) & AT_SYMLINK_NOFOLLOW));
	struct scratch *s = of_kernel(&o) ? NULL : start(type);
	if (!s)
		return NULL;
	part_dentry(s, o.dentry, 0);
	return s;
}

// access_list tells whether a name is that of an access list, which has hooks of
// its own.
static __always_inline u32 access_list(u64 name)
{
	char b[20] = {};
	bpf_probe_read_user_str(b, sizeof(b), (void *)name);
	const char what[] = "system.posix_acl_";
	for (u32 i = 0; i < sizeof(what) - 1; i++)
		if (b[i] != what[i])
			return 0;
	return 1;
}

static __always_inline int set_attribute(struct act *a, u64 value, u32 size, u32 flags)
{
	if (!a || access_list(arg(a, a->c.mode)))
		return 0;
	struct scratch *s = attribute(a, EVENT_inode_setxattr);
	if (!s)
		return 0;
	part_user_text(s, arg(a, a->c.mode));
	put(s, flags);
	part_user_bytes(s, value, size);
	return finish(s);
}

__noinline int tell_setxattr(struct act *a)
{
	return a ? set_attribute(a, arg(a, a->c.mode + 1), arg(a, a->c.mode + 2), arg(a, a->c.mode + 3)) : 0;
}

__noinline int tell_setxattrat(struct act *a)
{
	struct { u64 value; u32 size, flags; } how = {};
	if (!a)
		return 0;
	bpf_probe_read_user(&how, sizeof(how), (void *)arg(a, a->c.mode + 1));
	return set_attribute(a, how.value, how.size, how.flags);
}

static __always_inline int named_attribute(struct act *a, u32 type)
{
	if (!a || access_list(arg(a, a->c.mode)))
		return 0;
	struct scratch *s = attribute(a, type);
	if (!s)
		return 0;
	part_user_text(s, arg(a, a->c.mode));
	return finish(s);
}

__noinline int tell_getxattr(struct act *a) { return a ? named_attribute(a, EVENT_inode_getxattr) : 0; }
__noinline int tell_removexattr(struct act *a) { return a ? named_attribute(a, EVENT_inode_removexattr) : 0; }

__noinline int tell_listxattr(struct act *a)
{
	struct scratch *s = a ? attribute(a, EVENT_inode_listxattr) : NULL;
	return s ? finish(s) : 0;
}

// Descriptors.

__noinline int command(struct act *a, u32 type, u32 cmd)
{
	if (!a || type > 255 || !wanted[type & 255])
		return 0;
	struct file *f = descriptor(a->arg[0]);
	if (!f)
		return 0;
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_file(s, (u64)f);
	put(s, cmd);
	return finish(s);
}

#include "system.h"

__noinline int tell_ioctl(struct act *a)
{
	if (!a)
		return 0;
	command(a, a->compat ? EVENT_file_ioctl_compat : EVENT_file_ioctl, a->arg[1]);
	return a->arg[1] == TUNSETIFF || a->arg[1] == TUNSETQUEUE ? on_tun(a) : 0;
}

__noinline int tell_fcntl(struct act *a)
{
	if (!a)
		return 0;
	u32 cmd = a->arg[1];
	command(a, EVENT_file_fcntl, cmd);
	if (cmd == 6 || cmd == 7 || cmd == 13 || cmd == 14 || cmd == 37 || cmd == 38) { // F_SETLK and its like
		s16 kind = 0;
		bpf_probe_read_user(&kind, sizeof(kind), (void *)a->arg[2]);
		command(a, EVENT_file_lock, (u16)kind);
	}
	return 0;
}

__noinline int tell_flock(struct act *a)
{
	if (!a)
		return 0;
	u32 how = a->arg[1] & ~4ull;
	return command(a, EVENT_file_lock, how == 1 ? 0 : how == 2 ? 1 : 2);
}

// Sockets.

// sock_of is the socket of a descriptor.
__noinline u64 sock_of(s32 fd)
{
	struct file *f = descriptor(fd);
	if (!f || (READ(f, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	struct socket *sock = READ(f, private_data);
	return (u64)READ(sock, sk);
}

__noinline int own_socket(s32 fd)
{
	struct state *st = state_of(bpf_get_current_task_btf());
	struct socket_key key = key_of((struct sock *)sock_of(fd));
	if (key.sk && st && bpf_map_update_elem(&sockets, &key, &st->ttd, BPF_ANY))
		lose(LOST_OWNER);
	return 0;
}

// about_socket begins an event about the socket of the first argument.
static __always_inline struct scratch *about_socket(struct act *a, u32 type)
{
	u64 sk = sock_of(a->arg[0]);
	if (!sk)
		return NULL;
	struct scratch *s = start(type);
	if (s)
		part_sock(s, sk);
	return s;
}

__noinline int created(u32 family, u32 type, u32 protocol)
{
	if (!wanted[EVENT_socket_create])
		return 0;
	struct scratch *s = start(EVENT_socket_create);
	if (!s)
		return 0;
	put2(s, family, type & 15);
	put2(s, protocol, 0);
	return finish(s);
}

__noinline int tell_socket(struct act *a)
{
	if (!a)
		return 0;
	own_socket(a->result);
	return created(a->arg[0], a->arg[1], a->arg[2]);
}

__noinline int tell_socketpair(struct act *a)
{
	s32 fds[2] = {};
	if (!a)
		return 0;
	bpf_probe_read_user(fds, sizeof(fds), (void *)a->arg[3]);
	own_socket(fds[0]);
	own_socket(fds[1]);
	created(a->arg[0], a->arg[1], a->arg[2]);
	created(a->arg[0], a->arg[1], a->arg[2]);
	if (!wanted[EVENT_socket_socketpair])
		return 0;
	u64 one = sock_of(fds[0]), other = sock_of(fds[1]);
	struct scratch *s = start(EVENT_socket_socketpair);
	if (!s)
		return 0;
	part_sock(s, one);
	part_sock(s, other);
	return finish(s);
}

// with_peer tells of a socket of this host and the one at its other end.
__noinline int with_peer(struct act *a, u32 type)
{
	if (!a || type > 255 || !wanted[type & 255])
		return 0;
	u64 sk = sock_of(a->arg[0]);
	struct unix_sock *u = (void *)sk;
	u64 peer = (u64)READ(u, peer);
	if (!peer)
		return 0;
	// Until it is accepted, the other end is one of the kernel's.
	struct unix_sock___10 *end = (void *)peer;
	if (type == EVENT_unix_stream_connect && bpf_core_field_exists(end->listener)) {
		u64 listener = (u64)READ(end, listener);
		if (listener)
			peer = listener;
	}
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_sock(s, sk);
	part_sock(s, peer);
	return finish(s);
}

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define AF_NETLINK 16

__noinline int tell_connect(struct act *a)
{
	if (!a)
		return 0;
	if (wanted[EVENT_socket_connect]) {
		struct scratch *s = about_socket(a, EVENT_socket_connect);
		if (s) {
			part_user_address(s, a->arg[1], a->arg[2]);
			finish(s);
		}
	}
	struct sock *sk = (void *)sock_of(a->arg[0]);
	if (READ(sk, __sk_common.skc_family) != AF_UNIX)
		return 0;
	return with_peer(a, READ(sk, sk_type) == SOCK_DGRAM ? EVENT_unix_may_send : EVENT_unix_stream_connect);
}

// bound tells of the node that was made for a socket with a path.
__noinline int bound(u64 sk)
{
	struct unix_sock *u = (void *)sk;
	struct task_struct *t = bpf_get_current_task_btf();
	struct dentry *d = READ(u, path.dentry);
	struct socket *sock = READ((struct sock *)sk, sk_socket);
	if (!d || !wanted[EVENT_inode_mknod])
		return 0;
	struct socket_alloc *own = (void *)sock - bpf_core_field_offset(struct socket_alloc, socket);
	struct scratch *s = start(EVENT_inode_mknod);
	if (!s)
		return 0;
	part_inode_of(s, (u64)READ(d, d_parent));
	put(s, 0);
	part_path(s, (u64)d, 0);
	put2(s, S_IFSOCK | (READ(own, vfs_inode.i_mode) & 07777 & ~READ(t, fs, umask)), 0);
	return finish(s);
}

__noinline int tell_bind(struct act *a)
{
	if (!a)
		return 0;
	struct scratch *s = about_socket(a, EVENT_socket_bind);
	if (s) {
		part_user_address(s, a->arg[1], a->arg[2]);
		finish(s);
	}
	struct sock *sk = (void *)sock_of(a->arg[0]);
	return READ(sk, __sk_common.skc_family) == AF_UNIX ? bound((u64)sk) : 0;
}

static __always_inline int socket_value(struct act *a, u32 type, u32 value)
{
	struct scratch *s = about_socket(a, type);
	if (!s)
		return 0;
	put(s, value);
	return finish(s);
}

__noinline int tell_listen(struct act *a) { return a ? socket_value(a, EVENT_socket_listen, a->arg[1]) : 0; }
__noinline int tell_shutdown(struct act *a) { return a ? socket_value(a, EVENT_socket_shutdown, a->arg[1]) : 0; }

__noinline int tell_accept(struct act *a)
{
	if (!a)
		return 0;
	struct sock *sk = (void *)sock_of(a->arg[0]);
	struct scratch *s = about_socket(a, EVENT_socket_accept);
	if (!s)
		return 0;
	struct inet_sock *inet = (void *)sk;
	put2(s, READ(inet, inet_sport), READ(sk, __sk_common.skc_rcv_saddr));
	u8 *six = room(s, 16);
	if (six)
		bpf_core_read(six, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	struct unix_address *own = NULL;
	if (READ(sk, __sk_common.skc_family) == AF_UNIX) {
		struct unix_sock *u = (void *)sk;
		own = READ(u, addr);
	}
	put_address(s, own ? (void *)own + bpf_core_field_offset(struct unix_address, name) : NULL,
		    own ? READ(own, len) : 0);
	return finish(s);
}

static __always_inline int socket_only(struct act *a, u32 type)
{
	struct scratch *s = about_socket(a, type);
	return s ? finish(s) : 0;
}

__noinline int tell_getsockname(struct act *a) { return a ? socket_only(a, EVENT_socket_getsockname) : 0; }
__noinline int tell_getpeername(struct act *a) { return a ? socket_only(a, EVENT_socket_getpeername) : 0; }

__noinline int tell_setsockopt(struct act *a)
{
	struct scratch *s = a ? about_socket(a, EVENT_socket_setsockopt) : NULL;
	if (!s)
		return 0;
	put2(s, a->arg[1], a->arg[2]);
	return finish(s);
}

#define NETLINK_TO 8 // a message has an address

__noinline int to_netlink(u64 sk, u64 address, u32 size)
{
	struct { u16 family, pad; u32 port, groups; } to = {};
	struct netlink_sock *n = (void *)sk;
	struct task_struct *t = bpf_get_current_task_btf();
	if (address && size)
		bpf_probe_read_user(&to, sizeof(to), (void *)address);
	struct scratch *s = start(EVENT_netlink_send);
	if (!s)
		return 0;
	part_sock(s, sk);
	put2(s, READ(t, cred, uid.val), READ(t, cred, gid.val));
	u32 group = 0;
	for (u32 i = 0; i < 32; i++)
		if (to.groups >> i & 1 && !group)
			group = i + 1;
	put2(s, READ(n, portid), group);
	put2(s, address && size ? NETLINK_TO : 0, 0);
	put(s, 0);
	return finish(s);
}

__noinline int message(struct act *a, u32 type, u64 address, u32 size)
{
	if (!a || type > 255)
		return 0;
	if (wanted[type & 255]) {
		struct scratch *s = about_socket(a, type);
		if (s) {
			part_user_address(s, address, size);
			finish(s);
		}
	}
	struct sock *sk = (void *)sock_of(a->arg[0]);
	u32 family = READ(sk, __sk_common.skc_family), kind = READ(sk, sk_type);
	if (type == EVENT_socket_sendmsg && family == AF_NETLINK && wanted[EVENT_netlink_send])
		return to_netlink((u64)sk, address, size);
	if (type == EVENT_socket_sendmsg && family == AF_UNIX && kind != SOCK_STREAM && !address)
		return with_peer(a, EVENT_unix_may_send);
	return 0;
}

struct header {
	u64 name;
	u32 size, pad;
};

// header_of reads where the head of a message has its address.
static __always_inline void header_of(struct act *a, u64 from, struct header *h)
{
	if (a->compat) {
		u32 two[2] = {};
		bpf_probe_read_user(two, sizeof(two), (void *)from);
		h->name = two[0];
		h->size = two[1];
	} else {
		bpf_probe_read_user(h, sizeof(*h), (void *)from);
	}
}

__noinline int tell_sendto(struct act *a) { return a ? message(a, EVENT_socket_sendmsg, a->arg[4], a->arg[5]) : 0; }
__noinline int tell_recvfrom(struct act *a) { return a ? message(a, EVENT_socket_recvmsg, 0, 0) : 0; }

__noinline int tell_sendmsg(struct act *a)
{
	struct header h = {};
	if (!a)
		return 0;
	header_of(a, a->arg[1], &h);
	return message(a, EVENT_socket_sendmsg, h.name, h.size);
}


struct many {
	struct act *a;
};

static long one_message(u32 i, struct many *m)
{
	struct header h = {};
	struct act *a = m->a;
	if (i >= a->result)
		return 1;
	header_of(a, a->arg[1] + i * (a->compat ? 32 : 64), &h);
	message(a, EVENT_socket_sendmsg, h.name, h.size);
	return 0;
}

__noinline int tell_sendmmsg(struct act *a)
{
	struct many m = {.a = a};
	if (a)
		bpf_loop(1024, one_message, &m, 0);
	return 0;
}

// received tells that the task has got a file.
static __always_inline void received(s32 fd)
{
	struct file *f = descriptor(fd);
	struct scratch *s = f ? start(EVENT_file_receive) : NULL;
	if (!s)
		return;
	part_file(s, (u64)f);
	finish(s);
}

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define SCM_MAX_FD 253
#define ARRIVALS_MAX (1 << 19) // more than the most messages with the most files

// What is told of messages that have come: each, and the files in it.
struct arrivals {
	u64 next;      // the head of the next message
	u64 at, end;   // in what comes with the last one
	u64 fds;       // the next descriptor
	u32 left;      // messages
	u32 passed;    // descriptors
};

struct arriving {
	struct act *a;
	struct arrivals m;
};

static __always_inline void one_arrival(struct act *a, struct arrivals *m)
{
	message(a, EVENT_socket_recvmsg, 0, 0);
	m->left--;
	if (a->compat) {
		u32 two[2] = {};
		bpf_probe_read_user(two, sizeof(two), (void *)(m->next + 16));
		m->at = two[0];
		m->end = m->at + two[1];
		m->next += 32;
	} else {
		u64 two[2] = {};
		bpf_probe_read_user(two, sizeof(two), (void *)(m->next + 32));
		m->at = two[0];
		m->end = m->at + two[1];
		m->next += 64;
	}
	if (!m->at || !wanted[EVENT_file_receive])
		m->end = m->at;
}

// arrive goes on by one message, one thing that comes with it, or one file.
static long arrive(u32 i, struct arriving *v)
{
	struct act *a = v->a;
	struct arrivals *m = &v->m;
	u64 length = 0, head = a->compat ? 12 : 16, word = a->compat ? 4 : 8;
	u32 kind[2] = {}, narrow = 0;
	if (m->passed) {
		s32 fd = -1;
		bpf_probe_read_user(&fd, sizeof(fd), (void *)m->fds);
		received(fd);
		m->fds += sizeof(fd);
		m->passed--;
		return 0;
	}
	if (m->end - m->at < head || m->end < m->at) {
		if (!m->left)
			return 1;
		one_arrival(a, m);
		return 0;
	}
	if (a->compat) {
		bpf_probe_read_user(&narrow, sizeof(narrow), (void *)m->at);
		length = narrow;
	} else {
		bpf_probe_read_user(&length, sizeof(length), (void *)m->at);
	}
	bpf_probe_read_user(kind, sizeof(kind), (void *)(m->at + head - sizeof(kind)));
	if (length < head || length > m->end - m->at) {
		m->end = m->at;
		return 0;
	}
	if (kind[0] == SOL_SOCKET && kind[1] == SCM_RIGHTS) {
		u64 n = (length - head) / sizeof(s32);
		m->fds = m->at + head;
		m->passed = n > SCM_MAX_FD ? SCM_MAX_FD : n;
	}
	m->at += (length + word - 1) & ~(word - 1);
	return 0;
}

static __always_inline int arrived(struct act *a, u32 n)
{
	struct arrivals first = {.next = a->arg[1], .left = n};
	struct arriving v = {.a = a};
	// Before Linux 6.7 the verifier takes what it knows of the first round for what
	// holds in all of them. Of what is copied it knows nothing.
	bpf_probe_read_kernel(&v.m, sizeof(v.m), &first);
	if (bpf_loop(ARRIVALS_MAX, arrive, &v, 0) == ARRIVALS_MAX)
		lose(LOST_TOO_LONG);
	return 0;
}

__noinline int tell_recvmsg(struct act *a) { return a ? arrived(a, 1) : 0; }
__noinline int tell_recvmmsg(struct act *a) { return a ? arrived(a, a->result) : 0; }

// unpack_sockets makes of the call that is all about sockets for 32-bit programs the
// one that it stands for, whose arguments are in memory.
__noinline int unpack_sockets(struct act *a)
{
	u32 v[6] = {}, words = 0;
	if (!a)
		return 0;
	a->c.kind = CALL_NONE;
	switch (a->arg[0]) {
	case 1: a->c.kind = CALL_SOCKET; words = 3; break;
	case 2: a->c.kind = CALL_BIND; words = 3; break;
	case 3: a->c.kind = CALL_CONNECT; words = 3; break;
	case 4: a->c.kind = CALL_LISTEN; words = 2; break;
	case 5: a->c.kind = CALL_ACCEPT; words = 3; break;
	case 6: a->c.kind = CALL_GETSOCKNAME; words = 3; break;
	case 7: a->c.kind = CALL_GETPEERNAME; words = 3; break;
	case 8: a->c.kind = CALL_SOCKETPAIR; words = 4; break;
	case 9: a->c.kind = CALL_SENDTO; words = 4; break; // send
	case 10: a->c.kind = CALL_RECVFROM; words = 4; break; // recv
	case 11: a->c.kind = CALL_SENDTO; words = 6; break;
	case 12: a->c.kind = CALL_RECVFROM; words = 6; break;
	case 13: a->c.kind = CALL_SHUTDOWN; words = 2; break;
	case 14: a->c.kind = CALL_SETSOCKOPT; words = 5; break;
	case 16: a->c.kind = CALL_SENDMSG; words = 3; break;
	case 17: a->c.kind = CALL_RECVMSG; words = 3; break;
	case 18: a->c.kind = CALL_ACCEPT; words = 4; break;
	case 19: a->c.kind = CALL_RECVMMSG; words = 5; break;
	case 20: a->c.kind = CALL_SENDMMSG; words = 4; break;
	}
	bpf_probe_read_user(v, (words * 4) & 31, (void *)a->arg[1]);
	for (u32 i = 0; i < 6; i++)
		a->arg[i] = v[i];
	return 0;
}

// Tasks.

// part_number writes who has the number pid in the namespace of the task; 0 is the
// task itself.
__noinline int part_number(struct scratch *s, s32 pid)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct state *own = state_of(t);
	if (!s || !own)
		return 0;
	struct number n = number_of(t);
	if (!pid || pid == (s32)n.pid) {
		put(s, own->ttd);
		return 0;
	}
	u64 other = numbered(pid);
	if (other)
		return part_other(s, other);
	n.pid = pid; // it has ended meanwhile
	u64 *ttd = bpf_map_lookup_elem(&leaders, &n);
	put(s, ttd ? *ttd : NOTHING);
	return 0;
}

__noinline int about(u32 type, s32 pid)
{
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_number(s, pid);
	return finish(s);
}

__noinline int about_value(u32 type, s32 pid, u32 value)
{
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_number(s, pid);
	put(s, value);
	return finish(s);
}

// tell_kill is one event, also for a group.
__noinline int tell_kill(struct act *a)
{
	if (!a)
		return 0;
	s32 pid = a->arg[0];
	return (u32)a->arg[1] == SIGURG ? 0 : about_value(EVENT_task_kill, pid < -1 ? -pid : pid, a->arg[1]);
}

__noinline int tell_tgkill(struct act *a)
{
	return a && (u32)a->arg[2] != SIGURG ? about_value(EVENT_task_kill, a->arg[0], a->arg[2]) : 0;
}

__noinline int tell_pidfd_send_signal(struct act *a)
{
	if (!a || (u32)a->arg[1] == SIGURG)
		return 0;
	struct scratch *s = start(EVENT_task_kill);
	if (!s)
		return 0;
	part_other(s, of_pidfd(a->arg[0]));
	put(s, (u32)a->arg[1]);
	return finish(s);
}

__noinline int tell_prctl(struct act *a)
{
	if (!a)
		return 0;
	struct scratch *s = start(EVENT_task_prctl);
	if (!s)
		return 0;
	put(s, (u32)a->arg[0]);
	put(s, a->arg[1]);
	put(s, a->arg[2]);
	put(s, a->arg[3]);
	put(s, a->arg[4]);
	return finish(s);
}

struct cap_sets { u32 effective, permitted, inheritable; };

static __always_inline void part_sets(struct scratch *s, u64 data)
{
	struct cap_sets v[2] = {};
	bpf_probe_read_user(v, sizeof(v), (void *)data);
	put(s, v[0].effective | (u64)v[1].effective << 32);
	put(s, v[0].inheritable | (u64)v[1].inheritable << 32);
	put(s, v[0].permitted | (u64)v[1].permitted << 32);
}

__noinline int tell_capget(struct act *a)
{
	s32 head[2] = {};
	if (!a || !a->arg[1])
		return 0;
	bpf_probe_read_user(head, sizeof(head), (void *)a->arg[0]);
	struct scratch *s = start(EVENT_capget);
	if (!s)
		return 0;
	part_number(s, head[1]);
	part_sets(s, a->arg[1]);
	return finish(s);
}

__noinline int tell_capset(struct act *a)
{
	if (!a)
		return 0;
	struct scratch *s = start(EVENT_capset);
	if (!s)
		return 0;
	const struct task_struct *t = bpf_get_current_task_btf();
	const struct cred *c = READ(t, cred);
	put(s, capabilities(&c->cap_effective));
	put(s, capabilities(&c->cap_inheritable));
	put(s, capabilities(&c->cap_permitted));
	return finish(s);
}

__noinline int tell_setpgid(struct act *a)
{
	if (!a)
		return 0;
	struct scratch *s = start(EVENT_task_setpgid);
	if (!s)
		return 0;
	part_number(s, a->arg[0]);
	part_number(s, a->arg[1] ? a->arg[1] : a->arg[0]);
	return finish(s);
}

__noinline int tell_getpgid(struct act *a) { return a ? about(EVENT_task_getpgid, a->arg[0]) : 0; }
__noinline int tell_getsid(struct act *a) { return a ? about(EVENT_task_getsid, a->arg[0]) : 0; }
__noinline int tell_setscheduler(struct act *a) { return a ? about(EVENT_task_setscheduler, a->arg[0]) : 0; }
__noinline int tell_getscheduler(struct act *a) { return a ? about(EVENT_task_getscheduler, a->arg[0]) : 0; }
__noinline int tell_ioprio_get(struct act *a) { return a ? about(EVENT_task_getioprio, a->arg[1]) : 0; }
__noinline int tell_ioprio_set(struct act *a) { return a ? about_value(EVENT_task_setioprio, a->arg[1], a->arg[2]) : 0; }

__noinline int tell_setpriority(struct act *a)
{
	if (!a)
		return 0;
	s32 nice = a->arg[2];
	return about_value(EVENT_task_setnice, a->arg[1], nice < -20 ? -20 : nice > 19 ? 19 : nice);
}

#define DEFAULT_PRIO 120

__noinline int tell_nice(struct act *a)
{
	const struct task_struct *t = bpf_get_current_task_btf();
	return !a ? 0 : about_value(EVENT_task_setnice, 0, READ(t, static_prio) - DEFAULT_PRIO);
}

__noinline int limited(s32 pid, u32 resource, u64 limit, u32 compat)
{
	u64 v[2] = {};
	if (compat) {
		u32 two[2] = {};
		bpf_probe_read_user(two, sizeof(two), (void *)limit);
		v[0] = two[0] == UNSET ? ~0ull : two[0];
		v[1] = two[1] == UNSET ? ~0ull : two[1];
	} else {
		bpf_probe_read_user(v, sizeof(v), (void *)limit);
	}
	if (!wanted[EVENT_task_setrlimit])
		return 0;
	struct scratch *s = start(EVENT_task_setrlimit);
	if (!s)
		return 0;
	part_number(s, pid);
	put(s, resource);
	put(s, v[0]);
	put(s, v[1]);
	return finish(s);
}

__noinline int tell_setrlimit(struct act *a) { return a ? limited(0, a->arg[0], a->arg[1], a->compat) : 0; }

__noinline int tell_prlimit(struct act *a)
{
	if (!a)
		return 0;
	const struct task_struct *own = bpf_get_current_task_btf();
	struct task_struct *other = (void *)numbered(a->arg[0]);
	if (other && (u64)other != bpf_get_current_task()) {
		struct scratch *s = start(EVENT_task_prlimit);
		if (s) {
			part_creds(s, (u64)READ(own, cred));
			part_creds(s, (u64)READ(other, real_cred));
			put(s, (a->arg[3] ? 1 : 0) | (a->arg[2] ? 2 : 0));
			finish(s);
		}
	}
	return a->arg[2] ? limited(a->arg[0], a->arg[1], a->arg[2], 0) : 0;
}

__noinline int tell_ptrace(struct act *a)
{
	if (!a)
		return 0;
	if (a->arg[0] == 0) { // PTRACE_TRACEME
		struct task_struct *t = bpf_get_current_task_btf();
		struct task_struct *parent = t->real_parent;
		struct state *st = parent ? state_of(parent) : NULL;
		if (!wanted[EVENT_ptrace_traceme])
			return 0;
		struct scratch *s = start(EVENT_ptrace_traceme);
		if (!s)
			return 0;
		put(s, st && !st->mute ? st->ttd : NOTHING);
		return finish(s);
	}
	if ((a->arg[0] == 16 || a->arg[0] == 0x4206) && wanted[EVENT_ptrace_access_check]) // ATTACH, SEIZE
		return about_value(EVENT_ptrace_access_check, a->arg[1], 2 | 0x10); // with real credentials
	return 0;
}

__noinline int into_task(u64 task, u32 mode)
{
	struct task_struct *t = (void *)task;
	const struct task_struct *own = bpf_get_current_task_btf();
	if (!t || READ(t, tgid) == own->tgid)
		return 0;
	struct scratch *s = start(EVENT_ptrace_access_check);
	if (!s)
		return 0;
	part_other(s, task);
	put(s, mode);
	return finish(s);
}

// What the other task is looked into for, and by which credentials of the caller.
#define ATTACH 0x12
#define LOOK 0x11
#define LOOK_AS_FILE 9

// into_memory is into_task, unless the two share their memory.
__noinline int into_memory(u64 task, u32 mode)
{
	struct task_struct *t = (void *)task;
	const struct task_struct *own = bpf_get_current_task_btf();
	return READ(t, mm) == READ(own, mm) ? 0 : into_task(task, mode);
}

// tell_process_vm is no event where nothing was to be read or written.
__noinline int tell_process_vm(struct act *a) { return a && a->result ? into_memory(numbered(a->arg[0]), ATTACH) : 0; }
__noinline int tell_process_madvise(struct act *a) { return a ? into_memory(of_pidfd(a->arg[0]), LOOK_AS_FILE) : 0; }
__noinline int tell_look_into(struct act *a) { return a && (s32)a->arg[0] ? into_task(numbered(a->arg[0]), LOOK) : 0; }

__noinline int tell_kcmp(struct act *a)
{
	if (!a)
		return 0;
	into_task(numbered(a->arg[0]), LOOK);
	return into_task(numbered(a->arg[1]), LOOK);
}

__noinline int tell_pidfd_getfd(struct act *a)
{
	if (!a)
		return 0;
	into_task(of_pidfd(a->arg[0]), ATTACH);
	received(a->result);
	return 0;
}

#include "sysv.h"
#include "keys.h"

// Mounts.

__noinline int part_place(struct scratch *s, u64 dentry, u64 mnt)
{
	if (!s)
		return 0;
	part_inode_of(s, dentry);
	if (dentry) {
		part_path(s, dentry, mnt);
		return 0;
	}
	struct path_part *p = room(s, sizeof(*p));
	if (p) {
		__builtin_memset(p, 0, sizeof(*p));
		p->flags = PATH_UNKNOWN;
	}
	return 0;
}

__noinline int part_place_at(struct scratch *s, s32 fd, u64 path)
{
	struct way *w = new_way();
	if (!s || !w)
		return 0;
	u32 found = lead_to(w, fd, path, 1);
	return part_place(s, found ? w->dentry : 0, w->mount + bpf_core_field_offset(struct mount, mnt));
}

#define MS_REMOUNT 32
#define MS_BIND 4096

__noinline int remounted(struct act *a)
{
	struct way *w = new_way();
	if (!a || !w || !wanted[EVENT_sb_remount])
		return 0;
	u32 found = lead_to(w, AT_FDCWD, a->arg[1], 1);
	struct dentry *d = (void *)w->dentry;
	struct super_block *sb = found ? READ(d, d_sb) : NULL;
	struct scratch *s = start(EVENT_sb_remount);
	if (!s)
		return 0;
	part_super(s, (u64)sb);
	return finish(s);
}

#define FSCONFIG_CMD_RECONFIGURE 7

__noinline int tell_fsconfig(struct act *a)
{
	if (!a || (u32)a->arg[1] != FSCONFIG_CMD_RECONFIGURE)
		return 0;
	struct file *f = descriptor(a->arg[0]);
	struct fs_context *c = READ(f, private_data);
	struct scratch *s = start(EVENT_sb_remount);
	if (!s)
		return 0;
	part_super(s, (u64)READ(c, root, d_sb));
	return finish(s);
}

__noinline int tell_mount(struct act *a)
{
	if (!a)
		return 0;
	u64 flags = a->arg[3];
	if ((flags & 0xffff0000) == 0xc0ed0000)
		flags &= ~0xffff0000ull;
	if (wanted[EVENT_sb_mount]) {
		struct scratch *s = start(EVENT_sb_mount);
		if (!s)
			return 0;
		part_user_text(s, a->arg[0]);
		part_place_at(s, AT_FDCWD, a->arg[1]);
		part_user_text(s, a->arg[2]);
		put(s, flags);
		end_of(a, s);
	}
	return 0;
}

__noinline int tell_umount(struct act *a)
{
	if (!a)
		return 0;
	struct way *w = new_way();
	if (!w)
		return 0;
	u32 flags = a->c.flags >= 0 ? arg(a, a->c.flags) : 0, found = 0;
	if (!a->ended) // what is there by now is something else
		found = lead_to(w, AT_FDCWD, a->arg[0], !(flags & 8));
	if (!a->ended && !found)
		return 0;
	struct mount *m = (void *)w->mount;
	struct scratch *s = start(EVENT_sb_umount);
	if (!s)
		return 0;
	part_dentry(s, found ? (u64)READ(m, mnt.mnt_root) : 0, 0);
	put(s, flags);
	return end_of(a, s);
}

__noinline int tell_pivot_root(struct act *a)
{
	struct scratch *s = a ? start(EVENT_sb_pivotroot) : NULL;
	if (!s)
		return 0;
	part_place_at(s, AT_FDCWD, a->arg[1]);
	part_place_at(s, AT_FDCWD, a->arg[0]);
	return end_of(a, s);
}

__noinline int part_place_of(struct scratch *s, s32 fd, u64 path)
{
	char first = 0;
	bpf_probe_read_user(&first, 1, (void *)path);
	if (first)
		return part_place_at(s, fd, path);
	struct file *f = descriptor(fd);
	return part_place(s, (u64)READ(f, f_path.dentry), (u64)READ(f, f_path.mnt));
}

__noinline int tell_move_mount(struct act *a)
{
	struct scratch *s = a ? start(EVENT_move_mount) : NULL;
	if (!s)
		return 0;
	part_place_of(s, a->arg[0], a->arg[1]);
	part_place_of(s, a->arg[2], a->arg[3]);
	return end_of(a, s);
}

// The rest.

#define BPF_MAP_CREATE 0
#define BPF_PROG_LOAD 5
#define BPF_PROG_GET_FD_BY_ID 13
#define BPF_MAP_GET_FD_BY_ID 14

__noinline int tell_bpf(struct act *a)
{
	if (!a)
		return 0;
	u32 cmd = a->arg[0];
	if (wanted[EVENT_bpf]) {
		struct scratch *s = start(EVENT_bpf);
		if (s) {
			put2(s, cmd, a->arg[2]);
			finish(s);
		}
	}
	struct file *f = descriptor(a->result);
	if ((cmd == BPF_MAP_CREATE || cmd == BPF_MAP_GET_FD_BY_ID) && wanted[EVENT_bpf_map]) {
		struct bpf_map *map = READ(f, private_data);
		struct scratch *s = start(EVENT_bpf_map);
		if (!s)
			return 0;
		put2(s, READ(map, map_type), READ(f, f_mode) & 3);
		return finish(s);
	}
	if ((cmd == BPF_PROG_LOAD || cmd == BPF_PROG_GET_FD_BY_ID) && wanted[EVENT_bpf_prog]) {
		struct bpf_prog *prog = READ(f, private_data);
		struct scratch *s = start(EVENT_bpf_prog);
		if (!s)
			return 0;
		put2(s, READ(prog, type), READ(prog, expected_attach_type));
		return finish(s);
	}
	return 0;
}

__noinline int tell_syslog(struct act *a)
{
	if (!a)
		return 0;
	struct scratch *s = start(EVENT_syslog);
	if (!s)
		return 0;
	put(s, (u32)a->arg[0]);
	return finish(s);
}

__noinline int clock_set(u64 time, u64 zone, u32 compat, u32 micro)
{
	u64 t[2] = {};
	u32 z[2] = {};
	if (time && compat) {
		u32 two[2] = {};
		bpf_probe_read_user(two, sizeof(two), (void *)time);
		t[0] = two[0];
		t[1] = two[1];
	} else if (time) {
		bpf_probe_read_user(t, sizeof(t), (void *)time);
	}
	if (zone)
		bpf_probe_read_user(z, sizeof(z), (void *)zone);
	struct scratch *s = start(EVENT_settime);
	if (!s)
		return 0;
	put2(s, time != 0, zone != 0);
	put2(s, t[0], micro ? t[1] * 1000 : t[1]);
	put2(s, z[0], z[1]);
	return finish(s);
}

__noinline int tell_settimeofday(struct act *a) { return a ? clock_set(a->arg[0], a->arg[1], a->compat, 1) : 0; }

__noinline int tell_clock_settime(struct act *a)
{
	return a && (u32)a->arg[0] == 0 ? clock_set(a->arg[1], 0, a->compat && !(a->c.how & CALL_SPLIT), 0) : 0;
}

// remember notes what the task is before an exec.
__noinline int remember(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct way *w = new_way();
	if (!w)
		return 0;
	const struct cred *c = READ(t, cred);
	bpf_probe_read_kernel(w->before.comm, sizeof(w->before.comm), t->comm);
	write_ids(w->before.ids, c);
	w->before.capeff = capabilities(&c->cap_effective);
	w->before.known = 1;
	return 0;
}

// What is told when a call begins.
static __always_inline int early(struct act *a)
{
	if (a->c.kind == CALL_IPC)
		unpack_ipc(a);
	switch (a->c.kind) {
	case CALL_UNLINK: return tell_unlink(a);
	case CALL_RMDIR: return tell_rmdir(a);
	case CALL_RENAME: return tell_rename(a);
	case CALL_CHMOD: return tell_chmod(a);
	case CALL_CHOWN: return tell_chown(a);
	case CALL_TRUNCATE: return tell_truncate(a);
	case CALL_UTIMES: return tell_utimes(a);
	case CALL_MOUNT: return tell_mount(a);
	case CALL_UMOUNT: return tell_umount(a);
	case CALL_PIVOT_ROOT: return tell_pivot_root(a);
	case CALL_MOVE_MOUNT: return tell_move_mount(a);
	case CALL_SHMGET: return tell_shmget(a);
	case CALL_SHMCTL: return tell_shmctl(a);
	case CALL_SEMGET: return tell_semget(a);
	case CALL_SEMCTL: return tell_semctl(a);
	case CALL_MSGGET: return tell_msgget(a);
	case CALL_MSGCTL: return tell_msgctl(a);
	case CALL_ADD_KEY: return tell_add_key(a);
	case CALL_REQUEST_KEY: return tell_request_key(a);
	case CALL_KEYCTL: return tell_keyctl(a);
	}
	return 0;
}

#define TELL(KIND, name) \
	case CALL_##KIND: return tell_##name(a)

static __always_inline int late(struct act *a)
{
	if (a->c.kind == CALL_IPC)
		unpack_ipc(a);
	else if (a->c.kind == CALL_SOCKETCALL)
		unpack_sockets(a);
	switch (a->c.kind) {
	TELL(OPEN, open);
	TELL(OPENAT2, openat2);
	TELL(MMAP, mmap);
	TELL(MMAP_PACKED, mmap_packed);
	TELL(LINK, link);
	TELL(UNLINK, unlink);
	TELL(RMDIR, rmdir);
	TELL(SYMLINK, symlink);
	TELL(MKDIR, mkdir);
	TELL(MKNOD, mknod);
	TELL(RENAME, rename);
	TELL(CHMOD, chmod);
	TELL(CHOWN, chown);
	TELL(TRUNCATE, truncate);
	TELL(UTIMES, utimes);
	TELL(GETATTR, getattr);
	TELL(SETXATTR, setxattr);
	TELL(SETXATTRAT, setxattrat);
	TELL(GETXATTR, getxattr);
	TELL(LISTXATTR, listxattr);
	TELL(REMOVEXATTR, removexattr);
	TELL(IOCTL, ioctl);
	TELL(FCNTL, fcntl);
	TELL(FLOCK, flock);
	TELL(STATFS, statfs);
	TELL(SOCKET, socket);
	TELL(SOCKETPAIR, socketpair);
	TELL(CONNECT, connect);
	TELL(BIND, bind);
	TELL(LISTEN, listen);
	TELL(ACCEPT, accept);
	TELL(GETSOCKNAME, getsockname);
	TELL(GETPEERNAME, getpeername);
	TELL(SETSOCKOPT, setsockopt);
	TELL(SHUTDOWN, shutdown);
	TELL(SENDTO, sendto);
	TELL(SENDMSG, sendmsg);
	TELL(SENDMMSG, sendmmsg);
	TELL(RECVFROM, recvfrom);
	TELL(RECVMSG, recvmsg);
	TELL(RECVMMSG, recvmmsg);
	TELL(KILL, kill);
	TELL(TGKILL, tgkill);
	TELL(PRCTL, prctl);
	TELL(CAPGET, capget);
	TELL(CAPSET, capset);
	TELL(SETPGID, setpgid);
	TELL(GETPGID, getpgid);
	TELL(GETSID, getsid);
	TELL(SETPRIORITY, setpriority);
	TELL(IOPRIO_SET, ioprio_set);
	TELL(IOPRIO_GET, ioprio_get);
	TELL(SETSCHEDULER, setscheduler);
	TELL(GETSCHEDULER, getscheduler);
	TELL(SETRLIMIT, setrlimit);
	TELL(PRLIMIT, prlimit);
	TELL(PTRACE, ptrace);
	TELL(MOUNT, mount);
	TELL(UMOUNT, umount);
	TELL(PIVOT_ROOT, pivot_root);
	TELL(MOVE_MOUNT, move_mount);
	TELL(BPF, bpf);
	TELL(SYSLOG, syslog);
	TELL(SETTIMEOFDAY, settimeofday);
	TELL(CLOCK_SETTIME, clock_settime);
	TELL(PIDFD_GETFD, pidfd_getfd);
	TELL(SHMGET, shmget);
	TELL(SHMAT, shmat);
	TELL(SHMCTL, shmctl);
	TELL(SEMGET, semget);
	TELL(SEMCTL, semctl);
	TELL(SEMOP, semop);
	TELL(MSGGET, msgget);
	TELL(MSGCTL, msgctl);
	TELL(MSGSND, msgsnd);
	TELL(MSGRCV, msgrcv);
	TELL(ADD_KEY, add_key);
	TELL(REQUEST_KEY, request_key);
	TELL(KEYCTL, keyctl);
	TELL(QUOTACTL, quotactl);
	TELL(QUOTACTL_FD, quotactl_fd);
	TELL(INIT_MODULE, init_module);
	TELL(FINIT_MODULE, finit_module);
	TELL(KEXEC_LOAD, kexec_load);
	TELL(KEXEC_FILE_LOAD, kexec_file_load);
	TELL(PIDFD_SEND_SIGNAL, pidfd_send_signal);
	TELL(NICE, nice);
	TELL(FSCONFIG, fsconfig);
	TELL(PROCESS_VM, process_vm);
	TELL(PROCESS_MADVISE, process_madvise);
	TELL(KCMP, kcmp);
	TELL(LOOK_INTO, look_into);
	}
	return 0;
}

#define TS_COMPAT 2      // of amd64: the call was made with the 32-bit numbers
#define TIF_32BIT 22     // of arm64

// number_in tells which call it is, as a place in calls.
static __always_inline u32 place_of(struct pt_regs *regs)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct pt_regs___amd64 *amd = (void *)regs;
	struct pt_regs___arm64 *arm = (void *)regs;
	if (bpf_core_field_exists(amd->orig_ax)) {
		u64 n = READ(amd, orig_ax);
		if (n >= CALLS_MAX)
			return 2 * CALLS_MAX;
		return READ(t, thread_info.status) & TS_COMPAT ? n + CALLS_MAX : n;
	}
	u32 n = READ(arm, syscallno);
	if (n >= CALLS_MAX || READ(t, thread_info.flags) >> TIF_32BIT & 1)
		return 2 * CALLS_MAX;
	return n;
}

static __always_inline void read_args(struct pt_regs *regs, struct act *a)
{
	struct pt_regs___amd64 *amd = (void *)regs;
	struct pt_regs___arm64 *arm = (void *)regs;
	if (bpf_core_field_exists(amd->orig_ax)) {
		if (a->compat) {
			a->arg[0] = (u32)READ(amd, bx);
			a->arg[1] = (u32)READ(amd, cx);
			a->arg[2] = (u32)READ(amd, dx);
			a->arg[3] = (u32)READ(amd, si);
			a->arg[4] = (u32)READ(amd, di);
			a->arg[5] = (u32)READ(amd, bp);
			return;
		}
		a->arg[0] = READ(amd, di);
		a->arg[1] = READ(amd, si);
		a->arg[2] = READ(amd, dx);
		a->arg[3] = READ(amd, r10);
		a->arg[4] = READ(amd, r8);
		a->arg[5] = READ(amd, r9);
		return;
	}
	a->arg[0] = READ(arm, orig_x0);
	a->arg[1] = READ(arm, regs[1]);
	a->arg[2] = READ(arm, regs[2]);
	a->arg[3] = READ(arm, regs[3]);
	a->arg[4] = READ(arm, regs[4]);
	a->arg[5] = READ(arm, regs[5]);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long id)
{
	u32 n = place_of(regs);
	struct call *c = bpf_map_lookup_elem(&calls, &n);
	if (!c || !(c->how & CALL_EARLY))
		return 0;
	if (c->kind == CALL_EXEC && (host || state_of(bpf_get_current_task_btf())))
		return remember();
	if (!me())
		return 0;
	struct act a = {.c = *c, .compat = n >= CALLS_MAX};
	read_args(regs, &a);
	return early(&a);
}

#define EINPROGRESS 115

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long result)
{
	u32 n = place_of(regs);
	struct call *c = bpf_map_lookup_elem(&calls, &n);
	if (!c || !c->kind)
		return 0;
	if (c->how & CALL_EARLY) {
		struct scratch *s = bpf_task_storage_get(&scratches, bpf_get_current_task_btf(), 0, 0);
		if (s && s->busy == HELD) {
			if (result < 0)
				return drop(s);
			s->busy = 1;
			u32 remount = c->kind == CALL_MOUNT;
			finish(s);
			if (!remount)
				return 0;
			struct act a = {.c = *c, .compat = n >= CALLS_MAX};
			read_args(regs, &a);
			if ((a.arg[3] & (MS_REMOUNT | MS_BIND)) == MS_REMOUNT)
				remounted(&a);
			return 0;
		}
	}
	if (n >= CALLS_MAX)
		result = (s32)result;
	if (result < 0 && result >= -4095 && !((c->kind == CALL_CONNECT || c->kind == CALL_SOCKETCALL) && result == -EINPROGRESS))
		return 0;
	if (!me())
		return 0;
	struct act a = {.c = *c, .compat = n >= CALLS_MAX, .ended = 1, .result = result};
	read_args(regs, &a);
	return late(&a);
}

// Tasks that come and go.

SEC("tp_btf/task_newtask")
int BPF_PROG(task_newtask, struct task_struct *task, unsigned long clone_flags)
{
	inherit(bpf_get_current_task_btf(), task);
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

SEC("tp_btf/sched_process_free")
int BPF_PROG(sched_process_free, struct task_struct *task)
{
	struct state *st = state_of(task);
	if (st && st->number.pid)
		bpf_map_delete_elem(&leaders, &st->number);
	return 0;
}

#define FMODE_EXEC_FLAGS (FMODE_EXEC | 0100000) // with O_LARGEFILE

// opening begins an event of a task that is about to execute something, as what it
// was then.
static __always_inline struct scratch *opening(void)
{
	struct scratch *s = start(EVENT_file_open);
	struct way *w = bpf_task_storage_get(&ways, bpf_get_current_task_btf(), 0, 0);
	if (!s || !w || !w->before.known)
		return s;
	struct head *h = (void *)s->b;
	__builtin_memcpy(h->comm, w->before.comm, sizeof(h->comm));
	__builtin_memcpy(h->ids, w->before.ids, sizeof(h->ids));
	h->capeff = w->before.capeff;
	return s;
}

// executing tells that a file was opened to be executed.
__noinline int executing(u64 file)
{
	struct scratch *s = opening();
	if (!s)
		return 0;
	u32 at = s->used;
	part_file(s, file);
	if (at < LIMIT)
		*(u64 *)&s->b[at] |= FMODE_EXEC_FLAGS;
	return finish(s);
}

// script tells that of a file that is known by its path alone: it names the
// program that is to be executed with it.
__noinline int script(u64 name)
{
	struct way *w = new_way();
	if (!w)
		return 0;
	long n = bpf_probe_read_kernel_str(w->path, PATH_BUFFER, (void *)name);
	w->follow = 1;
	w->size = n > 0 ? n - 1 : 0;
	set_out(w, AT_FDCWD);
	if (n > 1)
		go(w);
	u64 found = w->state == WAY_FOUND ? w->dentry : 0;
	struct scratch *s = opening();
	if (!s)
		return 0;
	put(s, FMODE_EXEC_FLAGS);
	part_inode_of(s, found);
	if (found) {
		part_path(s, found, w->mount + bpf_core_field_offset(struct mount, mnt));
	} else {
		struct path_part *p = room(s, sizeof(*p));
		if (p) {
			__builtin_memset(p, 0, sizeof(*p));
			p->flags = PATH_UNKNOWN;
		}
	}
	put(s, NOTHING);
	return finish(s);
}

struct starter {
	u64 file;
};

static long of_area(struct task_struct *t, struct vm_area_struct *vma, struct starter *l)
{
	l->file = (u64)READ(vma, vm_file);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, s32 old, struct linux_binprm *bprm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct state *st = me(), *any = st;
	if (!st) {
		// Who is left out can become somebody who is not.
		if (host)
			any = met(t);
		else
			any = st = awaken(t);
		if (!any)
			return 0;
	}
	struct file *exe = READ(bprm, file);
	if (st && wanted[EVENT_file_open]) {
		const char *name = READ(bprm, filename), *interp = READ(bprm, interp);
		if (name != interp)
			script((u64)name);
		executing((u64)exe);
		struct pt_regs *regs = (void *)bpf_task_pt_regs(t);
		struct pt_regs___amd64 *amd = (void *)regs;
		struct pt_regs___arm64 *arm = (void *)regs;
		u64 ip = bpf_core_field_exists(amd->ip) ? READ(amd, ip) : READ(arm, pc);
		struct starter l = {};
		bpf_find_vma(t, ip, of_area, &l, 0);
		struct file *loader = (void *)l.file;
		if (loader && READ(loader, f_inode) != READ(exe, f_inode))
			executing((u64)loader);
	}
	executed(any, exe);
	return 0;
}

// tried is what tells whether such programs may be loaded at all.
SEC("tp_btf/sys_exit")
int BPF_PROG(tried, struct pt_regs *regs, long result)
{
	return 0;
}
