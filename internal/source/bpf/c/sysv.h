// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// System V: shared memory, semaphores, messages. It is a part of trace.bpf.c.

#pragma once

#include "find.h"

// An object is known by its address, and by its id, since addresses are used again.
struct ipc_key {
	u64 perm, id;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct ipc_key);
	__type(value, u64);
} ipc_makers SEC(".maps");

// newest says which object was made last when a call began that finds or makes one:
// the kernel counts places up, and from the beginning under the next seq.
struct newest {
	u32 known, kind;
	s32 seq, place;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct newest);
} newests SEC(".maps");

#define IPC_CREAT 01000

__noinline int note_newest(u32 kind)
{
	struct ipc_namespace *ns = NULL;
	struct newest *n = bpf_task_storage_get(&newests, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!n) {
		lose(LOST_OWNER);
		return 0;
	}
	n->known = 0;
	if (!bpf_core_field_exists(ns->ids))
		return 0;
	struct ipc_ids *ids = (void *)ids_of(kind);
	n->kind = kind;
	n->seq = READ(ids, seq);
	n->place = READ(ids, last_idx);
	n->known = 1;
	return 0;
}

// made_since tells whether the call that ends has made the object that it returns.
static __always_inline u32 made_since(u32 kind, struct kern_ipc_perm *p)
{
	struct newest *n = bpf_task_storage_get(&newests, bpf_get_current_task_btf(), 0, 0);
	if (!n || !n->known || n->kind != kind)
		return 0;
	n->known = 0;
	s32 id = READ(p, id), seq = READ(p, seq);
	u32 bits = id >> 15 == seq ? 15 : 24, all = (1u << (31 - bits)) - 1;
	u32 ahead = (u32)(seq - n->seq) & all; // they are counted anew when they are used up
	if (ahead)
		return ahead < all / 2;
	return (id & ((1 << bits) - 1)) > n->place;
}

static __always_inline struct ipc_key ipc_key_of(u64 perm)
{
	struct kern_ipc_perm *p = (void *)perm;
	return (struct ipc_key){.perm = perm, .id = READ(p, id)};
}

// part_perm writes an object, zeros for one that has gone.
__noinline int part_perm(struct scratch *s, u64 perm)
{
	if (!s)
		return 0;
	struct kern_ipc_perm *p = (void *)perm;
	struct ipc_key key = ipc_key_of(perm);
	u64 *maker = perm ? bpf_map_lookup_elem(&ipc_makers, &key) : NULL;
	put2(s, READ(p, uid.val), READ(p, gid.val));
	put2(s, READ(p, cuid.val), READ(p, cgid.val));
	put(s, READ(p, mode));
	put(s, maker ? *maker : NOTHING);
	return 0;
}

__noinline int ipc_value(u32 type, u64 perm, s32 value)
{
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_perm(s, perm);
	put(s, (u32)value);
	return finish(s);
}

static __always_inline int permitted(u64 perm, s32 flag)
{
	return ipc_value(EVENT_ipc_permission, perm, (s16)flag);
}

// ipc_get is a call that finds an object, or makes one.
__noinline int ipc_get(struct act *a, u32 kind, u32 type, s32 flags)
{
	if (!a)
		return 0;
	if (!a->ended)
		return note_newest(kind);
	u64 perm = ipc_object(kind, a->result);
	if (!(u32)a->arg[0] || made_since(kind, (void *)perm)) { // IPC_PRIVATE
		struct state *st = state_of(bpf_get_current_task_btf());
		struct ipc_key key = ipc_key_of(perm);
		if (perm && st && bpf_map_update_elem(&ipc_makers, &key, &st->ttd, BPF_ANY))
			lose(LOST_OWNER);
		return 0;
	}
	permitted(perm, flags);
	return ipc_value(type, perm, flags);
}

__noinline int tell_shmget(struct act *a) { return a ? ipc_get(a, IPC_SHM, EVENT_shm_associate, a->arg[2]) : 0; }
__noinline int tell_semget(struct act *a) { return a ? ipc_get(a, IPC_SEM, EVENT_sem_associate, a->arg[2]) : 0; }
__noinline int tell_msgget(struct act *a) { return a ? ipc_get(a, IPC_MSG, EVENT_msg_queue_associate, a->arg[1]) : 0; }

