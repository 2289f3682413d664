// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// A workload of very many acts: the first argument says of what. What is done
// is an open of the file f, which tells who was there. Some stop at milestones:
// they write a line, and go on when they have read one.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(97);
}

static int look(void)
{
	int fd = open("f", O_RDONLY);
	if (fd < 0)
		die("f");
	return fd;
}

static void milestone(const char *name)
{
	char b;
	dprintf(1, "%s\n", name);
	if (read(0, &b, 1) != 1)
		die("milestone");
}

static pid_t forked(void)
{
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	return pid;
}

// One process after the other, of which every tenth executes a program. After
// the first quarter, and at the end, there is a milestone.
static void do_turn(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = vfork(); // which costs least
		if (pid < 0)
			die("vfork");
		if (pid == 0) {
			close(open("f", O_RDONLY));
			if (i % 10 == 0)
				execv("/bin/true", (char *[]){ "true", NULL });
			_exit(0);
		}
		int status;
		if (waitpid(pid, &status, 0) != pid || status)
			die("waitpid");
		if (i == n / 4)
			milestone("quarter");
	}
	milestone("end");
}

// All of them at once: they live, and then they act.
static void do_alive(int n)
{
	int up[2];
	if (pipe(up))
		die("pipe");
	for (int i = 0; i < n; i++) {
		if (forked() == 0) {
			char b;
			close(up[1]);
			while (read(up[0], &b, 1) < 0 && errno == EINTR)
				;
			close(look());
			_exit(0);
		}
	}
	milestone("alive");
	close(up[1]);
	int status, ended = 0;
	while (wait(&status) > 0)
		ended += !status;
	if (ended != n)
		die("wait");
}

static pthread_barrier_t all;

static void *looks(void *unused)
{
	pthread_barrier_wait(&all);
	close(look());
	return unused;
}

// Threads that act at the same time.
static void do_threads(int n)
{
	pthread_t *threads = calloc(n, sizeof *threads);
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	pthread_barrier_init(&all, NULL, n);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], &small, looks, NULL))
			exit(77);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

// A table of descriptors as large as that, each of which is used.
static void do_descriptors(int n)
{
	struct rlimit most;
	getrlimit(RLIMIT_NOFILE, &most);
	if (most.rlim_max < (rlim_t)n + 16)
		exit(77);
	most.rlim_cur = most.rlim_max;
	setrlimit(RLIMIT_NOFILE, &most);
	int *fds = calloc(n, sizeof *fds);
	milestone("none");
	for (int i = 0; i < n; i++)
		fds[i] = look();
	milestone("open");
	for (int i = 0; i < n; i++)
		if (fchmod(fds[i], 0600 + i % 8))
			die("fchmod");
}

// What tasks that kill one another share. Before an act it is counted as begun,
// afterwards as done.
struct shared {
	atomic_int opens_begun, opens_done, kills_begun, kills_done;
	atomic_int pids[64];
};

static void onsignal(int sig)
{
	(void)sig;
}

static void storm(struct shared *s, unsigned seed)
{
	srandom(seed);
	struct sigaction act = { .sa_handler = onsignal };
	sigaction(SIGUSR1, &act, NULL);
	for (;;) {
		atomic_fetch_add(&s->opens_begun, 1);
		int fd = open("f", O_RDONLY);
		if (fd >= 0) {
			atomic_fetch_add(&s->opens_done, 1);
			close(fd);
		}
		pid_t victim = atomic_load(&s->pids[random() % 64]);
		if (victim <= 0)
			continue;
		atomic_fetch_add(&s->kills_begun, 1);
		if (kill(victim, random() % 4 ? SIGUSR1 : SIGKILL) == 0)
			atomic_fetch_add(&s->kills_done, 1);
	}
}

// Tasks kill one another, with signals that end and with such that interrupt,
// and others take the places of the dead.
static void do_storm(int deaths)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		die("mmap");
	for (int dead = -64; dead < deaths; dead++) {
		int place = dead + 64;
		if (dead >= 0) {
			pid_t pid = wait(NULL);
			for (place = 0; place < 64 && s->pids[place] != pid; place++)
				;
			if (place == 64)
				die("wait");
		}
		pid_t pid = forked();
		if (pid == 0)
			storm(s, dead + 64);
		atomic_store(&s->pids[place], pid);
	}
	for (int i = 0; i < 64; i++)
		kill(s->pids[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	dprintf(1, "%d %d %d %d\n", s->opens_begun, s->opens_done, s->kills_begun + 64, s->kills_done + 64);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 95;
	int n = atoi(argv[2]);
	if (!strcmp(argv[1], "turn"))
		do_turn(n);
	else if (!strcmp(argv[1], "alive"))
		do_alive(n);
	else if (!strcmp(argv[1], "threads"))
		do_threads(n);
	else if (!strcmp(argv[1], "descriptors"))
		do_descriptors(n);
	else if (!strcmp(argv[1], "storm"))
		do_storm(n);
	else
		return 94;
	return 0;
}
