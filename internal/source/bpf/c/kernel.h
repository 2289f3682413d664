// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// What the hooks look at of the kernel, and no more. Only the names of structs
// and members count: where they are is filled in when the programs are loaded,
// from the type information of the running kernel. A name with ___ in it is a
// variant of the struct whose name comes before.

#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef short s16;
typedef s16 __s16;
typedef s32 __s32;
typedef s64 __s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u32 __wsum;
typedef u16 umode_t;
typedef _Bool bool;

#define NULL ((void *)0)

enum {
	BPF_ANY = 0,
	BPF_F_NO_PREALLOC = 1,
	BPF_RB_AVAIL_DATA = 0,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { u32 val; } kuid_t;
typedef struct { u32 val; } kgid_t;
typedef struct { u64 val; } kernel_cap_t;
typedef struct { u8 b[16]; } uuid_t;

struct uid_gid_extent { u32 first, lower_first, count; };
struct uid_gid_map {
	u32 nr_extents;
	struct uid_gid_extent extent[5];
	struct uid_gid_extent *forward;
};
struct key;
struct user_namespace {
	struct uid_gid_map uid_map, gid_map;
	s32 level;
	struct key *user_keyring_register;
};

struct cred {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	u32 securebits;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective;
	struct key *session_keyring, *process_keyring, *thread_keyring;
	struct user_namespace *user_ns;
};

struct proc_ns_operations { const char *name; };
struct ns_common {
	const struct proc_ns_operations *ops;
	u32 inum;
	u64 ns_id; // since Linux 6.18
};
struct mnt_namespace {
	struct ns_common ns;
	u64 seq; // before
};
struct xarray { void *xa_head; };
struct xa_node {
	u8 shift;
	void *slots[64];
};
struct idr { struct xarray idr_rt; };
struct pid_namespace {
	struct idr idr;
	struct ns_common ns;
};
struct ipc_ids {
	u16 seq;
	struct idr ipcs_idr;
	s32 last_idx;
};
struct ipc_namespace { struct ipc_ids ids[3]; };
struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct ipc_namespace *ipc_ns;
};

