// SPDX-License-Identifier: GPL-2.0
/* Needs a patch, stands on it with a function, and on another one with a value. */
#include <linux/init.h>
#include <linux/seq_file.h>

#include <lucos/patch.h>

#include "values_target.h"

LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
{
	seq_printf(m, "%s lucos.group\n", saved_command_line);
	return 0;
}

LUCOS_VALUE(target_number, 6, 60);
LUCOS_DEPENDS("cmdline_word");
LUCOS_DEPENDS("values_first");

LUCOS_PATCH("values_group", "stands on two others");
