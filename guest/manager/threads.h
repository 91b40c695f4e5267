/* SPDX-License-Identifier: GPL-2.0 */
/* The search for threads that stand in, or return to, given code. */
#ifndef LUCOS_MANAGER_THREADS_H
#define LUCOS_MANAGER_THREADS_H

#include <linux/bitmap.h>
#include <linux/types.h>

#define LUCOS_MAX_RANGES 256

/* Addresses from `start` up to, not including, `end`. */
struct lucos_range {
	unsigned long start;
	unsigned long end;
};

struct lucos_search {
	unsigned int count;
	struct lucos_range ranges[LUCOS_MAX_RANGES];
	/*
	 * The ranges whose addresses lie in the kernel's objects: a word that
	 * no frame accounts for may be a call that is still to come.
	 */
	DECLARE_BITMAP(published, LUCOS_MAX_RANGES);
	/* Result: the ranges that a thread stands in or may return to. */
	DECLARE_BITMAP(occupied, LUCOS_MAX_RANGES);
};

/*
 * Looks at every thread once, each at one consistent instant, and marks the
 * ranges that it finds. A range that is not marked is left by every thread
 * that could enter it only before the search began.
 *
 * The caller is a worker thread whose frame `frame` was made before the
 * addresses in `search` came onto its stack. Gives 0, or -ENOMEM. Sleeps, for
 * as long as an RCU-tasks grace period when a range is free.
 */
int lucos_search_threads(struct lucos_search *search, void *frame);

#endif
