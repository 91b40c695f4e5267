// SPDX-License-Identifier: GPL-2.0
/*
 * The new function hands RCU so many callbacks that it is busy with them for a
 * while: as long as there are fewer than 10,000 it calls a few at a time.
 */
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include <lucos/patch.h>

#include "holder.h"

#define CALLBACKS 5000

static void later(struct rcu_head *head)
{
	holder_count();
	kfree(head);
}

static int hand_over(void)
{
	int count;

	for (count = 0; count < CALLBACKS; count++) {
		struct rcu_head *head = kmalloc(sizeof(*head), GFP_KERNEL);

		if (!head)
			break;
		call_rcu(head, later);
	}
	return count;
}

LUCOS_REPLACE(uptime_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "%d callbacks\n", hand_over());
	return 0;
}

LUCOS_PATCH("deferred", "hands callbacks to RCU");
