/* SPDX-License-Identifier: GPL-2.0 */
/* The search for threads that stand in, or return to, given code. */
#ifndef LUCOS_MANAGER_THREADS_H
#define LUCOS_MANAGER_THREADS_H

#include "look.h"

/* Gets what a look has found, and the thread, or NULL for whatever runs there. */
typedef void (*lucos_visit)(void *context, const struct lucos_look *look,
			    struct task_struct *task);

/*
 * Looks at every thread and every processor once, each at one consistent instant.
 * A thread on its way out of the kernel that does not run is not seen: it is gone
 * after an RCU-tasks grace period. Gives 0 or -ENOMEM. Sleeps.
 */
int lucos_look_at_all(struct lucos_look *look, lucos_visit visit,
		      void *context);

/*
 * Waits until threads that were on their way out of the kernel are gone, or have
 * run: an RCU-tasks grace period. False when it takes longer than that, because
 * a thread runs in the kernel without a pause, or for want of memory. Sleeps.
 */
bool lucos_wait_for_exiting(unsigned int limit_ms);

/* What was begun by it and has not ended is waited for. Sleeps. */
void lucos_threads_stop(void);

struct lucos_search {
	unsigned int count;
	struct lucos_range *ranges;
	/* Result: the ranges that a thread stands in or may return to. */
	unsigned long *occupied;
	/* For each of them the first that was found. */
	struct lucos_occupant *occupants;
	/* Of the others nothing is known: a thread keeps RCU waiting. */
	bool uncertain;
};

/* Room for so many ranges, at least one. Gives 0 or -ENOMEM. Sleeps. */
int lucos_search_alloc(struct lucos_search *search, unsigned int count);
void lucos_search_free(struct lucos_search *search);

/*
 * Looks at every thread that is in the kernel's lists once, each at one consistent
 * instant, and marks the ranges that it finds. For the caller see below.
 */
int lucos_search_now(struct lucos_search *search, void *frame);

/*
 * The same for every thread. A range that is not marked is left by every thread
 * that could enter it only before the search began.
 *
 * The caller is a worker thread whose frame `frame` was made before the
 * addresses in `search` came onto its stack. Gives 0, or -ENOMEM. Sleeps, for
 * as long as an RCU-tasks grace period when a range is free.
 */
int lucos_search_threads(struct lucos_search *search, void *frame);

#endif
