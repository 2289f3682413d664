/* Copyright The quixote-export authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * Drains a stream of events into a file, and does nothing else: one positioned
 * read a record, one write a megabyte. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { full = 1 << 20, record = 1 << 17 };

static char buffer[full + record];

static int put(int fd, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = write(fd, buffer + done, length - done);
		if (n < 0)
			return -1;
		done += n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t length = 0;
	ssize_t n;

	if (argc != 3)
		return 2;
	int in = open(argv[1], O_RDONLY);
	int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (in < 0 || out < 0) {
		perror("open");
		return 1;
	}
	while ((n = pread(in, buffer + length, record, 0)) > 0) {
		length += n;
		if (length >= full) {
			if (put(out, length)) {
				perror("write");
				return 1;
			}
			length = 0;
		}
	}
	if (n == 0 || errno != ENODATA) {
		perror("read");
		return 1;
	}
	if (put(out, length)) {
		perror("write");
		return 1;
	}
	return 0;
}
