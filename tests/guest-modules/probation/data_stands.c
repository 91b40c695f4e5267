// SPDX-License-Identifier: GPL-2.0
/* Data in another form, in a patch of the same function as the one with trouble. */
#include <linux/seq_file.h>

#include "data_wide.h"

LUCOS_REPLACE(uptime_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "stands, %llu\n", wide.jiffies);
	return 0;
}

LUCOS_PATCH("data_stands", "data on another patch");
