// SPDX-License-Identifier: GPL-2.0
/*
 * Two functions at once: /proc/uptime and /proc/loadavg say the same number of
 * the patch, and none of them says it without the other.
 *
 *	cat /proc/uptime /proc/loadavg
 */
#include <linux/sched/loadavg.h>
#include <linux/seq_file.h>
#include <linux/timekeeping.h>

#include <lucos/patch.h>

LUCOS_REPLACE(uptime_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "%lld.00 0.00 (patched together with loadavg)\n",
		   ktime_get_boottime_seconds());
	return 0;
}

LUCOS_REPLACE(loadavg_proc_show, int, struct seq_file *m, void *v)
{
	unsigned long load[3];

	get_avenrun(load, FIXED_1 / 200, 0);
	seq_printf(m, "%lu.%02lu %lu.%02lu %lu.%02lu (patched together with uptime)\n",
		   LOAD_INT(load[0]), LOAD_FRAC(load[0]),
		   LOAD_INT(load[1]), LOAD_FRAC(load[1]),
		   LOAD_INT(load[2]), LOAD_FRAC(load[2]));
	return 0;
}

LUCOS_PATCH("uptime_loadavg", "changes /proc/uptime and /proc/loadavg in one step");
