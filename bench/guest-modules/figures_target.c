// SPDX-License-Identifier: GPL-2.0
/*
 * Data of a kernel, and what a write to it costs, in ticks of the time-stamp
 * counter. A thread sleeps in an old function from `hold` 1 to `hold` 0.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/string.h>
#include <asm/msr.h>

#include "figures_target.h"

/* Pages on which nothing lies that others write. */
#define APART __section(".data..figures") __aligned(PAGE_SIZE)

u32 figures_objects[MANY] APART;
EXPORT_SYMBOL_GPL(figures_objects);
struct figures_large figures_large APART;
EXPORT_SYMBOL_GPL(figures_large);
struct figures_middle figures_middle APART;
EXPORT_SYMBOL_GPL(figures_middle);
struct figures_small figures_small APART;
EXPORT_SYMBOL_GPL(figures_small);

static DECLARE_COMPLETION(held);
static struct task_struct *holder;

noinline int figures_hold(void)
{
	wait_for_completion(&held);
	return figures_small.value + figures_middle.words[0] + figures_large.words[0];
}
EXPORT_SYMBOL_GPL(figures_hold);

noinline u64 figures_sum(unsigned int count)
{
	u64 sum = 0;

	while (count--)
		sum += figures_objects[count];
	return sum;
}
EXPORT_SYMBOL_GPL(figures_sum);

static int hold(void *unused)
{
	figures_hold();
	return 0;
}

static int hold_set(const char *text, const struct kernel_param *parameter)
{
	bool on;
	int error = kstrtobool(text, &on);

	if (error)
		return error;
	if (!on) {
		complete(&held);
		return 0;
	}
	holder = kthread_run(hold, NULL, "holder");
	return PTR_ERR_OR_ZERO(holder);
}

static const struct kernel_param_ops hold_ops = { .set = hold_set };
module_param_cb(hold, &hold_ops, NULL, 0200);

/* The ticks of a statement, of several the least. */
#define LEAST(statement) ({						\
	u64 least = U64_MAX, start;					\
	int i;								\
									\
	for (i = 0; i < 8; i++) {					\
		preempt_disable();					\
		start = rdtsc();					\
		statement;						\
		start = rdtsc() - start;				\
		preempt_enable();					\
		least = min(least, start);				\
	}								\
	least; })

static void move_words(void)
{
	static const struct figures_middle words;
	const void *from = &words;
	void *to = &figures_middle;
	unsigned long count = sizeof(words) / 8;

	asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
}

static int writes_get(char *buffer, const struct kernel_param *parameter)
{
	u64 of_neighbour = LEAST(WRITE_ONCE(figures_small.neighbour, i));
	u64 of_small = LEAST(WRITE_ONCE(figures_small.value, i));
	u64 of_middle = LEAST(WRITE_ONCE(figures_middle.words[0], i + 1));
	u64 of_large = LEAST(WRITE_ONCE(figures_large.words[0], i));
	u64 of_string = LEAST(figures_middle.words[0] = 1; move_words());

	return scnprintf(buffer, PAGE_SIZE, "%llu %llu %llu %llu %llu\n",
			 of_neighbour, of_small, of_middle, of_large,
			 of_string);
}

static const struct kernel_param_ops writes_ops = { .get = writes_get };
module_param_cb(writes, &writes_ops, NULL, 0400);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("data whose writes are measured");
