// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A process on each processor applies and takes back whichever patch it likes.
 * Now and then all of them pause, and the kernel's code must be what the list
 * of patches says.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

#define STEPS_PER_PAUSE 25

static void wait_for_all(void)
{
	int generation = __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_ACQ_REL) == cpus) {
		__atomic_store_n(&shared->arrived, 0, __ATOMIC_RELEASE);
		__atomic_add_fetch(&shared->generation, 1, __ATOMIC_ACQ_REL);
		return;
	}
	while (__atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE) ==
	       generation)
		usleep(1000);
}

static unsigned int next(unsigned int *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 16;
}

static void step(unsigned int *state)
{
	int patch = next(state) % PATCHES + 1;
	enum outcome outcome;

	outcome = manager(next(state) % 4 ? "rollback" : "apply", patch);
	__atomic_add_fetch(&shared->outcomes[outcome], 1, __ATOMIC_RELAXED);
	if (outcome == OUTCOME_OTHER)
		fprintf(stderr, "load: %s\n", manager_complaint());
}

/* The most functions that a patch in force has. */
static int covered_sites(void)
{
	int most = 0;

	for (int patch = 1; patch <= PATCHES; patch++)
		if (patch_is(patch, LUCOS_LOADED_APPLIED))
			most = patch;
	return most;
}

/* The sites where there is not what there must be. */
static int mixed_sites(void)
{
	int covered = covered_sites(), mixed = 0;

	for (int i = 0; i < PATCHES; i++) {
		uint8_t byte = first_byte(i);
		bool redirected = byte == 0x06 || byte == 0xe9;

		mixed += i < covered ? !redirected : byte != sites[i].bytes[0];
	}
	return mixed;
}

static void contend(int cpu, int count)
{
	unsigned int state = cpu * 7919 + 1;

	pin_to(cpu);
	for (int i = 0; i < count; i++) {
		step(&state);
		if (i % STEPS_PER_PAUSE)
			continue;
		wait_for_all();
		if (!cpu)
			shared->mixed += mixed_sites();
		wait_for_all();
	}
	exit(0);
}

static void take_all_back(void)
{
	bool some;

	/* A patch can stand on any other one. */
	do {
		some = false;
		for (int patch = 1; patch <= PATCHES; patch++)
			some |= manager("rollback", patch) == OUTCOME_DONE;
	} while (some);
}

int run_contention(int count)
{
	static const char *const names[] = {
		[OUTCOME_DONE] = "done",
		[OUTCOME_APPLIED_ALREADY] = "applied_already",
		[OUTCOME_NOT_APPLIED] = "not_applied",
		[OUTCOME_STACKED] = "stacked",
		[OUTCOME_BUSY] = "busy",
		[OUTCOME_LATE] = "late",
		[OUTCOME_OTHER] = "other",
	};
	int failed = 0;

	load_patches();
	for (int cpu = 0; cpu < cpus; cpu++) {
		int child = fork();

		if (child < 0)
			fail("fork");
		if (!child)
			contend(cpu, count);
	}
	for (int cpu = 0; cpu < cpus; cpu++) {
		int status;

		failed += wait(&status) < 0 || status != 0;
	}
	take_all_back();
	for (int i = OUTCOME_DONE; i <= OUTCOME_OTHER; i++)
		printf("%s %lu\n", names[i], shared->outcomes[i]);
	printf("processes %d\nfailed %d\nmixed_sites %d\ndifferent_sites %d\n",
	       cpus, failed, shared->mixed, different_sites());
	return 0;
}