// Commands. Those of a kind begin at 11.
#define IPC_RMID 0
#define IPC_SET 1
#define IPC_STAT 2
#define SHM_LOCK 11
#define SHM_UNLOCK 12
#define SHM_STAT 13
#define SHM_STAT_ANY 15
#define SEM_GETPID 11
#define SETVAL 16
#define SETALL 17
#define SEM_STAT 18
#define SEM_STAT_ANY 20
#define MSG_STAT 11
#define MSG_STAT_ANY 13

#define READS 0444
#define WRITES 0222

// changed_by tells of a command that removes or changes an object, as that was
// before.
static __always_inline int changed_by(struct act *a, u32 kind, u32 type, u32 cmd)
{
	u64 perm = a->ended ? 0 : ipc_object(kind, a->arg[0]);
	if (!a->ended && !perm)
		return 0;
	struct scratch *s = start(type);
	if (!s)
		return 0;
	part_perm(s, perm);
	put(s, cmd);
	return end_of(a, s);
}

static __always_inline int asked_by(struct act *a, u32 kind, u32 type, u32 cmd, s32 id, s32 flag)
{
	if (!a->ended)
		return 0;
	u64 perm = ipc_object(kind, id);
	if (flag)
		permitted(perm, flag);
	return ipc_value(type, perm, cmd);
}

__noinline int tell_shmctl(struct act *a)
{
	if (!a)
		return 0;
	u32 cmd = a->arg[1];
	switch (cmd) {
	case IPC_RMID: case IPC_SET: case SHM_LOCK: case SHM_UNLOCK:
		return changed_by(a, IPC_SHM, EVENT_shm_shmctl, cmd);
	case IPC_STAT:
		return asked_by(a, IPC_SHM, EVENT_shm_shmctl, cmd, a->arg[0], READS);
	case SHM_STAT: case SHM_STAT_ANY: // of the object in a place; its id is returned
		return asked_by(a, IPC_SHM, EVENT_shm_shmctl, cmd, a->result, cmd == SHM_STAT ? READS : 0);
	}
	return 0;
}

__noinline int tell_semctl(struct act *a)
{
	if (!a)
		return 0;
	u32 cmd = a->arg[2];
	if (cmd == IPC_RMID || cmd == IPC_SET)
		return changed_by(a, IPC_SEM, EVENT_sem_semctl, cmd);
	if (cmd == IPC_STAT || (cmd >= SEM_GETPID && cmd <= SETALL))
		return asked_by(a, IPC_SEM, EVENT_sem_semctl, cmd, a->arg[0], cmd == SETVAL || cmd == SETALL ? WRITES : READS);
	if (cmd == SEM_STAT || cmd == SEM_STAT_ANY)
		return asked_by(a, IPC_SEM, EVENT_sem_semctl, cmd, a->result, cmd == SEM_STAT ? READS : 0);
	return 0;
}

__noinline int tell_msgctl(struct act *a)
{
	if (!a)
		return 0;
	u32 cmd = a->arg[1];
	if (cmd == IPC_RMID || cmd == IPC_SET)
		return changed_by(a, IPC_MSG, EVENT_msg_queue_msgctl, cmd);
	if (cmd == IPC_STAT)
		return asked_by(a, IPC_MSG, EVENT_msg_queue_msgctl, cmd, a->arg[0], READS);
	if (cmd == MSG_STAT || cmd == MSG_STAT_ANY)
		return asked_by(a, IPC_MSG, EVENT_msg_queue_msgctl, cmd, a->result, cmd == MSG_STAT ? READS : 0);
	return 0;
}

#define SHM_RDONLY 010000
#define SHM_EXEC 0100000

__noinline int tell_shmat(struct act *a)
{
	if (!a)
		return 0;
	u64 perm = ipc_object(IPC_SHM, a->arg[0]);
	s32 flags = a->arg[2], flag = READS;
	if (!(flags & SHM_RDONLY))
		flag |= WRITES;
	if (flags & SHM_EXEC)
		flag |= 0111;
	permitted(perm, flag);
	return ipc_value(EVENT_shm_shmat, perm, flags);
}

struct operations {
	u64 at;
	u32 alter;
};

static long one_operation(u32 i, struct operations *o)
{
	s16 op[3] = {}; // of which, what, flags
	bpf_probe_read_user(op, sizeof(op), (void *)(o->at + i * sizeof(op)));
	o->alter = op[1] != 0;
	return o->alter;
}

