// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// What a call names by a number: other tasks, and objects of System V, in the
// tables where the kernel itself looks for them.

#pragma once

#include "names.h"

// entry_of is what an xarray has at a place: its head is head. Inner nodes are
// told by their lowest bits.
__noinline u64 entry_of(u64 head, u32 index)
{
	struct xa_node *any = NULL;
	u32 mask = bpf_core_field_size(any->slots) / 8 - 1, top = 1;
	u64 entry = head;
	for (int i = 0; i < 8; i++) {
		if ((entry & 3) != 2 || entry < 4096)
			break;
		struct xa_node *n = (void *)(entry - 2);
		u32 at = index >> (READ(n, shift) & 31);
		if (top && at > mask)
			return 0;
		top = 0;
		entry = 0;
		bpf_probe_read_kernel(&entry, 8, (void *)n + bpf_core_field_offset(struct xa_node, slots) + 8 * (at & mask));
	}
	if (top && index)
		return 0; // there is one entry alone, the first
	return entry & 3 ? 0 : entry;
}

// of_pid is the task that a struct pid stands for, NULL when it has gone.
static __always_inline struct task_struct *of_pid(struct pid *pid)
{
	struct hlist_node *first = NULL;
	if (!pid)
		return NULL;
	bpf_probe_read_kernel(&first, 8, (void *)pid + bpf_core_field_offset(struct pid, tasks));
	return first ? (void *)first - bpf_core_field_offset(struct task_struct, pid_links) : NULL;
}

// numbered is the task with a number in the pid namespace of the caller; 0 is the
// caller.
__noinline u64 numbered(s32 number)
{
	struct task_struct *t = bpf_get_current_task_btf();
	if (!number)
		return bpf_get_current_task();
	struct pid *own = READ(t, thread_pid);
	struct upid *last = (void *)own + bpf_core_field_offset(struct pid, numbers) +
			    READ(own, level) * bpf_core_type_size(struct upid);
	return (u64)of_pid((void *)entry_of((u64)READ(last, ns, idr.idr_rt.xa_head), number));
}

#define PID_FS_MAGIC 0x50494446 // since Linux 6.9
#define PROC_MAGIC 0x9fa0

// of_pidfd is the task that a descriptor stands for: a pidfd, or the directory of a
// process in procfs.
__noinline u64 of_pidfd(s32 fd)
{
	struct file *f = descriptor(fd);
	struct inode *i = READ(f, f_inode);
	if (!f)
		return 0;
	if (READ(i, i_sb, s_magic) == PID_FS_MAGIC)
		return (u64)of_pid(READ(i, i_private));
	if (READ(i, i_sb, s_magic) == PROC_MAGIC) {
		struct proc_inode *p = (void *)i - bpf_core_field_offset(struct proc_inode, vfs_inode);
		return (u64)of_pid(READ(p, pid));
	}
	return (u64)of_pid(READ(f, private_data));
}

// part_other writes who another task is, by the first of its process.
__noinline int part_other(struct scratch *s, u64 task)
{
	if (!s)
		return 0;
	struct task_struct *t = (void *)task, *first = READ(t, group_leader);
	struct number n = number_of(first);
	u64 *ttd = first ? bpf_map_lookup_elem(&leaders, &n) : NULL;
	put(s, ttd ? *ttd : NOTHING);
	return 0;
}

// Objects of System V.

enum ipc_kind { IPC_SEM, IPC_MSG, IPC_SHM }; // their places in the namespace

__noinline u64 ids_of(u32 kind)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct ipc_namespace *ns = NULL;
	if (!bpf_core_field_exists(ns->ids)) // a kernel without them
		return 0;
	ns = READ(t, nsproxy, ipc_ns);
	return ns ? (u64)ns + bpf_core_field_offset(struct ipc_namespace, ids) + (kind & 3) * bpf_core_type_size(struct ipc_ids) : 0;
}

// ipc_object is the struct kern_ipc_perm with an id, 0 if there is none. How many
// bits of the id are a place depends on how the kernel was started.
__noinline u64 ipc_object(u32 kind, s32 id)
{
	struct ipc_namespace *ns = NULL;
	if (!bpf_core_field_exists(ns->ids))
		return 0;
	struct ipc_ids *ids = (void *)ids_of(kind);
	u64 head = (u64)READ(ids, ipcs_idr.idr_rt.xa_head);
	if (!ids || id < 0)
		return 0;
	for (u32 bits = 15; bits <= 24; bits += 9) {
		struct kern_ipc_perm *p = (void *)entry_of(head, id & ((1 << bits) - 1));
		if (p && READ(p, id) == id)
			return (u64)p;
	}
	return 0;
}
