/* SPDX-License-Identifier: GPL-2.0 */
/* Functions that threads stay in for as long as they are told to. */
#ifndef LEAVING_TARGET_H
#define LEAVING_TARGET_H

#include <linux/types.h>

/* How often one of the functions was left. Only these functions use it. */
extern u32 leaving_count;

/* A count of its own, and what adds to it. */
extern u32 leaving_idle_count;
void leaving_idle_add(void);

/* Waits until threads are told to leave. */
void leaving_wait(void);

/* A thread stays in the function until it is told to leave. */
void leaving_stay(void);

/* The same in the part that the compiler puts elsewhere; gives the count. */
int leaving_cold(int seldom);

#endif
