// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only

// How members of objects of the kernel are read. What comes from READ is a number
// for the verifier, never a pointer of which it knows what it points to; nothing is
// read from NULL, and that is 0.

#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#ifdef CAST

// Since Linux 6.2 an address can be given a type, and be followed without a call.
extern void *bpf_rdonly_cast(const void *address, u32 type) __ksym;

#define OF_TYPE(p) ((typeof(p))bpf_rdonly_cast((p), bpf_core_type_id_kernel(typeof(*(p)))))

#define IS_POINTER(x) (__builtin_classify_type(x) == 5)
#define POINTED(x) (*__builtin_choose_expr(IS_POINTER(x), (x), (char *)0))
#define POINTS_TO_STRUCT(x) (__builtin_classify_type(POINTED(x)) == 12)

// plain takes the type from a pointer: what differs from NULL by so much.
static __always_inline u64 plain(u64 p)
{
	return p - (u64)bpf_rdonly_cast(NULL, bpf_core_type_id_kernel(struct task_struct));
}

// What other pointers become is for each kernel to say: they are read by a call.
#define READ(p, a, ...) __builtin_choose_expr(                                              \
	IS_POINTER(___arrow((p), a, ##__VA_ARGS__)) &&                                       \
		!POINTS_TO_STRUCT(___arrow((p), a, ##__VA_ARGS__)),                          \
	BPF_CORE_READ(p, a, ##__VA_ARGS__), ({                                               \
		___type((p), a, ##__VA_ARGS__) r_ = ___arrow(OF_TYPE(p), a, ##__VA_ARGS__);  \
		POINTS_TO_STRUCT(r_) ? (typeof(r_))plain((u64)r_) : r_;                      \
	}))

// READ_TEXT is READ of a pointer to text, which is to be handed to a helper as it is.
#define READ_TEXT(p, a) (OF_TYPE(p)->a)

#else

#define READ BPF_CORE_READ
#define READ_TEXT(p, a) BPF_CORE_READ(p, a)

#endif
