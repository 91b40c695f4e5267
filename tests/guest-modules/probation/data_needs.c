// SPDX-License-Identifier: GPL-2.0
/* Data in another form, in a patch that needs one that needs the one with trouble. */
#include <linux/seq_file.h>

#include "data_wide.h"

LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "needs more, %llu\n", wide.jiffies);
	return 0;
}

LUCOS_DEPENDS("needs_trouble");
LUCOS_PATCH("data_needs", "data that needs another patch");
