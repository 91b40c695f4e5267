// SPDX-License-Identifier: GPL-2.0
/*
 * A kernel thread that stays in waiter_turn until the module is unloaded.
 *
 *	cat /sys/module/waiter/parameters/answer	calls it once more
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

#include "turn.h"

int __attribute__((noipa)) waiter_turn(bool stay)
{
	return take_turn(stay, 0);
}

static struct task_struct *thread;

static int stay(void *unused)
{
	return waiter_turn(true);
}

static int read_answer(char *buffer, const struct kernel_param *parameter)
{
	return sysfs_emit(buffer, "%s\n", waiter_turn(false) ? "new" : "old");
}

static const struct kernel_param_ops answer_operations = { .get = read_answer };
module_param_cb(answer, &answer_operations, NULL, 0444);

static int __init start(void)
{
	thread = kthread_run(stay, NULL, "waiter");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit stop(void)
{
	kthread_stop(thread);
}

module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a kernel thread that never leaves a function");
