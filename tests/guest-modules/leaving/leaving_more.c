// SPDX-License-Identifier: GPL-2.0
/* A patch that needs one with data. */
#include <linux/seq_file.h>

#include <lucos/patch.h>

LUCOS_REPLACE(version_proc_show, int, struct seq_file *m, void *v)
{
	seq_puts(m, "needs leaving_data\n");
	return 0;
}

LUCOS_DEPENDS("leaving_data");
LUCOS_PATCH("leaving_more", "needs another patch");
