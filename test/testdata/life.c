// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// A workload for the tests of how tasks live and die: the first argument says
// what to do. Files that it opens tell who got how far.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(97);
}

static void touch(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0644);
	if (fd < 0)
		die(name);
	close(fd);
}

static void await(pid_t pid)
{
	int status;
	if (waitpid(pid, &status, __WALL) != pid)
		die("waitpid");
}

// until waits for the end of the pipe: nobody can write to it any longer.
static void until(int pipe)
{
	char b;
	while (read(pipe, &b, 1) < 0 && errno == EINTR)
		;
}

static void do_fork(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		touch("child");
		_exit(0);
	}
	printf("%d\n", pid);
	await(pid);
	touch("parent");
}

static void do_clone3(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0)
		die("clone3");
	if (pid == 0) {
		touch("child");
		_exit(0);
	}
	printf("%d\n", pid);
	await(pid);
	touch("parent");
}

static void do_vfork(char **argv)
{
	pid_t pid = vfork();
	if (pid == 0) {
		execv("/absent/program", argv);
		execv("/bin/cat", (char *[]){ "cat", argv[0], NULL });
		_exit(96);
	}
	printf("%d\n", pid);
	await(pid);
	touch("parent");
}

static void *thread(void *name)
{
	prctl(PR_SET_NAME, name);
	touch(name);
	printf("%d\n", gettid());
	return NULL;
}

static void do_threads(void)
{
	pthread_t t[4];
	char *names[] = { "one", "two", "three", "four" };
	for (int i = 0; i < 4; i++) {
		if (pthread_create(&t[i], NULL, thread, names[i]))
			die("pthread_create");
		pthread_join(t[i], NULL);
	}
	touch("main");
}

static void do_execfail(char **argv)
{
	setenv("PATH", "/absent:/usr/absent:.", 1);
	if (execvp("nowhere", argv) != -1 || errno != ENOENT)
		die("nowhere");
	if (execv("closed", argv) != -1 || errno != EACCES)
		die("closed");
	if (execv("text", argv) != -1 || errno != ENOEXEC)
		die("text");
	if (execv("script", argv) != -1 || errno != ENOENT)
		die("script");
	if (execv(".", argv) != -1 || errno != EACCES)
		die("folder");
	touch("after");
}

static void *executes(void *file)
{
	prctl(PR_SET_NAME, "executes");
	touch("before");
	execv("/bin/cat", (char *[]){ "cat", file, NULL });
	die("execv");
	return NULL;
}

static void *sleeps(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void do_threadexec(char **argv)
{
	pthread_t t;
	pthread_create(&t, NULL, sleeps, NULL);
	pthread_create(&t, NULL, executes, argv[0]);
	sleeps(NULL);
}

static int stays(void *up)
{
	close(((int *)up)[1]);
	until(((int *)up)[0]);
	_exit(0);
}

// The memory lives on in a child until the program that is executed ends.
static void do_sharedexec(char **argv)
{
	static char stack[65536];
	static int up[2];
	if (pipe(up))
		die("pipe");
	if (clone(stays, stack + sizeof stack, CLONE_VM | SIGCHLD, up) < 0)
		die("clone");
	execv("/bin/cat", (char *[]){ "cat", argv[0], NULL });
	die("execv");
}

// The child's parent is gone before the grandchild acts.
static void do_orphan(void)
{
	int up[2];
	if (pipe2(up, O_CLOEXEC))
		die("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		pid_t child = fork();
		if (child == 0) {
			close(up[1]);
			until(up[0]);
			touch("orphan");
			_exit(0);
		}
		_exit(0);
	}
	await(pid);
	close(up[1]);
	touch("top");
}

// do_late leaves a child behind, which acts when the pipe in is closed.
static void do_late(const char *name)
{
	char top[64];
	snprintf(top, sizeof top, "top-%s", name);
	touch(top);
	if (fork() == 0) {
		until(0);
		touch(name);
	}
}

// do_sibling makes a task that is not its own child, but its parent's.
static void do_sibling(const char *how)
{
	int up[2];
	if (pipe(up))
		die("pipe");
	touch("maker");
	struct clone_args args = { .flags = CLONE_PARENT };
	pid_t pid = !strcmp(how, "clone3") ? syscall(SYS_clone3, &args, sizeof args)
					   : syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0);
	if (pid < 0)
		die("clone");
	if (pid == 0) {
		touch("sibling");
		_exit(0);
	}
	close(up[1]);
	until(up[0]);
}

