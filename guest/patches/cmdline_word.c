// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/cmdline ends with one more word.
 *
 *	cat /proc/cmdline
 *
 * The old function is static, and the text it prints is not exported.
 */
#include <linux/init.h>
#include <linux/seq_file.h>

#include <lucos/patch.h>

LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "%s lucos.patched\n", saved_command_line);
	return 0;
}

LUCOS_PATCH("cmdline_word", "adds a word to /proc/cmdline");
