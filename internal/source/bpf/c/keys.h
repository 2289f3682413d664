// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// Keys: the uses of those that a call names. It is a part of trace.bpf.c.

#pragma once

#include "find.h"

#define THREAD_KEYRING -1
#define PROCESS_KEYRING -2
#define SESSION_KEYRING -3
#define USER_KEYRING -4
#define USER_SESSION_KEYRING -5

// key_state is a key as the hooks see it. searched is how many of the keyrings of
// thread, process and session are searched to see whether the caller possesses it.
struct key_state {
	u64 flags;
	u32 possessed, perm, uid, gid;
	u32 searched, pad;
};

// keys_before says what there was when a call began.
struct keys_before {
	u32 absent[2];       // the keyrings of thread and process, by their numbers
	u32 known, pad;      // the key that the call is about
	u64 links;           // in the keyring that a key is added to
	struct key_state key;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct keys_before);
} keys_known SEC(".maps");

// have_keys tells whether this kernel knows keys.
static __always_inline u32 have_keys(void)
{
	struct cred *c = NULL;
	return bpf_core_field_exists(c->session_keyring);
}

// credential is a keyring that the caller has of its own.
__noinline u64 credential(s32 id)
{
	struct task_struct *t = bpf_get_current_task_btf();
	if (!have_keys())
		return 0;
	switch (id) {
	case THREAD_KEYRING: return (u64)READ(t, cred, thread_keyring);
	case PROCESS_KEYRING: return (u64)READ(t, cred, process_keyring);
	case SESSION_KEYRING: return (u64)READ(t, cred, session_keyring);
	}
	return 0;
}

// All keys are in one tree, by their serial numbers.
struct in_tree {
	u64 node, found;
	s64 serial;
};

static long to_top(u32 i, struct in_tree *w)
{
	struct rb_node *n = (void *)w->node;
	u64 above = READ(n, __rb_parent_color) & ~3ull;
	if (!above)
		return 1;
	w->node = above;
	return 0;
}

static long to_serial(u32 i, struct in_tree *w)
{
	struct rb_node *n = (void *)w->node;
	if (!n)
		return 1;
	struct key *k = (void *)n - bpf_core_field_offset(struct key, serial_node);
	s32 serial = READ(k, serial);
	if (serial == w->serial) {
		w->found = (u64)k;
		return 1;
	}
	w->node = w->serial < serial ? (u64)READ(n, rb_left) : (u64)READ(n, rb_right);
	return 0;
}

// numbered_key is the key with a serial number, found from any that the caller has.
__noinline u64 numbered_key(s32 serial)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct in_tree w = {.serial = serial};
	if (!have_keys())
		return 0;
	u64 any = credential(SESSION_KEYRING);
	if (!any)
		any = credential(PROCESS_KEYRING);
	if (!any)
		any = credential(THREAD_KEYRING);
	if (!any)
		any = (u64)READ(t, cred, user_ns, user_keyring_register);
	if (!any)
		return 0;
	w.node = any + bpf_core_field_offset(struct key, serial_node);
	bpf_loop(64, to_top, &w, 0);
	bpf_loop(64, to_serial, &w, 0);
	return w.found;
}

// A keyring has its keys in a tree of nodes with 16 places, whose pointers tell in
// their lowest bits what they lead to.
#define TO_NODE 1
#define TO_SHORTCUT 2 // with the bit above; of a key, that it is a keyring
#define PLACES 16

struct in_ring {
	u64 key, node, outer; // outer is where to go on behind a keyring in the keyring
	u64 found;
	u32 place, outer_place;
	u32 inside;
	u32 letter, uid; // instead of a key, one of the keyrings of that user
};

static __always_inline void enter(struct in_ring *w, u64 to)
{
	if (to & TO_SHORTCUT) {
		struct assoc_array_shortcut *s = (void *)(to & ~3ull);
		to = (u64)READ(s, next_node);
	}
	w->node = to & ~3ull;
	w->place = 0;
}

