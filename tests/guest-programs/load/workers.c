// SPDX-License-Identifier: MIT OR Apache-2.0
/* The load: on each processor a process of each kind, which checks its results. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

/* How much longer than a worker's round its pause is, and at most, in us. */
#define PAUSE_FACTOR 6
#define LONGEST_PAUSE 2000000

/* When a worker that should stop has lost something it waits for, in ns. */
#define PATIENCE 60000000000LL

static int workers[MOST_CPUS * KINDS];

static int child_status(int number)
{
	return (number * 7 + 3) & 0x7f;
}

int run_child(const char *number)
{
	return child_status(atoi(number));
}

static bool ended_with(int child, int expected)
{
	int status;

	return waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	       WEXITSTATUS(status) == expected;
}

/* fork, exec, exit, wait. */
static bool do_exec(int round)
{
	char number[16];
	int child;

	snprintf(number, sizeof(number), "%d", round & 0xffff);
	child = fork();
	if (!child) {
		execl(program, "load", "child", number, NULL);
		_exit(127);
	}
	return child > 0 && ended_with(child, child_status(round & 0xffff));
}

/* New pages, then copies of them: the child's writes are not the parent's. */
static bool do_faults(int round)
{
	enum { PAGES = 32, PAGE = 4096 };
	char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool good = area != MAP_FAILED;
	int child;

	if (!good)
		return false;
	for (int i = 0; i < PAGES; i++) {
		good &= area[i * PAGE] == 0;
		area[i * PAGE] = (char)(round + i);
	}
	child = fork();
	if (!child) {
		for (int i = 0; i < PAGES; i++) {
			good &= area[i * PAGE] == (char)(round + i);
			area[i * PAGE] = 0x55;
		}
		_exit(good ? 11 : 12);
	}
	good &= child > 0 && ended_with(child, 11);
	for (int i = 0; i < PAGES; i++)
		good &= area[i * PAGE] == (char)(round + i);
	return munmap(area, PAGES * PAGE) == 0 && good;
}

static bool move_all(int from, int to, unsigned char *buffer, size_t size)
{
	size_t sent = 0, received = 0;

	/* Small enough for the buffers in between. */
	while (received < size) {
		ssize_t moved;

		if (sent < size) {
			moved = write(to, buffer + sent, size - sent);
			if (moved <= 0)
				return false;
			sent += moved;
		}
		moved = read(from, buffer + received, size - received);
		if (moved <= 0)
			return false;
		received += moved;
	}
	return true;
}

/* What comes out of a channel is what went in. */
static bool check_channel(int from, int to, int round, size_t size)
{
	unsigned char buffer[4096];

	for (size_t i = 0; i < size; i++)
		buffer[i] = (unsigned char)(round * 31 + i * 7);
	if (!move_all(from, to, buffer, size))
		return false;
	for (size_t i = 0; i < size; i++)
		if (buffer[i] != (unsigned char)(round * 31 + i * 7))
			return false;
	return true;
}

static bool do_pipe(int round)
{
	static int ends[2] = { -1, -1 };

	if (ends[0] < 0 && pipe(ends))
		return false;
	for (int i = 0; i < 20; i++)
		if (!check_channel(ends[0], ends[1], round + i, 1 + i * 200))
			return false;
	return true;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Nothing comes too early, and all comes. */
static bool do_timers(int round)
{
	int64_t length = 200000 + round % 7 * 100000, start = now();
	struct timespec time = { .tv_nsec = length };
	struct itimerspec setting = { .it_value = time };
	uint64_t expirations = 0;
	bool good;
	int timer;

	good = !nanosleep(&time, NULL) && now() - start >= length;
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	start = now();
	good &= timer >= 0 && !timerfd_settime(timer, 0, &setting, NULL) &&
		read(timer, &expirations, 8) == 8 && expirations == 1 &&
		now() - start >= length;
	close(timer);
	return good;
}

/* A TCP connection to itself. */
static bool connect_to_self(int ends[2])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr = { htonl(INADDR_LOOPBACK) },
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	bool good;

	ends[0] = ends[1] = -1;
	good = !bind(listener, (struct sockaddr *)&address, length) &&
	       !listen(listener, 1) &&
	       !getsockname(listener, (struct sockaddr *)&address, &length);
	ends[1] = socket(AF_INET, SOCK_STREAM, 0);
	good = good && !connect(ends[1], (struct sockaddr *)&address, length);
	if (good)
		ends[0] = accept(listener, NULL, NULL);
	close(listener);
	return good && ends[0] >= 0;
}

static bool do_network(int round)
{
	bool good;
	int ends[2];

	good = connect_to_self(ends);
	for (int i = 0; good && i < 8; i++)
		good = check_channel(ends[0], ends[1], round + i, 1 + i * 300) &&
		       check_channel(ends[1], ends[0], round - i, 100);
	close(ends[0]);
	close(ends[1]);
	return good;
}

static void work(enum kind kind, int cpu)
{
	static bool (*const kinds[KINDS])(int round) = {
		[KIND_EXEC] = do_exec,
		[KIND_FAULT] = do_faults,
		[KIND_PIPE] = do_pipe,
		[KIND_TIMER] = do_timers,
		[KIND_NETWORK] = do_network,
	};

	pin_to(cpu);
	for (int round = 0; !__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE);
	     round++) {
		int64_t start = now(), pause;
		uint64_t *count = kinds[kind](round) ?
			shared->rounds[cpu] : shared->wrong[cpu];

		count[kind]++;
		/*
		 * An emulator runs all processors on few. The pause leaves room
		 * for what is tested, however slow the machine is.
		 */
		pause = (now() - start) * PAUSE_FACTOR / 1000;
		usleep(pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE);
	}
	exit(0);
}

void start_workers(void)
{
	for (int i = 0; i < cpus * KINDS; i++) {
		workers[i] = fork();
		if (workers[i] < 0)
			fail("fork");
		if (!workers[i])
			work(i % KINDS, i / KINDS);
	}
}

void stop_workers(void)
{
	static const char *const names[KINDS] = {
		"exec", "fault", "pipe", "timer", "network",
	};
	int hung = 0;

	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < cpus * KINDS; i++) {
		int64_t end = now() + PATIENCE;

		while (waitpid(workers[i], NULL, WNOHANG) == 0) {
			if (now() > end) {
				fprintf(stderr, "load: %s on processor %d hangs\n",
					names[i % KINDS], i / KINDS);
				hung++;
				kill(workers[i], SIGKILL);
				waitpid(workers[i], NULL, 0);
				break;
			}
			usleep(10000);
		}
	}
	for (int i = 0; i < cpus * KINDS; i++) {
		int kind = i % KINDS, cpu = i / KINDS;

		printf("right.%s.%d %lu\n", names[kind], cpu,
		       shared->rounds[cpu][kind]);
		printf("wrong.%s.%d %lu\n", names[kind], cpu,
		       shared->wrong[cpu][kind]);
	}
	printf("hung %d\n", hung);
}

/* The load alone, until a file is there. */
int run_workers(const char *end)
{
	start_workers();
	while (access(end, F_OK))
		usleep(50000);
	stop_workers();
	return 0;
}
