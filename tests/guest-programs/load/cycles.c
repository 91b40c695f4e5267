// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Cycles of apply and rollback under load. After each commit the probes make
 * their calls on all processors: all of them run the new code, or none.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

/* How often a cycle waits for the jumps, and loads the module anew. */
#define JUMP_EVERY 10
#define LOAD_EVERY 25

struct figures {
	uint64_t probed;	/* calls of probes that had to run new code */
	uint64_t missed;	/* that did not */
	uint64_t stray;		/* calls of probes that ran new code too late */
	uint64_t jumps;		/* cycles that saw jumps */
	uint64_t loads;		/* cycles that loaded the module */
	uint64_t late;		/* stops that were made again */
	uint64_t refused;
	uint64_t calls[PATCHES];	/* of new code */
	uint64_t by_probes[PATCHES];	/* those of probes */
};

static int patch_file(int patch, const char *name, int flags)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/module/load_%d/parameters/%s", patch,
		 name);
	return open(path, flags);
}

static void read_counts(int patch, const char *name, uint64_t *counts,
			size_t count)
{
	char text[4096], *place = text;
	int file = patch_file(patch, name, O_RDONLY);
	ssize_t size = read(file, text, sizeof(text) - 1);

	if (size <= 0)
		fail(name);
	close(file);
	text[size] = '\0';
	for (size_t i = 0; i < count; i++)
		counts[i] = strtoull(place, &place, 10);
}

static void watch_probes(int patch)
{
	int file = patch_file(patch, "watched", O_WRONLY);
	char text[64];
	int size = 0;

	for (int i = 0; i < MOST_CPUS; i++)
		size += snprintf(text + size, sizeof(text) - size, "%d%c",
				 probe_pids[i], i + 1 < MOST_CPUS ? ',' : '\n');
	if (write(file, text, size) != size)
		fail("watched");
	close(file);
}

static void watched(int patch, uint64_t counts[MOST_CPUS][PATCHES])
{
	uint64_t all[MOST_CPUS * PATCHES] = { 0 };

	read_counts(patch, "watched_calls", all, cpus * patch);
	for (int cpu = 0; cpu < cpus; cpu++)
		memcpy(counts[cpu], all + cpu * patch, patch * sizeof(*all));
}

/* The calls of the probes that run new code in one round. */
static void probe(int patch, bool applied, struct figures *figures)
{
	uint64_t before[MOST_CPUS][PATCHES], after[MOST_CPUS][PATCHES];

	watched(patch, before);
	run_probes();
	watched(patch, after);
	for (int cpu = 0; cpu < cpus; cpu++)
		for (int i = 0; i < patch; i++) {
			uint64_t calls = after[cpu][i] - before[cpu][i];

			figures->by_probes[i] += calls;
			if (!applied) {
				figures->stray += calls;
			} else if (exact_calls[i]) {
				figures->probed += exact_calls[i];
				figures->missed += calls != exact_calls[i];
			}
		}
}

/*
 * A busy host, or a fault of the emulator (docs/limits.md), may keep back a
 * processor for so long that a stop misses its deadline. Nothing has changed
 * then, and the stop is made again.
 */
static bool done(const char *command, int patch, struct figures *figures)
{
	enum outcome outcome = manager(command, patch);

	if (outcome == OUTCOME_LATE) {
		figures->late++;
		outcome = manager(command, patch);
	}
	return outcome == OUTCOME_DONE;
}

static void cycle(int number, struct figures *figures)
{
	int patch = number % PATCHES + 1;
	uint64_t before[PATCHES], after[PATCHES];
	bool anew = number % LOAD_EVERY == LOAD_EVERY - 1;

	if (anew) {
		figures->loads++;
		if (!unload(patch) || !load_and_apply(patch))
			goto refused;
		watch_probes(patch);
		memset(before, 0, sizeof(before));
	} else {
		read_counts(patch, "calls", before, patch);
		if (!done("apply", patch, figures))
			goto refused;
	}
	probe(patch, true, figures);
	if (number % JUMP_EVERY == 0) {
		figures->jumps += wait_for_jumps(patch);
		probe(patch, true, figures);
	}
	if (!done("rollback", patch, figures))
		goto refused;
	probe(patch, false, figures);
	read_counts(patch, "calls", after, patch);
	for (int i = 0; i < patch; i++)
		figures->calls[i] += after[i] - before[i];
	return;
refused:
	figures->refused++;
	fprintf(stderr, "load: cycle %d: %s\n", number, manager_complaint());
}

int run_cycles(int count)
{
	struct figures figures = { 0 };

	load_patches();
	start_probes();
	for (int patch = 1; patch <= PATCHES; patch++)
		watch_probes(patch);
	start_workers();
	go_ahead_of_load(true);
	for (int i = 0; i < count && figures.refused < 10; i++) {
		cycle(i, &figures);
		if (i % 100 == 99)
			fprintf(stderr, "load: %d cycles, %lu calls missed\n",
				i + 1, figures.missed);
	}
	go_ahead_of_load(false);
	stop_workers();
	stop_probes();
	printf("cycles %d\nrefused %lu\nprobed %lu\nmissed %lu\nstray %lu\n",
	       count, figures.refused, figures.probed, figures.missed,
	       figures.stray);
	printf("late %lu\n", figures.late);
	printf("jumps %lu\nloads %lu\nprobe_errors %d\n", figures.jumps,
	       figures.loads, shared->probe_errors);
	for (int i = 0; i < PATCHES; i++)
		printf("calls.%d %lu\ncalls_by_load.%d %lu\n", i + 1,
		       figures.calls[i], i + 1,
		       figures.calls[i] - figures.by_probes[i]);
	printf("different_sites %d\n", different_sites());
	return 0;
}
