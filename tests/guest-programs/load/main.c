// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 *	load cycles COUNT	apply and take back patches under load
 *	load contention COUNT	the same from all processors against each other
 *	load workers FILE	load until there is such a file
 *	load child NUMBER	what the load executes
 *
 * Prints names and values. Ends with status 0 unless it could not do its work;
 * what is wrong is in the values.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "load.h"

struct shared *shared;
int cpus;
const char *program;

void fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

void go_ahead_of_load(bool ahead)
{
	struct sched_param parameter = { .sched_priority = ahead ? 10 : 0 };

	if (sched_setscheduler(0, ahead ? SCHED_FIFO : SCHED_OTHER, &parameter))
		fail("sched_setscheduler");
}

int main(int count, char **words)
{
	program = "/proc/self/exe";
	if (count != 3)
		return 2;
	if (!strcmp(words[1], "child"))
		return run_child(words[2]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (cpus > MOST_CPUS)
		cpus = MOST_CPUS;
	if (!strcmp(words[1], "cycles"))
		return run_cycles(atoi(words[2]));
	if (!strcmp(words[1], "contention"))
		return run_contention(atoi(words[2]));
	if (!strcmp(words[1], "workers"))
		return run_workers(words[2]);
	return 2;
}
