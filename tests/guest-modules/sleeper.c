// SPDX-License-Identifier: GPL-2.0
/*
 * A reader of /proc/uptime sleeps in the new function until the module's
 * parameter `hold` is 0.
 */
#include <linux/delay.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>

#include <lucos/patch.h>

static int hold = 1;
module_param(hold, int, 0600);

LUCOS_REPLACE(uptime_proc_show, int, struct seq_file *m, void *v)
{
	while (READ_ONCE(hold))
		msleep(20);
	seq_puts(m, "slept\n");
	return 0;
}

LUCOS_PATCH("sleeper", "makes readers of /proc/uptime sleep");
