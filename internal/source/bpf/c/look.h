// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Looking around, from without.

#pragma once

#include "tasks.h"

// look is run by the one who watches. It notes where he stands, and writes the
// processes of the workload that are alive.
SEC("iter/task")
int look(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	if (!t) {
		struct task_struct *own = bpf_get_current_task_btf();
		home_root = (u64)READ(own, fs, root.dentry);
		home_mounts = READ(own, nsproxy, mnt_ns, ns.inum);
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
