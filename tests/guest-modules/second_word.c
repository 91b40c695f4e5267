// SPDX-License-Identifier: GPL-2.0
/* The same function as the sample cmdline_word, with another word. */
#include <linux/init.h>
#include <linux/seq_file.h>

#include <lucos/patch.h>

LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "%s lucos.second\n", saved_command_line);
	return 0;
}

LUCOS_PATCH("second_word", "adds another word to /proc/cmdline");
