// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// A program without a library, which computes and makes no system call at all.

static volatile unsigned long n;

void _start(void)
{
	for (;;)
		n++;
}
