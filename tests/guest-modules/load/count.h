/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts calls of the new functions. Read from the module's parameters:
 *
 *	calls		of each function, on all processors
 *	watched_calls	of each function, a line for each thread whose number
 *			was written to the parameter `watched`
 */
#ifndef LOAD_COUNT_H
#define LOAD_COUNT_H

#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>

#define MOST_WATCHED 4

static int watched[MOST_WATCHED];
module_param_array(watched, int, NULL, 0600);

static unsigned long watched_calls[MOST_WATCHED][FUNCTIONS];
static DEFINE_PER_CPU(unsigned long [FUNCTIONS], calls);

/* Counts a call of the function with this number, from 1. */
static __always_inline void count_call(unsigned int number)
{
	unsigned int i;

	this_cpu_inc(calls[number - 1]);
	if (!in_task())
		return;
	/* Only the thread itself writes its counters. */
	for (i = 0; i < MOST_WATCHED; i++)
		if (READ_ONCE(watched[i]) == current->pid)
			watched_calls[i][number - 1]++;
}

static int show_calls(char *buffer, const struct kernel_param *param)
{
	unsigned int i;
	int cpu, size = 0;

	for (i = 0; i < FUNCTIONS; i++) {
		unsigned long sum = 0;

		for_each_possible_cpu(cpu)
			sum += per_cpu(calls[i], cpu);
		size += scnprintf(buffer + size, PAGE_SIZE - size, "%lu%c",
				  sum, i + 1 < FUNCTIONS ? ' ' : '\n');
	}
	return size;
}

static int show_watched_calls(char *buffer, const struct kernel_param *param)
{
	unsigned int i, j;
	int size = 0;

	for (i = 0; i < MOST_WATCHED; i++)
		for (j = 0; j < FUNCTIONS; j++)
			size += scnprintf(buffer + size, PAGE_SIZE - size,
					  "%lu%c", watched_calls[i][j],
					  j + 1 < FUNCTIONS ? ' ' : '\n');
	return size;
}

static const struct kernel_param_ops calls_operations = {
	.get = show_calls,
};
module_param_cb(calls, &calls_operations, NULL, 0400);

static const struct kernel_param_ops watched_calls_operations = {
	.get = show_watched_calls,
};
module_param_cb(watched_calls, &watched_calls_operations, NULL, 0400);

#endif
