// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/later has what a callback writes, when there is one. It is called when
 * the parameter `hold` is 0, and `waiting` counts those who wait for that.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "later.h"

static int hold = 1;
module_param(hold, int, 0600);
static int waiting;
module_param(waiting, int, 0400);

noinline int later(int (*callback)(struct seq_file *file),
		   struct seq_file *file)
{
	WRITE_ONCE(waiting, waiting + 1);
	while (READ_ONCE(hold))
		msleep(20);
	WRITE_ONCE(waiting, waiting - 1);
	return callback(file);
}

noinline int later_show(struct seq_file *file, void *unused)
{
	seq_puts(file, "old\n");
	return 0;
}

static int __init later_init(void)
{
	return proc_create_single("later", 0400, NULL, later_show) ? 0 : -ENOMEM;
}

static void __exit later_exit(void)
{
	remove_proc_entry("later", NULL);
}

module_init(later_init);
module_exit(later_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Calls back after a while");
