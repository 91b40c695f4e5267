/* SPDX-License-Identifier: GPL-2.0 */
/* What is known about the thread that is held. */
#ifndef WINDOW_HOLD_H
#define WINDOW_HOLD_H

#include "spots.h"

enum window_phase {
	PHASE_NONE,
	PHASE_TRYING,	/* ordered, not yet in the window */
	PHASE_HELD,
	PHASE_RELEASED,
	PHASE_TOO_LONG,	/* went on because nobody released it */
};

struct window_state {
	enum window_phase phase;
	bool release;
	/* Of the thread that is or was held: */
	unsigned long offset;	/* its RIP, from the site */
	int cpu;
	bool own_stack;		/* it was called on the stack of its task */
	bool handler_on_own_stack; /* and whoever holds it runs there too */
	bool interrupts_on;
	bool running;		/* it holds itself */
	bool idle;		/* it is an idle thread */
	long result;		/* what the function gave, or an error */
	bool done;		/* `result` is valid */
};

extern struct window_state window_state;

#endif
