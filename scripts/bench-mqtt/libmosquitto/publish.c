// Copyright The quixote-export authors
// SPDX-License-Identifier: Apache-2.0

// publish PORT MESSAGES BYTES WINDOW HOW publishes with libmosquitto at QoS 1
// and prints two numbers: nanoseconds until the last acknowledgement, and
// nanoseconds of CPU time. HOW is "threaded" for the library's own thread,
// "looped" for one thread that publishes and runs the library's loop.

#include <mosquitto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, acknowledged;

static void on_connect(struct mosquitto *m, void *data, int code)
{
	pthread_mutex_lock(&lock);
	connected = code == 0 ? 1 : -1;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void on_publish(struct mosquitto *m, void *data, int id)
{
	pthread_mutex_lock(&lock);
	acknowledged++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static long long wall(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long cpu(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000LL +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000LL;
}

static void check(int code, const char *what)
{
	if (code != MOSQ_ERR_SUCCESS) {
		fprintf(stderr, "%s: %s\n", what, mosquitto_strerror(code));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	int port = atoi(argv[1]), messages = atoi(argv[2]), size = atoi(argv[3]), window = atoi(argv[4]);
	int threaded = strcmp(argv[5], "threaded") == 0;
	char *payload = malloc(size);
	memset(payload, 'x', size);

	mosquitto_lib_init();
	struct mosquitto *m = mosquitto_new("libmosquitto", true, NULL);
	mosquitto_connect_callback_set(m, on_connect);
	mosquitto_publish_callback_set(m, on_publish);
	check(mosquitto_max_inflight_messages_set(m, window), "window");
	check(mosquitto_int_option(m, MOSQ_OPT_TCP_NODELAY, 1), "no delay");
	check(mosquitto_connect(m, "127.0.0.1", port, 60), "connect");
	if (threaded) {
		check(mosquitto_loop_start(m), "thread");
		pthread_mutex_lock(&lock);
		while (!connected)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
	} else {
		while (!connected)
			check(mosquitto_loop(m, 100, 1), "loop");
	}
	if (connected < 0)
		return 1;

	long long began = wall(), used = cpu();
	if (threaded) {
		// The library queues what does not fit into the window.
		for (int i = 0; i < messages; i++)
			check(mosquitto_publish(m, NULL, "bench/topic", size, payload, 1, false), "publish");
		pthread_mutex_lock(&lock);
		while (acknowledged < messages)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
	} else {
		int sent = 0;
		while (acknowledged < messages) {
			for (; sent < messages && sent - acknowledged < window; sent++)
				check(mosquitto_publish(m, NULL, "bench/topic", size, payload, 1, false), "publish");
			check(mosquitto_loop(m, 100, 1), "loop");
		}
	}
	printf("%lld %lld\n", wall() - began, cpu() - used);
	return 0;
}
