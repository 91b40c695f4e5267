// SPDX-License-Identifier: GPL-2.0
/*
 * What a kernel does with a function that a patch gave it: a thread keeps its
 * address on the stack, until `hold` is 0, and then calls it. `calls` is how
 * often a patch's functions were called in this way.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>

#include "holder.h"

static int hold = 1;
module_param(hold, int, 0600);

static int calls;
module_param(calls, int, 0400);

void holder_count(void)
{
	WRITE_ONCE(calls, READ_ONCE(calls) + 1);
}
EXPORT_SYMBOL_GPL(holder_count);

static int keep(void *data)
{
	void *volatile kept = data;

	while (READ_ONCE(hold))
		msleep(20);
	((void (*)(void))kept)();
	return 0;
}

int holder_keep(void (*callback)(void))
{
	return PTR_ERR_OR_ZERO(kthread_run(keep, callback, "holder"));
}
EXPORT_SYMBOL_GPL(holder_keep);

MODULE_DESCRIPTION("Keeps a function for later");
MODULE_LICENSE("GPL");
