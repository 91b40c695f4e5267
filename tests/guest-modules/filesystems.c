// SPDX-License-Identifier: GPL-2.0
/* Another text in /proc/filesystems, which no program of the guest reads. */
#include <linux/seq_file.h>

#include <lucos/patch.h>

LUCOS_REPLACE(filesystems_proc_show, int, struct seq_file *m, void *v)
{
	seq_puts(m, "new\n");
	return 0;
}

LUCOS_PATCH("filesystems", "replaces the text of /proc/filesystems");
