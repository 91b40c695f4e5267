// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/version gets a second line.
 *
 *	cat /proc/version
 */
#include <linux/seq_file.h>
#include <linux/utsname.h>

#include <lucos/patch.h>

LUCOS_REPLACE(version_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "%s version %s %s\n", utsname()->sysname,
		   utsname()->release, utsname()->version);
	seq_puts(m, "version_proc_show was replaced while this kernel ran\n");
	return 0;
}

LUCOS_PATCH("version_line", "adds a line to /proc/version");
