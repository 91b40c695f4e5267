/* SPDX-License-Identifier: GPL-2.0 */
/* One look at one thread or processor: does it stand in, or return to, given code? */
#ifndef LUCOS_MANAGER_LOOK_H
#define LUCOS_MANAGER_LOOK_H

#include <linux/sched.h>
#include <linux/types.h>

/* Addresses from `start` up to, not including, `end`. */
struct lucos_range {
	unsigned long start;
	unsigned long end;
	/*
	 * The kernel's objects lead here: a word that no frame accounts for may
	 * be a call that is still to come.
	 */
	bool published;
};

/* Who was found in a range. */
struct lucos_occupant {
	pid_t thread;
	char name[TASK_COMM_LEN];
	unsigned long address;	/* where; 0 when it moved too fast to say */
};

struct lucos_look {
	/* What is looked for: */
	const struct lucos_range *ranges;
	unsigned int count;
	/* The searching thread, and where its own stack becomes innocent: */
	struct task_struct *self;
	unsigned long self_frame;
	/* What the last look found: a bit for each range, and the address. */
	unsigned long *found;
	unsigned long *addresses;
	struct lucos_occupant who;	/* without the address */
	/* Inside: */
	unsigned long low;	/* the lowest start of a range */
	unsigned long high;	/* the highest end of a range */
	unsigned long *stale;
	unsigned long *calls;	/* of those found, what is never dropped */
	unsigned long *frames;
	struct task_struct *target;	/* thread that should run, or NULL */
	bool seen;		/* the target did run */
};

/*
 * For the caller, a worker thread whose frame `frame` was made before the
 * addresses in `ranges` came onto its stack. Gives 0 or -ENOMEM; in both cases
 * the look is to be ended.
 */
int lucos_look_start(struct lucos_look *look, const struct lucos_range *ranges,
		     unsigned int count, void *frame);
void lucos_look_end(struct lucos_look *look);

/*
 * Looks at a thread, at one consistent instant. One that changes between
 * running and not all the time counts as being everywhere. Sleeps.
 */
void lucos_look_at_thread(struct lucos_look *look, struct task_struct *task);

/* Looks at what an online processor does right now. */
void lucos_look_at_processor(struct lucos_look *look, int cpu);

/* The last word of a processor's interrupt stack: where the interrupted one goes on. */
unsigned long lucos_interrupt_stack_top(int cpu);

/* Looks at the whole stack of a thread that cannot run. */
void lucos_look_at_stack(struct lucos_look *look, struct task_struct *task);

#endif
