// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Programs on the security hooks of the kernel, which tell of the tasks of one
// workload, or of the whole host, what they do, and do nothing else: each
// returns what the kernel takes for no opinion.

#include "tasks.h"
#include "look.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("lsm/task_alloc")
int BPF_PROG(task_alloc, struct task_struct *task, unsigned long clone_flags)
{
	inherit(bpf_get_current_task_btf(), task);
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
	struct state *st = host ? met(bpf_get_current_task_btf()) : me();
	if (st)
		executed(st, bprm->file);
}

// making notes that the task is about to make what dentry names. A file system
// that lies on another has that make something too.
static __always_inline u64 making(struct state *st, struct inode *dir, struct dentry *dentry)
{
	u32 above = READ(dir, i_sb, s_magic) == OVERLAYFS_MAGIC;
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
	n.dev = READ(inode, i_sb, s_dev);
	n.generation = READ(inode, i_generation);
	n.ino = READ(inode, i_ino);
	if (bpf_ringbuf_output(&notes, &n, sizeof(n), BPF_RB_NO_WAKEUP))
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
		if (host || !(READ(file, f_flags) & FMODE_EXEC))
			return 0;
		st = awaken(bpf_get_current_task_btf());
		if (!st)
			return 0;
	} else if (contained && (READ(file, f_flags) & FMODE_EXEC)) {
		enclose(bpf_get_current_task_btf());
	}
	if (no_opens || (READ(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
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
	struct state *st = me();
	if (!st)
		return 0;
	struct file *file = argument(ctx, 0);
	if (!file && !(prot & PROT_EXEC))
		return 0;
	if (file && ((READ(file, f_inode, i_mode) & S_IFMT) != S_IFREG ||
		     !is_hashed(READ(file, f_inode, i_sb, s_magic))))
		return 0;
	struct scratch *s = begin(st, EVENT_mmap_file);
	if (!s)
		return 0;
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
	put2(s, READ(attr, ia_valid), READ(attr, ia_mode));
	put2(s, READ(attr, ia_uid.val), READ(attr, ia_gid.val));
	put(s, READ(attr, ia_size));
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
	put_dentry(s, READ(path, dentry), READ(path, mnt));
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
	struct dentry *d = READ(p, dentry);
	put_inode(s, READ(d, d_inode));
	put_path(s, d, READ(p, mnt), 0);
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
	put_dentry(s, READ(mnt, mnt_root), NULL);
	put(s, (u32)flags);
	return finish(s);
}

static __noinline void put_superblock(struct scratch *s, struct super_block *sb)
{
	put_dentry(s, READ(sb, s_root), NULL);
	put_text(s, READ(sb, s_type, name));
	put(s, READ(sb, s_flags));
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
	struct sock *sk = READ(sock, sk);
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
		void *name = READ(msg, msg_name);                                     \
		put_address(s, name, name ? READ(msg, msg_namelen) : 0);              \
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
	put2(s, READ(p, creds.uid.val), READ(p, creds.gid.val));
	put2(s, READ(p, portid), READ(p, dst_group));
	put2(s, READ(p, flags), READ(p, nsid_is_set));
	put(s, (u32)READ(p, nsid));
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
	put(s, READ(limit, rlim_cur));
	put(s, READ(limit, rlim_max));
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
	put2(s, READ(ts, tv_sec), READ(ts, tv_nsec));
	put2(s, READ(tz, tz_minuteswest), READ(tz, tz_dsttime));
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
	put2(s, args[0] & 1, READ(key, perm));
	put2(s, READ(key, uid.val), READ(key, gid.val));
	put(s, READ(key, flags));
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
	put2(s, READ(map, map_type), fmode);
	return finish(s);
}

NODE(bpf_prog, struct bpf_prog *prog)
{
	EVENT(bpf_prog);
	put2(s, READ(prog, type), READ(prog, expected_attach_type));
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
	struct inode *i = READ(file, f_inode);
	struct inode_part times;
	u32 one = 1;
	if ((READ(i, i_mode) & S_IFMT) != S_IFREG)
		return;
	stamps(i, &times);
	n.of.ino = READ(i, i_ino);
	n.of.size = READ(i, i_size);
	n.of.ctime = times.ctime;
	n.of.mtime = times.mtime;
	n.of.dev = READ(i, i_sb, s_dev);
	n.of.generation = READ(i, i_generation);
	n.of.nlink = READ(i, i_nlink);
	n.of.magic = READ(i, i_sb, s_magic);
	if (n.of.size == 0 || n.of.size > HASH_MAX || bpf_map_lookup_elem(&hashed, &n.of))
		return;
	if ((s64)(bpf_ktime_get_boot_ns() + born - n.of.ctime) < SETTLED)
		return;
	long kind = bpf_ima_file_hash(file, n.digest, sizeof(n.digest));
	if (kind >= 0 ? kind != want_hash : kind == -EOPNOTSUPP) {
		no_digests = 1;
		return;
	}
	if (kind < 0) { // for this file alone
		bpf_map_update_elem(&hashed, &n.of, &one, BPF_ANY);
		return;
	}
	if (!bpf_ringbuf_output(&notes, &n, sizeof(n), BPF_RB_NO_WAKEUP))
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

// allowed is what tells whether such programs may be loaded at all.
SEC("lsm/file_open")
int BPF_PROG(allowed, struct file *file)
{
	return 0;
}