static long look_in_ring(u32 i, struct in_ring *w)
{
	struct assoc_array_node *n = (void *)w->node;
	u64 to = 0;
	if (w->place >= PLACES) {
		u64 back = (u64)READ(n, back_pointer);
		u32 place = READ(n, parent_slot);
		if (back & TO_SHORTCUT) {
			struct assoc_array_shortcut *s = (void *)(back & ~3ull);
			back = (u64)READ(s, back_pointer);
			place = READ(s, parent_slot);
		}
		if (back) {
			w->node = back & ~3ull;
			w->place = place + 1;
			return 0;
		}
		if (!w->inside)
			return 1;
		w->inside = 0;
		w->node = w->outer;
		w->place = w->outer_place;
		return 0;
	}
	bpf_probe_read_kernel(&to, 8, (void *)n + bpf_core_field_offset(struct assoc_array_node, slots) + 8 * (w->place & (PLACES - 1)));
	w->place++;
	if (to & TO_NODE) {
		enter(w, to);
		return 0;
	}
	struct key *k = (void *)(to & ~3ull);
	if (!k)
		return 0;
	if (w->letter) {
		char name[8] = {};
		bpf_probe_read_kernel_str(name, sizeof(name), READ(k, description));
		if ((u8)name[4] == w->letter && READ(k, uid.val) == w->uid)
			w->found = (u64)k;
		return w->found != 0;
	}
	if ((u64)k == w->key) {
		w->found = (u64)k;
		return 1;
	}
	u64 root = to & TO_SHORTCUT && !w->inside ? (u64)READ(k, keys.root) : 0;
	if (root) {
		w->outer = w->node;
		w->outer_place = w->place;
		w->inside = 1;
		enter(w, root);
	}
	return 0;
}

// search looks for a key in a keyring and in those in that, or for the keyring of a
// user, by the letter that tells its name (_uid. and _uid_ses.) from others.
__noinline u64 search(u64 ring, u64 key, u32 letter)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct key *r = (void *)ring;
	struct in_ring first = {.key = key, .letter = letter}, w;
	if (!have_keys() || !ring)
		return 0;
	if (ring == key)
		return ring;
	u64 root = (u64)READ(r, keys.root);
	if (!root)
		return 0;
	first.uid = READ(t, cred, uid.val);
	enter(&first, root);
	bpf_probe_read_kernel(&w, sizeof(w), &first); // as in arrived
	bpf_loop(4096, look_in_ring, &w, 0);
	return w.found;
}

// own_keyring is the keyring that a number below 0 stands for. The keyrings of users
// are in one of their namespace. That of the user is of the session, where there is
// no other.
__noinline u64 own_keyring(s32 id)
{
	struct task_struct *t = bpf_get_current_task_btf();
	u64 own = credential(id);
	if (!have_keys() || own || id > SESSION_KEYRING || id < USER_SESSION_KEYRING)
		return own;
	return search((u64)READ(t, cred, user_ns, user_keyring_register), 0, id == USER_KEYRING ? '.' : '_');
}

static __always_inline u32 holds(s32 ring, u64 key) { return search(credential(ring), key, 0) != 0; }

// look_up finds the key that a call names, and what the hooks would see of it. It is
// true if there is one.
__noinline int look_up(s32 id, struct key_state *st)
{
	if (!st || !have_keys())
		return 0;
	struct key *k = (void *)(id < 0 ? own_keyring(id) : numbered_key(id));
	if (!k)
		return 0;
	st->possessed = id < 0;
	for (s32 i = 0; i < 3 && !st->possessed; i++) {
		st->possessed = holds(THREAD_KEYRING - i, (u64)k);
		st->searched++;
	}
	st->perm = READ(k, perm);
	st->uid = READ(k, uid.val);
	st->gid = READ(k, gid.val);
	st->flags = READ(k, flags);
	return 1;
}

__noinline int use_key(struct key_state *k)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct scratch *s = k ? start(EVENT_key_permission) : NULL;
	if (!s || !k)
		return 0;
	put2(s, k->possessed, k->perm);
	put2(s, k->uid, k->gid);
	put(s, k->flags);
	part_creds(s, (u64)READ(t, cred));
	return finish(s);
}

__noinline int allocated(u64 flags)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct scratch *s = start(EVENT_key_alloc);
	if (!s)
		return 0;
	part_creds(s, (u64)READ(t, cred));
	put(s, flags);
	return finish(s);
}

static __always_inline struct keys_before *before_call(u64 flags)
{
	return bpf_task_storage_get(&keys_known, bpf_get_current_task_btf(), 0, flags);
}