__noinline int tell_semop(struct act *a)
{
	if (!a)
		return 0;
	u32 n = a->arg[2];
	struct operations o = {.at = a->arg[1]};
	bpf_loop(n & 0x7fff, one_operation, &o, 0); // the kernel takes no more
	u64 perm = ipc_object(IPC_SEM, a->arg[0]);
	permitted(perm, o.alter ? WRITES : READS);
	struct scratch *s = start(EVENT_sem_semop);
	if (!s)
		return 0;
	part_perm(s, perm);
	put2(s, n, o.alter);
	return finish(s);
}

__noinline int tell_msgsnd(struct act *a)
{
	if (!a)
		return 0;
	u64 perm = ipc_object(IPC_MSG, a->arg[0]);
	permitted(perm, WRITES);
	return ipc_value(EVENT_msg_queue_msgsnd, perm, a->arg[3]);
}

#define MSG_EXCEPT 020000
#define MSG_COPY 040000

enum search { SEARCH_ANY = 1, SEARCH_EQUAL, SEARCH_NOTEQUAL, SEARCH_LESSEQUAL, SEARCH_NUMBER };

// tell_msgrcv is one event, whoever has handed the message over.
__noinline int tell_msgrcv(struct act *a)
{
	if (!a)
		return 0;
	struct state *st = state_of(bpf_get_current_task_btf());
	u64 perm = ipc_object(IPC_MSG, a->arg[0]);
	s64 wanted = a->compat ? (s32)a->arg[3] : (s64)a->arg[3];
	u32 flags = a->arg[4], mode = SEARCH_EQUAL;
	if (flags & MSG_COPY) {
		mode = SEARCH_NUMBER;
	} else if (!wanted) {
		mode = SEARCH_ANY;
	} else if (wanted < 0) {
		mode = SEARCH_LESSEQUAL;
		wanted = wanted == (s64)(1ull << 63) ? (s64)(~0ull >> 1) : -wanted;
	} else if (flags & MSG_EXCEPT) {
		mode = SEARCH_NOTEQUAL;
	}
	permitted(perm, READS);
	struct scratch *s = start(EVENT_msg_queue_msgrcv);
	if (!s)
		return 0;
	part_perm(s, perm);
	put(s, st ? st->ttd : NOTHING);
	put(s, wanted);
	put(s, mode);
	return finish(s);
}

// unpack_ipc makes of the call that is all of them for 32-bit programs the one that
// it stands for. Its arguments are which one, and first, second, third, a pointer, and
// fifth.
__noinline int unpack_ipc(struct act *a)
{
	if (!a)
		return 0;
	u32 which = a->arg[0], pair[2] = {};
	u64 first = a->arg[1], second = a->arg[2], third = a->arg[3], at = a->arg[4], fifth = a->arg[5];
	a->c.kind = CALL_NONE;
	a->arg[0] = first;
	a->arg[1] = second;
	a->arg[2] = third;
	switch (which & 0xffff) {
	case 1: case 4: // semop, semtimedop
		a->c.kind = CALL_SEMOP;
		a->arg[1] = at;
		a->arg[2] = second;
		break;
	case 2:
		a->c.kind = CALL_SEMGET;
		break;
	case 3:
		a->c.kind = CALL_SEMCTL;
		a->arg[2] = third & ~0x100ull; // the mark of the form of what is told
		break;
	case 11:
		a->c.kind = CALL_MSGSND;
		a->arg[1] = at;
		a->arg[2] = second;
		a->arg[3] = third;
		break;
	case 12:
		a->c.kind = CALL_MSGRCV;
		a->arg[2] = second;
		a->arg[3] = fifth;
		a->arg[4] = third;
		if (!(which >> 16)) { // the buffer and the type are where the pointer leads
			bpf_probe_read_user(pair, sizeof(pair), (void *)at);
			a->arg[3] = pair[1];
		}
		break;
	case 13:
		a->c.kind = CALL_MSGGET;
		break;
	case 14:
		a->c.kind = CALL_MSGCTL;
		a->arg[1] = second & ~0x100ull;
		break;
	case 21:
		a->c.kind = CALL_SHMAT;
		a->arg[1] = at;
		a->arg[2] = second;
		break;
	case 23:
		a->c.kind = CALL_SHMGET;
		break;
	case 24:
		a->c.kind = CALL_SHMCTL;
		a->arg[1] = second & ~0x100ull;
		break;
	}
	return 0;
}
