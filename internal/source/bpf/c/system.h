// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Quotas, what the kernel loads, and tun devices. It is a part of trace.bpf.c.

#pragma once

#include "find.h"

// part_super writes a file system: its root, its type and its flags.
__noinline int part_super(struct scratch *s, u64 super)
{
	struct super_block *sb = (void *)super;
	if (!s)
		return 0;
	part_dentry(s, (u64)READ(sb, s_root), 0);
	put_text(s, READ(sb, s_type, name));
	put(s, READ(sb, s_flags));
	return 0;
}

// All file systems are in one ring, with its beginning among them, which is none.
struct supers {
	u64 at, first, found;
	u32 dev, pad;
};

static long look_at_super(u32 i, struct supers *w)
{
	struct super_block *sb = (void *)w->at;
	if (READ(sb, s_dev) == w->dev && READ(sb, s_bdev, bd_dev) == w->dev) {
		w->found = w->at;
		return 1;
	}
	w->at = (u64)READ(sb, s_list.next) - bpf_core_field_offset(struct super_block, s_list);
	return w->at == w->first;
}

// super_on is the file system on a block device.
__noinline u64 super_on(u32 dev)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u64 own = (u64)READ(t, fs, root.dentry, d_sb);
	struct supers w = {.at = own, .first = own, .dev = dev};
	if (dev)
		bpf_loop(1 << 16, look_at_super, &w, 0);
	return w.found;
}

#define Q_QUOTAON 0x800002

__noinline int on_quotas(u32 what, u32 id, u64 super, u32 all)
{
	struct scratch *s = start(EVENT_quotactl);
	if (!s)
		return 0;
	put2(s, what >> 8, what & 0xff);
	put2(s, id, !all);
	if (!all)
		part_super(s, super);
	return finish(s);
}

__noinline int tell_quotactl(struct act *a)
{
	if (!a)
		return 0;
	u32 what = a->arg[0];
	if (!a->arg[1]) // all file systems
		return on_quotas(what, 0, 0, 1);
	struct way *w = new_way();
	if (!w)
		return 0;
	u64 super = 0;
	if (lead_to(w, AT_FDCWD, a->arg[1], 1)) {
		struct dentry *d = (void *)w->dentry;
		super = super_on(READ(d, d_inode, i_rdev));
	}
	on_quotas(what, a->arg[2], super, 0);
	struct super_block *sb = (void *)super;
	if (what >> 8 != Q_QUOTAON || !wanted[EVENT_quota_on] || BPF_CORE_READ(sb, s_qcop, quota_enable))
		return 0; // where quotas are in no file of a name, there is no hook
	u32 found = lead_to(w, AT_FDCWD, a->arg[3], 1);
	struct scratch *s = start(EVENT_quota_on);
	if (!s)
		return 0;
	part_dentry(s, found ? w->dentry : 0, 0);
	return finish(s);
}

__noinline int tell_quotactl_fd(struct act *a)
{
	if (!a)
		return 0;
	struct file *f = descriptor(a->arg[0]);
	return on_quotas(a->arg[1], a->arg[2], (u64)READ(f, f_path.mnt, mnt_sb), 0);
}

// What the kernel loads. The numbers of kinds are the kernel's own.

#define KIND_OF(name, otherwise) \
	(bpf_core_enum_value_exists(enum kernel_read_file_id, name) ? bpf_core_enum_value(enum kernel_read_file_id, name) : otherwise)

__noinline int loaded(u32 kind, u32 contents)
{
	struct scratch *s = start(EVENT_kernel_load_data);
	if (!s)
		return 0;
	put2(s, kind, contents);
	return finish(s);
}

__noinline int read_in(u32 kind, s32 fd)
{
	struct file *f = descriptor(fd);
	struct scratch *s = f ? start(EVENT_kernel_read_file) : NULL;
	if (!s)
		return 0;
	put2(s, kind, 1);
	part_file(s, (u64)f);
	return finish(s);
}

__noinline int tell_init_module(struct act *a) { return a ? loaded(KIND_OF(READING_MODULE, 2), 1) : 0; }
__noinline int tell_kexec_load(struct act *a) { return a ? loaded(KIND_OF(READING_KEXEC_IMAGE, 3), 0) : 0; }

#define COMPRESSED 4

__noinline int tell_finit_module(struct act *a)
{
	u32 plain = KIND_OF(READING_MODULE, 2);
	if (!a)
		return 0;
	return read_in(a->arg[2] & COMPRESSED ? KIND_OF(READING_MODULE_COMPRESSED, plain) : plain, a->arg[0]);
}

#define KEXEC_FILE_UNLOAD 1
#define KEXEC_FILE_NO_INITRAMFS 4

__noinline int tell_kexec_file_load(struct act *a)
{
	if (!a || a->arg[4] & KEXEC_FILE_UNLOAD)
		return 0;
	read_in(KIND_OF(READING_KEXEC_IMAGE, 3), a->arg[0]);
	return a->arg[4] & KEXEC_FILE_NO_INITRAMFS ? 0 : read_in(KIND_OF(READING_KEXEC_INITRAMFS, 4), a->arg[1]);
}

// Tun devices.

#define TUN_DEVICE (10 << 20 | 200)
#define TUNSETIFF 0x400454ca
#define TUNSETQUEUE 0x400454d9
#define IFNAMSIZ 16
#define IFF_ATTACH_QUEUE 0x200
#define IFF_PERSIST 0x800

__noinline int without_cell(u32 type)
{
	struct scratch *s = start(type);
	return s ? finish(s) : 0;
}

// tied tells that a descriptor was tied to an interface: one that is not persistent
// and has no other queue was made for it. How a driver that is a module keeps this is
// known if that was there when the programs were loaded.
__noinline int tied(u64 file)
{
	struct file *f = (void *)file;
	struct tun_file *tie = READ(f, private_data);
	if (bpf_core_field_exists(tie->tun)) {
		struct tun_struct *tun = BPF_CORE_READ(tie, tun);
		u32 queues = BPF_CORE_READ(tun, numqueues) + BPF_CORE_READ(tun, numdisabled);
		u32 fresh = queues == 1 && !(BPF_CORE_READ(tun, flags) & IFF_PERSIST);
		without_cell(fresh ? EVENT_tun_dev_create : EVENT_tun_dev_open);
	}
	return without_cell(EVENT_tun_dev_attach);
}

__noinline int on_tun(struct act *a)
{
	if (!a)
		return 0;
	struct file *f = descriptor(a->arg[0]);
	u32 cmd = a->arg[1];
	u16 flags = 0;
	if (!f || READ(f, f_inode, i_rdev) != TUN_DEVICE || (READ(f, f_inode, i_mode) & S_IFMT) != S_IFCHR)
		return 0;
	if (cmd == TUNSETIFF)
		return tied((u64)f);
	bpf_probe_read_user(&flags, sizeof(flags), (void *)(a->arg[2] + IFNAMSIZ));
	if (!(flags & IFF_ATTACH_QUEUE))
		return 0;
	without_cell(EVENT_tun_dev_attach_queue);
	return without_cell(EVENT_tun_dev_attach);
}
