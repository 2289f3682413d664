// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Which tasks are told of. A task of the workload has a state; its children inherit
// it, so nobody else ever has one. On the whole host every task gets one.

#pragma once

#include "record.h"

static __always_inline struct number number_of(struct task_struct *t)
{
	struct number n = {};
	struct pid *pid = READ(t, thread_pid);
	struct upid *own = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			   READ(pid, level) * bpf_core_type_size(struct upid);
	n.pid = READ(own, nr);
	n.space = READ(own, ns, ns.inum);
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
		box_mounts = 0;
		// If there is no room for it, the other side looks at live.
		u64 note = NOTE_END;
		bpf_ringbuf_output(&ring, &note, sizeof(note), BPF_RB_FORCE_WAKEUP);
	}
}

// mounts_of is a number that no other mount namespace had or will have.
static __always_inline u64 mounts_of(struct task_struct *t)
{
	struct mnt_namespace *ns = READ(t, nsproxy, mnt_ns);
	if (bpf_core_field_exists(ns->seq))
		return READ(ns, seq);
	if (bpf_core_field_exists(ns->ns.ns_id))
		return READ(ns, ns.ns_id);
	return READ(ns, ns.inum);
}

// enclose notes the namespaces of the container, and tells whether the task is
// in one. A hook of the runtime can be there before the container's program,
// with the number of a process of ours. What has no mount namespace of its own
// has another root; nobody can enter that.
static __noinline u32 enclose(struct task_struct *t)
{
	if (READ(t, nsproxy, mnt_ns, ns.inum) == home_mounts)
		return (u64)READ(t, fs, root.dentry) != home_root;
	u64 mounts = mounts_of(t);
	struct number n = number_of(t);
	if (!box_mounts || (box_mounts == mounts && n.pid == 1)) {
		box_pids = n.space;
		box_mounts = mounts;
	}
	return 1;
}

// awaken begins to tell of a task that waits for its first exec, and returns
// its state if that is now. A thread that is not the first of its process
// becomes it by the exec. Somebody who has entered the namespaces of a container
// from outside is one of it from its exec on.
static __noinline struct state *awaken(struct task_struct *t)
{
	struct state *st = state_of(t);
	if (st && st->mute == MUTE_RUNTIME && !enclose(t))
		return NULL;
	if (!st) {
		if (!box_mounts || mounts_of(t) != box_mounts || number_of(t).space != box_pids) {
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
	if (n >= LIMIT + SLACK || bpf_ringbuf_output(&notes, s->b, n, BPF_RB_NO_WAKEUP))
		lose(LOST_NOTE);
	release(s);
	return 0;
}

// The whole host.

static __always_inline void note_executable(struct state *st, struct file *exe)
{
	struct inode *i = READ(exe, f_inode);
	st->exe_ino = READ(i, i_ino);
	st->exe_dev = READ(i, i_sb, s_dev);
}

// introduce gives an identity to a process of which nothing is known: it was
// there before us. It is that of an exec by its parent.
static __noinline void introduce(struct task_struct *t, struct state *st)
{
	struct file *exe = READ(t, mm, exe_file);
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
			holds = READ(t, cred, uid.val) == (u32)r->id;
		else if (kind == RULE_EXECUTABLE)
			holds = st->exe_ino == r->id && st->exe_dev == r->at;
		else
			holds = bpf_get_current_ancestor_cgroup_id(r->at) == r->id;
		u32 bit = kind == RULE_UID ? 1 : kind == RULE_EXECUTABLE ? 2 : 4;
		if (!r->only && holds)
			return 1;
		if (r->only)
			wanted |= bit;
		if (holds)
			is |= bit;
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

// inherit makes a new task one that is told of, if its maker is one.
static __always_inline void inherit(struct task_struct *maker, struct task_struct *task)
{
	struct state *st = host ? met(maker) : state_of(maker);
	if (!st || st->mute == MUTE_EXEC)
		return;
	struct state *child = bpf_task_storage_get(&states, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!child) {
		lose(LOST_TASK);
		return;
	}
	child->mute = st->mute;
	if (st->mute)
		return;
	child->ttd = child->pttd = st->ttd;
	child->context = st->context;
	child->exe_ino = st->exe_ino;
	child->exe_dev = st->exe_dev;
	child->tnum = __sync_fetch_and_add(&tasks_made, 1) + 1;
}

// executed gives a task that has begun to execute a file its new identity.
static __always_inline void executed(struct state *st, struct file *exe)
{
	if (host)
		note_executable(st, exe);
	u64 ttd = __sync_fetch_and_add(&execs, 1) + 1;
	struct scratch *s = begin(st, NOTE_EXEC);
	st->ttd = ttd;
	st->number = number_of(bpf_get_current_task_btf());
	bpf_map_update_elem(&leaders, &st->number, &st->ttd, BPF_ANY);
	if (!s)
		return;
	put(s, ttd);
	put_file(s, exe);
	note(s);
}
