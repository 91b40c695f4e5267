/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Spots: functions with an instruction in the window, the five bytes that a
 * jump needs, at which a thread can be held.
 */
#ifndef WINDOW_SPOTS_H
#define WINDOW_SPOTS_H

#include <linux/compiler.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/types.h>

/* The processor on which threads are held. */
#define WINDOW_CPU 1

/* What the old functions add to their number. */
#define WINDOW_OLD 1

enum window_spot {
	SPOT_INTERRUPT,	/* interrupted, the handler waits */
	SPOT_PREEMPTED,	/* interrupted, then switched out */
	SPOT_IDLE,	/* the idle thread, interrupted */
	SPOT_SOFTIRQ,	/* called on the interrupt stack, interrupted there */
	SPOT_FAULT,	/* page fault, the handler sleeps */
	SPOT_OPCODE,	/* invalid opcode, the handler waits */
	SPOT_DEBUG,	/* breakpoint of the processor: #DB stack */
	SPOT_NMI,	/* NMI stack */
	SPOT_COUNT,
};

/* A call of a spot's function: registers and stack as the handlers see them. */
struct window_call {
	unsigned long stack;	/* stack pointer when it was called */
	unsigned long source;	/* RSI: what the function reads, if it reads */
	unsigned long count;	/* RCX: how often, if it repeats */
	bool user;		/* RSI is a user address */
};

extern const char *const window_names[SPOT_COUNT];

/* The address behind the ftrace slot of a function: where LUCOS traps. */
unsigned long window_site(enum window_spot spot);

/* In the window, but not at the site, where a thread would meet the trap. */
static inline bool window_is_inside(enum window_spot spot, unsigned long rip)
{
	return rip - window_site(spot) - 1 < 4;
}

/* Calls the function of a spot. */
unsigned long window_call(enum window_spot spot, unsigned long number,
			  struct window_call *call);

/*
 * Whether the interrupt or exception that is being handled was taken inside
 * the window of the spot during `call`; its own frame tells.
 */
bool window_is_interrupted_inside(enum window_spot spot,
				  const struct window_call *call,
				  unsigned long *rip);

/* An order to hold a thread. */
struct window_order {
	enum window_spot spot;
	unsigned long number;
};

/*
 * Called by whoever has a thread in the window, at `rip` with the stack pointer
 * `stack`: says so, and returns when it is released or too much time is over.
 */
void window_hold(enum window_spot spot, const struct task_struct *thread,
		 unsigned long rip, unsigned long stack);

/* The same by a thread that holds itself and may sleep. */
void window_hold_asleep(enum window_spot spot, unsigned long rip,
			unsigned long stack);

bool window_is_released(void);

/* Whether a thread was held since the order was given. */
bool window_was_held(void);

/* Holds a thread; gives what the old function returned to it, or an error. */
long window_hold_by_interrupt(const struct window_order *order);
long window_hold_preempted(const struct window_order *order);
long window_hold_idle(const struct window_order *order);
long window_hold_softirq(const struct window_order *order);
long window_hold_opcode(const struct window_order *order);
long window_hold_debug(const struct window_order *order);
long window_hold_nmi(const struct window_order *order);
/* `source` is a user address whose first access sleeps in window_hold_asleep. */
long window_hold_fault(const struct window_order *order, unsigned long source);

/* Every call of the function of SPOT_OPCODE needs its handler. */
int window_opcode_start(void);
void window_opcode_stop(void);

/* The call that is under way for the spot SPOT_FAULT. */
extern struct window_call window_fault_call;

#endif
