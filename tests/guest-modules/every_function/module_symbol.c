// SPDX-License-Identifier: GPL-2.0
/* Replaces a function of the kernel by one that uses a module's variable. */
#include <linux/seq_file.h>

#include <lucos/patch.h>

extern int secret LUCOS_SYMBOL("target", 0, "secret");

LUCOS_REPLACE(version_proc_show, int, struct seq_file *file, void *unused)
{
	seq_printf(file, "%d\n", READ_ONCE(secret));
	return 0;
}

LUCOS_PATCH("module_symbol", "uses a symbol of a module");