struct hlist_node { struct hlist_node *next; };
struct hlist_head { struct hlist_node *first; };
struct upid {
	s32 nr;
	struct pid_namespace *ns;
};
struct pid {
	u32 level;
	struct hlist_head tasks[1];
	struct upid numbers[1];
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

struct dentry;
struct inode;
struct super_block;
struct vfsmount;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct fs_struct {
	s32 umask;
	struct path root, pwd;
};
struct mm_struct { struct file *exe_file; };

struct fdtable {
	u32 max_fds;
	struct file **fd;
};
struct files_struct { struct fdtable *fdt; };
struct thread_info {
	unsigned long flags;
	u32 status; // x86
};

struct task_struct {
	struct thread_info thread_info;
	struct files_struct *files;
	s32 pid, tgid;
	u32 flags;
	s32 exit_state;
	char comm[16];
	s32 static_prio;
	const struct cred *cred, *real_cred;
	struct task_struct *group_leader, *real_parent;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct fs_struct *fs;
	struct pid *thread_pid;
	struct hlist_node pid_links[1];
};

struct file_system_type { const char *name; };
struct block_device { u32 bd_dev; };
struct quotactl_ops {
	int (*quota_enable)(void);
};
struct list_head { struct list_head *next; };
struct super_block {
	struct list_head s_list;
	struct block_device *s_bdev;
	const struct quotactl_ops *s_qcop;
	u32 s_dev;
	unsigned long s_flags, s_magic;
	char s_id[32];
	uuid_t s_uuid;
	struct dentry *s_root;
	struct file_system_type *s_type;
};

struct inode_operations {
	int (*rename)(void);
};
struct inode {
	umode_t i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	const struct inode_operations *i_op;
	struct super_block *i_sb;
	u32 i_rdev;
	unsigned long i_ino;
	u32 i_nlink, i_generation, i_flags;
	s64 i_size;
	void *i_private;
	const char *i_link;
	struct timespec64 i_ctime, i_mtime; // before Linux 6.6 and 6.7
};
struct inode___6 {
	struct timespec64 __i_ctime, __i_mtime; // before Linux 6.11
};
struct inode___11 {
	s64 i_ctime_sec, i_mtime_sec;
	u32 i_ctime_nsec, i_mtime_nsec;
};

struct qstr {
	u32 hash, len;
	const u8 *name;
};
struct hlist_bl_node { struct hlist_bl_node *next, **pprev; };
enum dentry_flags { DCACHE_MOUNTED = 1 };
struct dentry {
	u32 d_flags;
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};
struct mount {
	struct list_head mnt_mounts, mnt_child;
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct file {
	u32 f_flags, f_mode;
	void *private_data;
	struct path f_path;
	struct inode *f_inode;
};
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};
struct fs_context { struct dentry *root; };
struct linux_binprm {
	struct file *file;
	const char *filename, *interp;
};
struct vm_area_struct { struct file *vm_file; };
struct iattr {
	u32 ia_valid;
	umode_t ia_mode;
	kuid_t ia_uid;
	kgid_t ia_gid;
	s64 ia_size;
};

struct in6_addr { u8 in6_u[16]; };
struct sock_common {
	u16 skc_family;
	u32 skc_rcv_saddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct socket;
struct sock {
	struct sock_common __sk_common;
	u16 sk_type, sk_protocol;
	struct socket *sk_socket;
};
struct socket {
	s16 type;
	struct sock *sk;
};
struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};
struct netlink_sock { u32 portid; };
struct inet_sock {
	u32 inet_saddr;
	u16 inet_sport;
};
struct unix_address {
	s32 len;
	char name[1];
};
struct unix_sock {
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};
struct unix_sock___10 { struct sock *listener; }; // since Linux 6.10
struct msghdr {
	void *msg_name;
	s32 msg_namelen;
};
struct scm_creds {
	kuid_t uid;
	kgid_t gid;
};
struct netlink_skb_parms {
	struct scm_creds creds;
	u32 portid, dst_group, flags;
	bool nsid_is_set;
	s32 nsid;
};
struct sk_buff { char cb[48]; };

struct kern_ipc_perm {
	s32 id;
	unsigned long seq;
	kuid_t uid, cuid;
	kgid_t gid, cgid;
	umode_t mode;
};
struct rb_node {
	unsigned long __rb_parent_color;
	struct rb_node *rb_right, *rb_left;
};
struct assoc_array {
	void *root;
	unsigned long nr_leaves_on_tree;
};
struct assoc_array_node {
	void *back_pointer;
	u8 parent_slot;
	void *slots[16];
};
struct assoc_array_shortcut {
	void *back_pointer;
	s32 parent_slot;
	void *next_node;
};
struct key_type { const char *name; };
struct key {
	s32 serial;
	struct rb_node serial_node;
	struct key_type *type;
	char *description;
	struct assoc_array keys;
	kuid_t uid;
	kgid_t gid;
	u32 perm;
	unsigned long flags;
};
struct tun_struct { u32 numqueues, numdisabled, flags; };
struct tun_file { struct tun_struct *tun; };
enum kernel_read_file_id {
	READING_MODULE = 2,
	READING_MODULE_COMPRESSED,
	READING_KEXEC_IMAGE,
	READING_KEXEC_INITRAMFS,
};
struct rlimit { unsigned long rlim_cur, rlim_max; };
struct timezone { s32 tz_minuteswest, tz_dsttime; };
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC };
enum bpf_prog_type { BPF_PROG_TYPE_UNSPEC };
enum bpf_attach_type { BPF_CGROUP_INET_INGRESS };
struct bpf_map { enum bpf_map_type map_type; };
struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
};
struct seq_file;
struct pt_regs___amd64 { unsigned long di, si, dx, r10, r8, r9, bx, cx, bp, ip, orig_ax; };
struct pt_regs___arm64 {
	unsigned long regs[31], pc, orig_x0;
	s32 syscallno;
};
struct bpf_iter_meta { struct seq_file *seq; };
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop
