// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that threads stay in for as long as they are told to.
 *
 * `enter` starts a thread that stays in its own way: "sleep", "cold" (asleep in
 * the part that the compiler puts elsewhere), "spin". `stay` 0 lets all of them
 * go. `count` is how often they left.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/string.h>

#include "leaving_target.h"

static int stay = 1;
module_param(stay, int, 0600);

u32 leaving_count;
EXPORT_SYMBOL_GPL(leaving_count);

static bool spins;

noinline void leaving_wait(void)
{
	while (READ_ONCE(stay)) {
		if (spins)
			cond_resched();
		else
			msleep(20);
	}
}

EXPORT_SYMBOL_GPL(leaving_wait);

noinline void leaving_stay(void)
{
	leaving_wait();
	leaving_count++;
}
EXPORT_SYMBOL_GPL(leaving_stay);

static __cold noinline void wait_seldom(void)
{
	leaving_wait();
	barrier();
}

noinline int leaving_cold(int seldom)
{
	if (unlikely(seldom)) {
		wait_seldom();
		leaving_count += 10;
	}
	return leaving_count;
}
EXPORT_SYMBOL_GPL(leaving_cold);

static int run_sleep(void *data)
{
	leaving_stay();
	return 0;
}

static int run_cold(void *data)
{
	leaving_cold(1);
	return 0;
}

static int enter_set(const char *value, const struct kernel_param *param)
{
	bool cold = sysfs_streq(value, "cold");
	struct task_struct *thread;

	spins = sysfs_streq(value, "spin");
	WRITE_ONCE(stay, 1);
	thread = kthread_run(cold ? run_cold : run_sleep, NULL, "leaving");
	return PTR_ERR_OR_ZERO(thread);
}

static int count_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%d\n", leaving_cold(0));
}

static const struct kernel_param_ops enter_ops = { .set = enter_set };
static const struct kernel_param_ops count_ops = { .get = count_get };

module_param_cb(enter, &enter_ops, NULL, 0200);
module_param_cb(count, &count_ops, NULL, 0400);

MODULE_DESCRIPTION("Functions that threads stay in");
MODULE_LICENSE("GPL");