// The parent executes a program before the child acts.
static void do_execparent(char **argv)
{
	int up[2];
	if (pipe2(up, O_CLOEXEC))
		die("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		close(up[1]);
		until(up[0]);
		touch("child");
		_exit(0);
	}
	execv("/bin/cat", (char *[]){ "cat", argv[0], NULL });
	die("execv");
}

// The parent is killed before the child acts.
static void do_killed(void)
{
	int up[2], begun[2];
	if (pipe2(up, O_CLOEXEC) || pipe2(begun, O_CLOEXEC))
		die("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		pid_t child = fork();
		if (child == 0) {
			close(up[1]);
			close(begun[1]);
			until(up[0]);
			touch("child");
			_exit(0);
		}
		close(up[0]);
		close(begun[1]);
		for (;;)
			pause();
	}
	close(up[1]);
	close(begun[1]);
	until(begun[0]);
	kill(pid, SIGKILL);
	await(pid);
	touch("top");
}

static void do_forks(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			char name[32];
			snprintf(name, sizeof name, "n%d", i);
			touch(name);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
}

static void do_generations(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			char name[32];
			snprintf(name, sizeof name, "n%d", i);
			touch(name);
			if (i % 2)
				execv("/bin/true", (char *[]){ "true", NULL });
			_exit(0);
		}
		await(pid);
	}
}

static void do_opens(const char *name, int n)
{
	for (int i = 0; i < n; i++) {
		int fd = open(name, O_RDONLY);
		if (fd < 0)
			die(name);
		close(fd);
	}
}

static void do_daemon(void)
{
	if (fork() == 0) {
		setsid();
		signal(SIGINT, SIG_IGN);
		for (;;)
			pause();
	}
}

// make_map makes a BPF map, and no other system call that is looked at.
static void make_map(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };
	if (syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr) < 0)
		_exit(96);
}

// do_maps has n children make a map each, and end at once.
static void do_maps(int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			make_map();
			_exit(0);
		}
		int status;
		waitpid(pid, &status, 0);
		if (status)
			exit(96);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		return 95;
	const char *what = argv[1];
	if (!strcmp(what, "fork"))
		do_fork();
	else if (!strcmp(what, "clone3"))
		do_clone3();
	else if (!strcmp(what, "vfork"))
		do_vfork(argv + 2);
	else if (!strcmp(what, "threads"))
		do_threads();
	else if (!strcmp(what, "execfail"))
		do_execfail(argv + 1);
	else if (!strcmp(what, "threadexec"))
		do_threadexec(argv + 2);
	else if (!strcmp(what, "sharedexec"))
		do_sharedexec(argv + 2);
	else if (!strcmp(what, "orphan"))
		do_orphan();
	else if (!strcmp(what, "late"))
		do_late(argv[2]);
	else if (!strcmp(what, "sibling"))
		do_sibling(argv[2]);
	else if (!strcmp(what, "execparent"))
		do_execparent(argv + 2);
	else if (!strcmp(what, "killed"))
		do_killed();
	else if (!strcmp(what, "forks"))
		do_forks(atoi(argv[2]));
	else if (!strcmp(what, "generations"))
		do_generations(atoi(argv[2]));
	else if (!strcmp(what, "opens"))
		do_opens(argv[2], atoi(argv[3]));
	else if (!strcmp(what, "map")) {
		make_map();
		pause();
	} else if (!strcmp(what, "maps"))
		do_maps(atoi(argv[2]));
	else if (!strcmp(what, "daemon"))
		do_daemon();
	else if (!strcmp(what, "undumpable")) {
		prctl(PR_SET_DUMPABLE, 0);
		open(argv[2], O_RDONLY);
		unlink(argv[3]);
	} else
		return 94;
	return 0;
}
