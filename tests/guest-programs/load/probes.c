// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A process on each processor that, when told to, calls functions of the
 * kernel a known number of times. It waits in a way that calls none of them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define DATA "/tmp/load.data"
#define PAGE 4096

/* By the functions' numbers in the patches, less one; 0: not known exactly. */
const unsigned int exact_calls[PATCHES] = {
	[0] = PROBE_CALLS,	/* anon_pipe_buf_release: reads */
	[1] = PROBE_CALLS,	/* get_timespec64: nanosleep */
	[2] = PROBE_CALLS,	/* tcp_sendmsg: sends */
	[3] = PROBE_CALLS,	/* __task_pid_nr_ns: getpid */
	[4] = 2 * PROBE_CALLS,	/* folio_add_lru_vma: new pages and copies */
	[7] = PROBE_CALLS,	/* ptep_clear_flush: copies */
	[9] = PROBE_CALLS,	/* path_noexec: maps of a file */
};

int probe_pids[MOST_CPUS];

struct channels {
	int data;
	int pipe[2];
	int connection[2];
};

static void futex(int *word, int operation, int value)
{
	syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void open_connection(int ends[2])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&address, length) ||
	    listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		fail("listen");
	ends[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(ends[1], (struct sockaddr *)&address, length))
		fail("connect");
	ends[0] = accept(listener, NULL, NULL);
	if (ends[0] < 0)
		fail("accept");
	close(listener);
}

static void open_channels(struct channels *channels)
{
	channels->data = open(DATA, O_RDWR);
	if (channels->data < 0)
		fail(DATA);
	if (pipe(channels->pipe))
		fail("pipe");
	open_connection(channels->connection);
}

static bool pass_byte(int from, int to, char value)
{
	char back = 0;

	return write(to, &value, 1) == 1 && read(from, &back, 1) == 1 &&
	       back == value;
}

/* Writes to new pages, and to pages of the file that only it may change. */
static bool touch_pages(int data)
{
	size_t size = PROBE_CALLS * PAGE;
	volatile char *fresh, *copies = NULL;
	bool good = true;

	fresh = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fresh == MAP_FAILED)
		return false;
	for (int i = 0; i < PROBE_CALLS; i++)
		fresh[i * PAGE] = 1;
	for (int i = 0; i < PROBE_CALLS; i++) {
		if (copies)
			munmap((void *)copies, size);
		copies = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			      data, 0);
		if (copies == MAP_FAILED)
			return false;
	}
	for (int i = 0; i < PROBE_CALLS; i++)
		good &= copies[i * PAGE] == (char)i;
	for (int i = 0; i < PROBE_CALLS; i++)
		copies[i * PAGE] = 0x55;
	munmap((void *)fresh, size);
	munmap((void *)copies, size);
	return good;
}

static bool make_calls(const struct channels *channels)
{
	struct timespec shortest = { .tv_nsec = 1 };
	bool good = true;

	for (int i = 0; i < PROBE_CALLS; i++) {
		good &= pass_byte(channels->pipe[0], channels->pipe[1], i);
		good &= syscall(SYS_nanosleep, &shortest, NULL) == 0;
		good &= pass_byte(channels->connection[0],
				  channels->connection[1], i);
		good &= syscall(SYS_getpid) > 0;
	}
	return touch_pages(channels->data) && good;
}

static void probe(int cpu)
{
	struct channels channels;
	int round = 0;

	pin_to(cpu);
	go_ahead_of_load(true);
	open_channels(&channels);
	for (;;) {
		int ordered;

		while ((ordered = __atomic_load_n(&shared->round,
						  __ATOMIC_ACQUIRE)) == round)
			futex(&shared->round, FUTEX_WAIT, round);
		if (ordered < 0)
			exit(0);
		round = ordered;
		if (!make_calls(&channels))
			__atomic_add_fetch(&shared->probe_errors, 1,
					   __ATOMIC_RELAXED);
		__atomic_store_n(&shared->answered[cpu], round,
				 __ATOMIC_RELEASE);
		futex(&shared->answered[cpu], FUTEX_WAKE, 1);
	}
}

static void make_data(void)
{
	char page[PAGE] = { 0 };
	int data = open(DATA, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; i < PROBE_CALLS; i++) {
		page[0] = (char)i;
		if (write(data, page, PAGE) != PAGE)
			fail(DATA);
	}
	close(data);
}

void start_probes(void)
{
	make_data();
	for (int cpu = 0; cpu < cpus; cpu++) {
		probe_pids[cpu] = fork();
		if (probe_pids[cpu] < 0)
			fail("fork");
		if (!probe_pids[cpu])
			probe(cpu);
	}
	/* What happens only the first time happens now. */
	run_probes();
}

void run_probes(void)
{
	int round = shared->round + 1;

	__atomic_store_n(&shared->round, round, __ATOMIC_RELEASE);
	futex(&shared->round, FUTEX_WAKE, MOST_CPUS);
	for (int cpu = 0; cpu < cpus; cpu++) {
		int answered;

		while ((answered = __atomic_load_n(&shared->answered[cpu],
						   __ATOMIC_ACQUIRE)) != round)
			futex(&shared->answered[cpu], FUTEX_WAIT, answered);
	}
}

void stop_probes(void)
{
	__atomic_store_n(&shared->round, -1, __ATOMIC_RELEASE);
	futex(&shared->round, FUTEX_WAKE, MOST_CPUS);
	for (int cpu = 0; cpu < cpus; cpu++)
		waitpid(probe_pids[cpu], NULL, 0);
}
