// SPDX-License-Identifier: GPL-2.0
/* A patch that cannot stay without the one that gets the kernel into trouble. */
#include <linux/seq_file.h>

#include <lucos/patch.h>

LUCOS_REPLACE(version_proc_show, int, struct seq_file *m, void *v)
{
	seq_puts(m, "needs trouble\n");
	return 0;
}

LUCOS_DEPENDS("trouble");
LUCOS_PATCH("needs_trouble", "needs another patch");
