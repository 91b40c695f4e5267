// SPDX-License-Identifier: GPL-2.0
/* Expects bytes that no compiler begins a function with. */
#include <linux/seq_file.h>

#include <lucos/patch.h>

LUCOS_REPLACE(cmdline_proc_show, int, struct seq_file *m, void *v)
{
	return 0;
}

LUCOS_EXPECT(cmdline_proc_show, 0x0f, 0x0b, 0x0f, 0x0b);

LUCOS_PATCH("wrong_bytes", "expects other bytes than there are");