// note_keys looks around when a call begins that is about the key id, and adds to the
// keyring ring.
__noinline int note_keys(s32 id, s32 ring)
{
	struct keys_before *b = before_call(BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct key_state st = {};
	if (!b) {
		lose(LOST_MEMORY);
		return 0;
	}
	b->absent[0] = !credential(THREAD_KEYRING);
	b->absent[1] = !credential(PROCESS_KEYRING);
	b->known = id ? look_up(id, &st) : 0;
	b->key = st;
	b->links = 0;
	if (ring && have_keys()) {
		struct key *r = (void *)(ring < 0 ? own_keyring(ring) : numbered_key(ring));
		b->links = READ(r, keys.nr_leaves_on_tree);
	}
	return 0;
}

// used tells of the keyrings that are searched for a key, of the key that is found in
// one, and of its uses.
__noinline int used(struct key_state *k, u32 times)
{
	if (!k)
		return 0;
	for (s32 i = 0; i < 3; i++) {
		struct key_state ring = {};
		if (i < k->searched && look_up(THREAD_KEYRING - i, &ring))
			use_key(&ring);
	}
	if (k->searched && k->possessed)
		use_key(k);
	for (u32 i = 0; i < 2; i++)
		if (i < times)
			use_key(k);
	return 0;
}

#define OVERRUNS_QUOTA 1

// use tells that a call has used the key id so often. A keyring of the thread or the
// process is made when it is first named.
__noinline int use(s32 id, u32 times)
{
	struct key_state st = {};
	struct keys_before *b = before_call(0);
	if (b && ((id == THREAD_KEYRING && b->absent[0]) || (id == PROCESS_KEYRING && b->absent[1])) && credential(id)) {
		allocated(OVERRUNS_QUOTA);
		if (id == THREAD_KEYRING)
			b->absent[0] = 0;
		else
			b->absent[1] = 0;
	}
	look_up(id, &st);
	return used(&st, times);
}

// updates tells whether a key of a type takes another's place by being changed.
static __always_inline u32 updates(struct key *k)
{
	char name[8] = {};
	bpf_probe_read_kernel_str(name, sizeof(name), READ(k, type, name));
	return name[0] != 'k' || name[1] != 'e' || name[2] != 'y' || name[3] != 'r'; // a keyring is replaced
}

__noinline int tell_add_key(struct act *a)
{
	if (!a || !have_keys())
		return 0;
	s32 ring = a->arg[4];
	if (!a->ended)
		return note_keys(0, ring);
	struct keys_before *b = before_call(0);
	struct key *r = (void *)(ring < 0 ? own_keyring(ring) : numbered_key(ring));
	u64 links = b ? b->links : 0;
	struct key_state st = {};
	u32 grown = READ(r, keys.nr_leaves_on_tree) != links;
	use(ring, 2);
	struct key *k = (void *)numbered_key(a->result);
	if (grown || (k && !updates(k)))
		return allocated(0);
	look_up(a->result, &st);
	st.possessed = 1; // as its keyring
	return use_key(&st);
}

__noinline int tell_request_key(struct act *a)
{
	if (!a)
		return 0;
	s32 ring = a->arg[3];
	if (!a->ended)
		return note_keys(0, 0);
	if (ring)
		use(ring, 1);
	return use(a->result, ring ? 1 : 0);
}

// Commands of keyctl that are about one key.
#define KEYCTL_UPDATE 2
#define KEYCTL_LINK 8
#define KEYCTL_UNLINK 9
#define KEYCTL_READ 11
#define ABOUT_ONE_KEY (1 << 0 | 1 << KEYCTL_UPDATE | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << KEYCTL_LINK | \
		       1 << KEYCTL_UNLINK | 1 << KEYCTL_READ | 1 << 15 | 1 << 17 | 1 << 21)

__noinline int tell_keyctl(struct act *a)
{
	if (!a)
		return 0;
	u32 cmd = a->arg[0];
	s32 id = a->arg[1];
	if (cmd > 21 || !(ABOUT_ONE_KEY >> cmd & 1))
		return 0;
	if (!a->ended)
		return note_keys(id, 0);
	struct keys_before *b = before_call(0);
	if (cmd == KEYCTL_LINK || cmd == KEYCTL_UNLINK)
		use(a->arg[2], 1);
	u32 times = cmd == KEYCTL_UPDATE || cmd == KEYCTL_READ ? 2 : 1;
	if (!b || !b->known)
		return use(id, times);
	struct key_state st = b->key; // the call may have changed it, or taken it away
	return used(&st, times);
}
